import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';

import { create, type DescMethod, type MessageInitShape, toBinary } from '@bufbuild/protobuf';

/**
 * A gRPC caller made of bare HTTP/2, that keeps no deadline of its own, never reads
 * an answer's body (flow control stops the server after 64 kB) and can vanish in the middle of a call.
 */
export class RawCall<M extends DescMethod> implements Disposable {
  readonly #session: ClientHttp2Session;
  readonly #stream: ClientHttp2Stream;
  readonly #method: M;
  /** Those of an answer without messages. */
  readonly headers: Promise<IncomingHttpHeaders>;

  constructor(url: string, method: M, headers: Readonly<Record<string, string>> = {}, tls: { ca?: string } = {}) {
    this.#method = method;
    this.#session = connect(url, tls);
    // Ends of the connection are what these tests make.
    this.#session.on('error', () => {});
    this.#stream = this.#session.request({
      ':method': 'POST',
      ':path': `/${method.parent.typeName}/${method.name}`,
      'content-type': 'application/grpc+proto',
      te: 'trailers',
      ...headers,
    });
    this.#stream.on('error', () => {});
    this.headers = once(this.#stream, 'response').then(([first]) => first as IncomingHttpHeaders);
  }

  send(request: MessageInitShape<M['input']>): void {
    const bytes = toBinary(this.#method.input, create(this.#method.input, request));
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    this.#stream.write(Buffer.concat([prefix, bytes]));
  }

  end(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  /** Cuts the connection without a word. */
  vanish(): void {
    this.#session.destroy();
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}
