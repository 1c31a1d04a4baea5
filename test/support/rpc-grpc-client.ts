import {
  create,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { type ChannelCredentials, Client, credentials, Metadata } from '@grpc/grpc-js';
import type { ClientDuplexStream, ClientReadableStream, ServiceError } from '@grpc/grpc-js';

/** A client of plain @grpc/grpc-js, which shares no code with the server's Connect side. */
export class GrpcClient<M extends DescMethod> implements Disposable {
  readonly #client: Client;
  readonly #method: M;

  constructor(address: string, method: M, channel: ChannelCredentials = credentials.createInsecure()) {
    this.#client = new Client(address, channel);
    this.#method = method;
  }

  unary(request: MessageInitShape<M['input']>, metadata = new Metadata()): Promise<MessageShape<M['output']>> {
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, answer?: MessageShape<M['output']>): void => {
        if (answer === undefined) reject(error ?? new Error('neither an error nor an answer'));
        else resolve(answer);
      };
      this.#client.makeUnaryRequest(this.#path, this.#write, this.#read, request, metadata, done);
    });
  }

  serverStream(request: MessageInitShape<M['input']>): ClientReadableStream<MessageShape<M['output']>> {
    return this.#client.makeServerStreamRequest(this.#path, this.#write, this.#read, request);
  }

  bidi(): ClientDuplexStream<MessageInitShape<M['input']>, MessageShape<M['output']>> {
    return this.#client.makeBidiStreamRequest(this.#path, this.#write, this.#read);
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  get #path(): string {
    return `/${this.#method.parent.typeName}/${this.#method.name}`;
  }

  readonly #write = (request: MessageInitShape<M['input']>): Buffer =>
    Buffer.from(toBinary(this.#method.input, create(this.#method.input, request)));
  // The descriptor of M is that of its output.
  readonly #read = (bytes: Buffer): MessageShape<M['output']> =>
    fromBinary(this.#method.output, bytes) as MessageShape<M['output']>;
}
