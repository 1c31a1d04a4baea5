/**
 * What a service is to the rest of Carillon: a plain function for each method, which knows nothing of the library or the
 * protocol that carries the call. `chain.ts` wraps them, `grpc.ts` and `connect.ts` bind them.
 */
import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  Message,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';

export type Protocol = 'grpc' | 'grpc-web' | 'connect';

/** One call, as its handler sees it. */
export interface CallContext {
  readonly tenant: string;
  /** The name of the API key; `anonymous` where none is configured. */
  readonly principal: string;
  /**
   * Aborted with a CarillonError as its reason when the caller cancels or the deadline passes; for a stream also when the
   * server drains, and once the stream has ended.
   */
  readonly signal: AbortSignal;
  /** When the caller stops waiting, milliseconds since 1970; not set when it waits for ever. */
  readonly deadlineMs?: number;
  readonly protocol: Protocol;
  /** Full name, such as `carillon.v1.NotificationService/SendNotification`. */
  readonly method: string;
  /** A request header; several of one name are joined by a comma. */
  header(name: string): string | undefined;
}

type HandlerOf<M extends DescMethod> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, context: CallContext) => Promise<MessageInitShape<O>>
    : M extends DescMethodClientStreaming<infer I, infer O>
      ? (requests: AsyncIterable<MessageShape<I>>, context: CallContext) => Promise<MessageInitShape<O>>
      : M extends DescMethodServerStreaming<infer I, infer O>
        ? (request: MessageShape<I>, context: CallContext) => AsyncIterable<MessageInitShape<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? (requests: AsyncIterable<MessageShape<I>>, context: CallContext) => AsyncIterable<MessageInitShape<O>>
          : never;

/** A handler for every method of a service, under the method's name in lower camel case. */
export type ServiceHandlers<S extends DescService> = { readonly [P in keyof S['method']]: HandlerOf<S['method'][P]> };

type Reply = MessageInitShape<DescMessage>;

/** A handler with its method, its message types laid aside. */
export type MethodHandler =
  | {
      readonly kind: 'unary';
      readonly method: DescMethodUnary;
      readonly handle: (request: Message, context: CallContext) => Promise<Reply>;
    }
  | {
      readonly kind: 'client_streaming';
      readonly method: DescMethodClientStreaming;
      readonly handle: (requests: AsyncIterable<Message>, context: CallContext) => Promise<Reply>;
    }
  | {
      readonly kind: 'server_streaming';
      readonly method: DescMethodServerStreaming;
      readonly handle: (request: Message, context: CallContext) => AsyncIterable<Reply>;
    }
  | {
      readonly kind: 'bidi_streaming';
      readonly method: DescMethodBiDiStreaming;
      readonly handle: (requests: AsyncIterable<Message>, context: CallContext) => AsyncIterable<Reply>;
    };

export interface ServiceImplementation {
  readonly service: DescService;
  readonly methods: readonly MethodHandler[];
}

/** Ties a service to its handlers; the compiler checks that every method has one of the right shape. */
export function implement<S extends DescService>(service: S, handlers: ServiceHandlers<S>): ServiceImplementation {
  // The types of the handlers were checked by this signature; from here on the descriptor carries them at run time.
  const untyped = handlers as Readonly<Record<string, (...args: never) => unknown>>;
  const methods = service.methods.map((method) => {
    const handle = untyped[method.localName];
    if (handle === undefined) throw new TypeError(`${fullName(method)} has no handler`);
    return { kind: method.methodKind, method, handle: handle.bind(handlers) } as MethodHandler;
  });
  return { service, methods };
}

/** The method's name as keys, logs and `CallContext.method` have it. */
export const fullName = (method: DescMethod): string => `${method.parent.typeName}/${method.name}`;
