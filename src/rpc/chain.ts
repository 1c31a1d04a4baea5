/**
 * What happens to every call, whatever carries it: authenticate → bound the number of streams → validate → handler → one
 * kind of error. The bindings hand calls in and carry out what comes back.
 */
import { create, type DescMessage, type DescMethod, type Message, type MessageInitShape } from '@bufbuild/protobuf';

import { CarillonError, isOwnFault } from '../errors.ts';
import { orAborted, untilAborted } from './abort.ts';
import type { Authenticate } from './auth.ts';
import { type CallContext, fullName, type MethodHandler, type Protocol } from './handler.ts';
import { ProtocolError } from './status.ts';
import { createValidate } from './validate.ts';

/** A call as a binding hands it in. */
export interface IncomingCall {
  readonly protocol: Protocol;
  readonly deadlineMs?: number;
  /** Several of one name are joined by a comma. */
  readonly header: (name: string) => string | undefined;
  /** The binding aborts it when the caller is gone, the chain when the call must end; the reason is a CarillonError. */
  readonly controller: AbortController;
}

/** A method as a binding sees it: rejects and throws nothing but a CarillonError or a ProtocolError. */
export type BoundMethod =
  | {
      readonly kind: 'unary';
      readonly method: Extract<MethodHandler, { kind: 'unary' }>['method'];
      readonly handle: (request: Message, call: IncomingCall) => Promise<Message>;
    }
  | {
      readonly kind: 'client_streaming';
      readonly method: Extract<MethodHandler, { kind: 'client_streaming' }>['method'];
      readonly handle: (requests: AsyncIterable<Message>, call: IncomingCall) => Promise<Message>;
    }
  | {
      readonly kind: 'server_streaming';
      readonly method: Extract<MethodHandler, { kind: 'server_streaming' }>['method'];
      readonly handle: (request: Message, call: IncomingCall) => AsyncIterable<Message>;
    }
  | {
      readonly kind: 'bidi_streaming';
      readonly method: Extract<MethodHandler, { kind: 'bidi_streaming' }>['method'];
      readonly handle: (requests: AsyncIterable<Message>, call: IncomingCall) => AsyncIterable<Message>;
    };

export interface ChainOptions {
  readonly authenticate: Authenticate;
  /** Open streams over all connections and protocols of this process; one more is TOO_MANY_STREAMS. */
  readonly maxStreams: number;
  /** Once aborted, new calls and open streams end with SHUTTING_DOWN; unary calls in flight go on. */
  readonly draining: AbortSignal;
  /** Told every fault of the service's own, with its cause, which the caller is not shown. */
  readonly onError: (context: CallContext, error: CarillonError) => void;
}

type Reply = MessageInitShape<DescMessage>;

interface EnteredCall extends Disposable {
  readonly context: CallContext;
}

export class Chain {
  readonly #options: ChainOptions;
  readonly #validate = createValidate();
  readonly #streams = new Set<AbortController>();

