/** Failures on demand around a real port. */
import { CarillonError } from '../../src/errors.ts';
import type { ErrorReason } from '../../src/errors.ts';

export interface Failure {
  readonly reason: ErrorReason;
  /** The call took place and only its answer was lost. Default: it never got there. */
  readonly after?: boolean;
}

/** Asked before each call of a method, and may also hold it up; undefined lets it through. */
export type Fault = (method: string, args: readonly unknown[]) => Failure | undefined | Promise<Failure | undefined>;

export function withFaults<Port extends object>(port: Port, fault: Fault): Port {
  return new Proxy(port, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      if (typeof property === 'symbol') return value.bind(target) as unknown;
      if (property === 'subscribe' || property === 'consume') return value.bind(target) as unknown;
      return async (...args: readonly unknown[]): Promise<unknown> => {
        const failure = await fault(property, args);
        if (failure && !failure.after) throw new CarillonError(failure.reason, 'made to fail');
        const result: unknown = await value.apply(target, args);
        if (failure) throw new CarillonError(failure.reason, 'its answer was made to be lost');
        return result;
      };
    },
  });
}

/** Fails every call of these methods while it is on. */
export class Outage {
  on = false;
  readonly #methods: ReadonlySet<string>;
  readonly #failure: Failure;

  constructor(reason: ErrorReason, ...methods: readonly string[]) {
    this.#failure = { reason };
    this.#methods = new Set(methods);
  }

  readonly fault: Fault = (method) => (this.on && this.#methods.has(method) ? this.#failure : undefined);
}
