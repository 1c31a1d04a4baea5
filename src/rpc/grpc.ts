/** Binds methods to @grpc/grpc-js. */
import { once } from 'node:events';

import { create, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import {
  type Deadline,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type sendUnaryData,
  type Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerWritableStream,
  type StatusObject,
} from '@grpc/grpc-js';

import { StatusSchema } from '../../gen/google/rpc/errors_pb.js';
import { CarillonError } from '../errors.ts';
import { MAX_TIMER_MS, orAborted } from './abort.ts';
import type { BoundMethod, IncomingCall } from './chain.ts';
import { fullName } from './handler.ts';
import { toStatus } from './status.ts';

type Input = ServerReadableStream<Message, Message> | ServerDuplexStream<Message, Message>;
type Output = ServerWritableStream<Message, Message> | ServerDuplexStream<Message, Message>;
/** What the four kinds of call have in common. */
interface Call {
  readonly metadata: Metadata;
  getDeadline(): Deadline;
  once(event: 'cancelled', listener: () => void): unknown;
}

/** Registers one method with a server. */
export function registerGrpc(server: Server, bound: BoundMethod): void {
  const path = `/${fullName(bound.method)}`;
  const serialize = serializer(bound.method.output);
  const deserialize = (bytes: Buffer): Message => fromBinary(bound.method.input, bytes);
  switch (bound.kind) {
    case 'unary': {
      const handle: handleUnaryCall<Message, Message> = (call, callback) => {
        void answer(call, callback, (incoming) => bound.handle(call.request, incoming));
      };
      server.register(path, handle, serialize, deserialize, 'unary');
      break;
    }
    case 'client_streaming': {
      const handle: handleClientStreamingCall<Message, Message> = (call, callback) => {
        void answer(call, callback, (incoming) => bound.handle(requestsOf(call), incoming));
      };
      server.register(path, handle, serialize, deserialize, 'clientStream');
      break;
    }
    case 'server_streaming': {
      const handle: handleServerStreamingCall<Message, Message> = (call) => {
        void answerAll(call, (incoming) => bound.handle(call.request, incoming));
      };
      server.register(path, handle, serialize, deserialize, 'serverStream');
      break;
    }
    case 'bidi_streaming': {
      const handle: handleBidiStreamingCall<Message, Message> = (call) => {
        void answerAll(call, (incoming) => bound.handle(requestsOf(call), incoming));
      };
      server.register(path, handle, serialize, deserialize, 'bidi');
      break;
    }
  }
}

async function answer(
  call: Call,
  callback: sendUnaryData<Message>,
  run: (incoming: IncomingCall) => Promise<Message>,
): Promise<void> {
  using incoming = open(call);
  try {
    callback(null, await run(incoming));
  } catch (thrown) {
    callback(statusOf(thrown));
  }
}

async function answerAll(call: Output, run: (incoming: IncomingCall) => AsyncIterable<Message>): Promise<void> {
  using incoming = open(call);
  try {
    for await (const reply of run(incoming)) {
      // A call that was destroyed never drains; the abort ends the wait.
      if (!call.write(reply)) await orAborted(once(call, 'drain'), incoming.controller.signal);
    }
    call.end();
  } catch (thrown) {
    // This is how grpc-js takes the final status of a stream.
    call.emit('error', statusOf(thrown));
  }
}

/** The plain iterator of a duplex stream would destroy it after the last request, and the status would never be sent. */
function requestsOf(call: Input): AsyncIterable<Message> {
  return { [Symbol.asyncIterator]: () => call.iterator({ destroyOnReturn: false }) };
}

function open(call: Call): IncomingCall & Disposable {
  const controller = new AbortController();
  const deadlineMs = Number(call.getDeadline());
  const expired = (): void => {
    controller.abort(new CarillonError('DEADLINE_EXCEEDED', 'the deadline of the call has passed'));
  };
  const left = deadlineMs - Date.now();
  // grpc-js answers the caller at the deadline, but tells us only once that answer has gone out.
  const timer = left <= MAX_TIMER_MS ? setTimeout(expired, left) : undefined;
  let ended = false;
  // Emitted when the caller cancels or is gone, and also after each call has ended.
  call.once('cancelled', () => {
    if (ended) return;
    if (Date.now() >= deadlineMs) expired();
    else controller.abort(new CarillonError('CALL_CANCELLED', 'the caller has cancelled the call'));
  });
  return {
    protocol: 'grpc',
    ...(Number.isFinite(deadlineMs) && { deadlineMs }),
    header: (name) => headerOf(call.metadata, name),
    controller,
    [Symbol.dispose]: () => {
      ended = true;
      clearTimeout(timer);
    },
  };
}

function headerOf(metadata: Metadata, name: string): string | undefined {
  const values = metadata.get(name).map((value) => (typeof value === 'string' ? value : value.toString('base64')));
  return values.length === 0 ? undefined : values.join(', ');
}

function statusOf(thrown: unknown): Partial<StatusObject> {
  const { code, message, details } = toStatus(thrown);
  const metadata = new Metadata();
  if (details.length > 0) {
    const packed = details.map(({ desc, value }) => anyPack(desc, value));
    const status = create(StatusSchema, { code, message, details: packed });
    metadata.set('grpc-status-details-bin', serializer(StatusSchema)(status));
  }
  return { code, details: message, metadata };
}

function serializer(schema: DescMessage): (message: Message) => Buffer {
  return (message) => {
    const bytes = toBinary(schema, message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}