  constructor(options: ChainOptions) {
    this.#options = options;
    options.draining.addEventListener('abort', () => {
      for (const stream of this.#streams) stream.abort(shuttingDown());
    });
  }

  /** Wraps one handler. */
  bind(handler: MethodHandler): BoundMethod {
    const { method } = handler;
    switch (handler.kind) {
      case 'unary':
        return {
          kind: 'unary',
          method: handler.method,
          handle: (request, call) =>
            this.#single(method, call, (context) => {
              this.#validate(method.input, request);
              return handler.handle(request, context);
            }),
        };
      case 'client_streaming':
        return {
          kind: 'client_streaming',
          method: handler.method,
          handle: (requests, call) =>
            this.#single(method, call, (context) =>
              handler.handle(this.#validated(method, requests, context), context),
            ),
        };
      case 'server_streaming':
        return {
          kind: 'server_streaming',
          method: handler.method,
          handle: (request, call) =>
            this.#stream(method, call, (context) => {
              this.#validate(method.input, request);
              return handler.handle(request, context);
            }),
        };
      case 'bidi_streaming':
        return {
          kind: 'bidi_streaming',
          method: handler.method,
          handle: (requests, call) =>
            this.#stream(method, call, (context) =>
              handler.handle(this.#validated(method, requests, context), context),
            ),
        };
    }
  }

  async #single(
    method: DescMethod,
    call: IncomingCall,
    run: (context: CallContext) => Promise<Reply>,
  ): Promise<Message> {
    using entered = this.#enter(method, call);
    const { context } = entered;
    try {
      const reply = await orAborted(
        Promise.try(() => run(context)),
        context.signal,
      );
      return create(method.output, reply);
    } catch (thrown) {
      throw this.#toError(context, thrown);
    }
  }

  async *#stream(
    method: DescMethod,
    call: IncomingCall,
    run: (context: CallContext) => AsyncIterable<Reply>,
  ): AsyncGenerator<Message, void, undefined> {
    using entered = this.#enter(method, call);
    const { context } = entered;
    try {
      for await (const reply of untilAborted(run(context), context.signal, (late) => this.#late(context, late))) {
        yield create(method.output, reply);
      }
    } catch (thrown) {
      throw this.#toError(context, thrown);
    }
  }

  async *#validated(
    method: DescMethod,
    requests: AsyncIterable<Message>,
    context: CallContext,
  ): AsyncGenerator<Message, void, undefined> {
    for await (const request of untilAborted(requests, context.signal, (late) => this.#late(context, late))) {
      this.#validate(method.input, request);
      yield request;
    }
  }

  #enter(method: DescMethod, call: IncomingCall): EnteredCall {
    const { draining, authenticate, maxStreams } = this.#options;
    const { controller, protocol, header, deadlineMs } = call;
    if (draining.aborted) throw shuttingDown();
    controller.signal.throwIfAborted();
    const caller = authenticate(method, header('authorization'));
    const context: CallContext = {
      ...caller,
      signal: controller.signal,
      protocol,
      method: fullName(method),
      header,
      ...(deadlineMs !== undefined && { deadlineMs }),
    };
    if (method.methodKind === 'unary') return { context, [Symbol.dispose]: () => {} };
    if (this.#streams.size >= maxStreams) throw tooManyStreams(maxStreams);
    this.#streams.add(controller);
    return {
      context,
      [Symbol.dispose]: () => {
        this.#streams.delete(controller);
        // Whatever the handler left running for this stream, such as its reader of requests, stops with it.
        controller.abort(new CarillonError('CALL_CANCELLED', 'the stream has ended'));
      },
    };
  }

  /** What the caller is told. After an abort that is the abort's reason: what the handler threw is only its echo. */
  #toError(context: CallContext, thrown: unknown): CarillonError | ProtocolError {
    if (thrown instanceof ProtocolError) return thrown;
    if (context.signal.aborted) return CarillonError.from(context.signal.reason);
    return this.#reported(context, thrown);
  }

  /** A handler's clean-up failed after its call had ended; nobody is left to be told, so it is only logged. */
  #late(context: CallContext, thrown: unknown): void {
    const isEcho = thrown === context.signal.reason || (thrown instanceof Error && thrown.name === 'AbortError');
    if (!isEcho) this.#reported(context, thrown);
  }

  #reported(context: CallContext, thrown: unknown): CarillonError {
    const error = CarillonError.from(thrown);
    if (isOwnFault(error)) this.#options.onError(context, error);
    return error;
  }
}

const shuttingDown = (): CarillonError => new CarillonError('SHUTTING_DOWN', 'the server is shutting down');

function tooManyStreams(limit: number): CarillonError {
  return new CarillonError('TOO_MANY_STREAMS', `${limit} streams are open, which is the limit`, {
    metadata: { limit: String(limit) },
  });
}
