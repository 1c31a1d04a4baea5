/**
 * One HTTP request that tells what became of it. A client that only throws cannot: whether the request had gone out when
 * the connection broke or the time was over makes the difference between "try again" and "it may have happened".
 */
import { constants } from 'node:http2';
import type { Dispatcher } from 'undici';

/** In lower case; a header that came more than once is a list. */
export type ResponseHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

export function singleValue(value: ResponseHeaders[string]): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

export interface HttpRequest {
  readonly url: URL;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export type HttpResult =
  | {
      readonly kind: 'answered';
      readonly status: number;
      readonly headers: ResponseHeaders;
      /** Its first 64 KiB; what was read until the call ended. */
      readonly body: string;
    }
  /** Nothing of the request has left. */
  | { readonly kind: 'not_sent'; readonly error: unknown }
  /** It was being written or had been written, and no answer came. */
  | { readonly kind: 'no_answer'; readonly error: unknown };

/** An endpoint may answer without end; a message for people is at the beginning. */
const MAX_BODY_BYTES = 64 * 1_024;

/**
 * A gateway speaks: it cannot say whether the service behind it has worked. 520 and 524 are Cloudflare's, in front of several
 * of the services: an answer that it could not read, and none in time.
 */
const GATEWAY_FAILURES: ReadonlySet<number> = new Set([502, 504, 520, 524]);

export const isGatewayFailure = (status: number): boolean => GATEWAY_FAILURES.has(status);

/** Never rejects, never follows a redirect, and ends after `timeout` milliseconds or as soon as `signal` is aborted. */
export async function callHttp(
  dispatcher: Dispatcher,
  request: HttpRequest,
  signal: AbortSignal,
  timeout: number,
): Promise<HttpResult> {
  if (signal.aborted) return { kind: 'not_sent', error: signal.reason };
  const exchange = new Exchange();
  const abort = (): void => exchange.cancel(asError(signal.reason));
  signal.addEventListener('abort', abort, { once: true });
  // Not a signal of its own: those live on until their time is over, long after the call has ended.
  const timer = setTimeout(() => exchange.cancel(new DOMException('no answer in time', 'TimeoutError')), timeout);
  try {
    dispatcher.dispatch(
      {
        origin: request.url.origin,
        path: `${request.url.pathname}${request.url.search}`,
        method: request.method,
        headers: { ...request.headers },
        body: request.body ?? null,
        // The time limits are those above.
        headersTimeout: 0,
        bodyTimeout: 0,
      },
      exchange,
    );
    return await exchange.result;
  } catch (thrown) {
    // undici refuses a request that cannot be written, such as one with a line break in a header.
    return { kind: 'not_sent', error: thrown };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

/** Follows undici's callbacks. `onRequestStart` comes when a connection stands, right before the first byte is written. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly result: Promise<HttpResult>;
  readonly #resolve: (result: HttpResult) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #cancelled: Error | undefined;
  #head: { readonly status: number; readonly headers: ResponseHeaders } | undefined;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<HttpResult>();
    this.result = promise;
    this.#resolve = resolve;
  }

  cancel(reason: Error): void {
    this.#cancelled = reason;
    this.#settle(reason);
    this.#controller?.abort(reason);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // undici goes on connecting for a request that was given up; here it still can be kept from going out.
    if (this.#cancelled !== undefined) {
      controller.abort(this.#cancelled);
      return;
    }
    this.#controller = controller;
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (status >= 200) this.#head = { status, headers };
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk.subarray(0, MAX_BODY_BYTES - this.#bytes));
    this.#bytes += chunk.length;
    if (this.#bytes < MAX_BODY_BYTES) return;
    const enough = new Error('the answer is longer than is read');
    this.#settle(enough);
    controller.abort(enough);
  }

  onResponseEnd(): void {
    this.#settle(undefined);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#settle(error);
  }

  /** A promise keeps the first result; what undici reports of an exchange that was given up changes nothing. */
  #settle(error: Error | undefined): void {
    if (this.#head !== undefined) {
      this.#resolve({ kind: 'answered', ...this.#head, body: Buffer.concat(this.#chunks).toString('utf8') });
    } else {
      const notSent = this.#controller === undefined || (error !== undefined && isUnprocessed(error));
      this.#resolve({ kind: notSent ? 'not_sent' : 'no_answer', error });
    }
  }
}

/**
 * HTTP/2: the server says that it has not looked at the request, although it has left (RFC 9113 §8.7). It says so of a stream,
 * or by GOAWAY: then undici takes the request to another connection, and what is told is why there is none.
 */
function isUnprocessed(error: Error): boolean {
  if ('http2ErrorCode' in error) return error.http2ErrorCode === constants.NGHTTP2_REFUSED_STREAM;
  return 'syscall' in error && error.syscall === 'connect';
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
