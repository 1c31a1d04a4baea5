/** Binds methods to @connectrpc/connect-node: Connect, gRPC-Web and, over HTTP/2, gRPC. */
import type { Message } from '@bufbuild/protobuf';
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type HandlerContext } from '@connectrpc/connect';
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import type { UniversalHandler, UniversalServerRequest } from '@connectrpc/connect/protocol';
import { errorToJson } from '@connectrpc/connect/protocol-connect';

import { CarillonError } from '../errors.ts';
import { MAX_TIMER_MS } from './abort.ts';
import type { BoundMethod, IncomingCall } from './chain.ts';
import type { Protocol } from './handler.ts';
import { toStatus } from './status.ts';

/** Requests and answers of `node:http` and of `node:http2`. */
export type HttpRequest = Parameters<typeof universalRequestFromNodeRequest>[0];
export type HttpResponse = Parameters<typeof universalResponseToNodeResponse>[1];

export interface ConnectOptions {
  readonly maxMessageBytes: number;
  /** Told when an answer could not be made or written, except because the caller is gone. */
  readonly onError: (thrown: unknown) => void;
}

/** Answers requests for these methods; false means that the path is none of theirs and nothing was done. */
export function connectListener(
  methods: readonly BoundMethod[],
  options: ConnectOptions,
): (request: HttpRequest, response: HttpResponse) => boolean {
  const router = createConnectRouter({
    readMaxBytes: options.maxMessageBytes,
    maxTimeoutMs: MAX_TIMER_MS,
    acceptCompression: [compressionGzip, compressionBrotli],
  });
  for (const bound of methods) route(router, bound);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const handler = handlers.get(pathOf(request));
    if (handler === undefined) return false;
    void serve(handler, request, response, options.onError);
    return true;
  };
}

const pathOf = (request: HttpRequest): string => request.url?.split('?', 1)[0] ?? '';

/** Answers a request for a path that nothing serves, as Connect tells of an unknown method. */
export function answerUnknown(request: HttpRequest, response: HttpResponse): void {
  const error = toConnectError(new CarillonError('METHOD_UNKNOWN', `nothing is served at ${pathOf(request)}`));
  response.writeHead(404, { 'content-type': 'application/json' });
  response.end(JSON.stringify(errorToJson(error, undefined)));
}

/** connect-node's own adapter writes failures to the console and lets a malformed `host` header crash the process. */
async function serve(
  handler: UniversalHandler,
  request: HttpRequest,
  response: HttpResponse,
  onError: (thrown: unknown) => void,
): Promise<void> {
  // Over HTTP/2 a write waits for 'drain', which a stream that was closed meanwhile never emits: the call would not end.
  if ('stream' in response) response.once('close', () => response.emit('drain'));
  const call = readRequest(request, response);
  if (call === undefined) return;
  try {
    await universalResponseToNodeResponse(await handler(call), response);
  } catch (thrown) {
    const isCallerGone = 'stream' in response ? response.stream.destroyed : request.socket.destroyed;
    if (!isCallerGone) onError(thrown);
    response.destroy();
  }
}

/** Undefined, and answered, when the `host` header is missing or makes no URL. */
function readRequest(request: HttpRequest, response: HttpResponse): UniversalServerRequest | undefined {
  try {
    return universalRequestFromNodeRequest(request, response, undefined, undefined);
  } catch {
    response.writeHead(400, { connection: 'close' });
    response.end();
    return undefined;
  }
}

function route(router: ConnectRouter, bound: BoundMethod): void {
  switch (bound.kind) {
    case 'unary':
      router.rpc(bound.method, (request: Message, context) => single(bound.handle(request, open(context))));
      break;
    case 'client_streaming':
      router.rpc(bound.method, (requests: AsyncIterable<Message>, context) =>
        single(bound.handle(readable(requests), open(context))),
      );
      break;
    case 'server_streaming':
      router.rpc(bound.method, (request: Message, context) => stream(bound.handle(request, open(context))));
      break;
    case 'bidi_streaming':
      router.rpc(bound.method, (requests: AsyncIterable<Message>, context) =>
        stream(bound.handle(readable(requests), open(context))),
      );
      break;
  }
}

async function single(reply: Promise<Message>): Promise<Message> {
  try {
    return await reply;
  } catch (thrown) {
    throw toConnectError(thrown);
  }
}

async function* stream(replies: AsyncIterable<Message>): AsyncGenerator<Message, void, undefined> {
  try {
    yield* replies;
  } catch (thrown) {
    throw toConnectError(thrown);
  }
}

/** Says what was wrong with a request message that the library could not take, in Carillon's reasons. */
async function* readable(requests: AsyncIterable<Message>): AsyncGenerator<Message, void, undefined> {
  try {
    yield* requests;
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    if (error.code === Code.ResourceExhausted) {
      throw new CarillonError('MESSAGE_TOO_LARGE', error.rawMessage, { cause: thrown });
    }
    throw new CarillonError('INVALID_FIELD', `the message cannot be read: ${error.rawMessage}`, { cause: thrown });
  }
}

function open(context: HandlerContext): IncomingCall {
  const controller = new AbortController();
  const left = context.timeoutMs();
  const onAbort = (): void => {
    controller.abort(abortReason(context));
  };
  if (context.signal.aborted) onAbort();
  else context.signal.addEventListener('abort', onAbort, { once: true });
  return {
    protocol: protocolOf(context.protocolName),
    ...(left !== undefined && { deadlineMs: Date.now() + left }),
    header: (name) => context.requestHeader.get(name) ?? undefined,
    controller,
  };
}

function abortReason(context: HandlerContext): CarillonError {
  const left = context.timeoutMs();
  const cause: unknown = context.signal.reason;
  const isDeadline = cause instanceof ConnectError && cause.code === Code.DeadlineExceeded;
  return isDeadline || (left !== undefined && left <= 0)
    ? new CarillonError('DEADLINE_EXCEEDED', 'the deadline of the call has passed', { cause })
    : new CarillonError('CALL_CANCELLED', 'the caller has cancelled the call', { cause });
}

function protocolOf(name: string): Protocol {
  return name === 'grpc' || name === 'grpc-web' ? name : 'connect';
}

function toConnectError(thrown: unknown): ConnectError {
  const { code, message, details } = toStatus(thrown);
  // Connect's codes are numbered as gRPC's.
  return new ConnectError(message, code, undefined, [...details]);
}
