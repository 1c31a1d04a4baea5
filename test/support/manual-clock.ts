import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../../src/domain/clock.ts';
import { HANG_MS } from './eventually.ts';
import { SAMPLE_TIME } from './sample.ts';

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** More within one move are a loop that sleeps a little while nothing happens: such a test would time the machine. */
const MAX_WAKES = 10_000;

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  readonly #sleepers = new Set<Sleeper>();
  #now: number;
  /** Calls of ports that have no answer yet. */
  #unanswered = 0;

  constructor(start: number = SAMPLE_TIME) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  get sleepers(): number {
    return this.#sleepers.size;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    const sleeper: Sleeper = { at: this.#now + Math.max(0, ms), wake };
    this.#sleepers.add(sleeper);
    signal?.addEventListener('abort', wake, { once: true });
    await promise;
    signal?.removeEventListener('abort', wake);
    this.#sleepers.delete(sleeper);
  }

  /** Moves on and wakes who is due, in the order of their times; what they start gets a turn before the next one. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (let wakes = 0; ; wakes++) {
      await turn();
      const [next] = [...this.#sleepers].filter((s) => s.at <= end).toSorted((a, b) => a.at - b.at);
      if (!next) break;
      if (wakes === MAX_WAKES) throw new Error(`${MAX_WAKES} sleeps ended within ${ms} ms`);
      this.#now = Math.max(this.#now, next.at);
      this.#sleepers.delete(next);
      next.wake();
    }
    this.#now = end;
    await turn();
  }

  /** The port, for whose answers `until` waits before it moves on: a slow machine must not look like time that passed. */
  waitingFor<Port extends object>(port: Port): Port {
    const answered = (): void => void (this.#unanswered -= 1);
    return new Proxy(port, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        return (...args: readonly unknown[]): unknown => {
          const answer: unknown = value.apply(target, args);
          if (answer instanceof Promise) {
            this.#unanswered += 1;
            answer.then(answered, answered);
          }
          return answer;
        };
      },
    });
  }

  /** Moves on step by step until the answer is not undefined or false. Before each step what is under way gets its time. */
  async until<T>(
    what: string,
    ask: () => T | Promise<T>,
    stepMs: number = 250,
  ): Promise<Exclude<T, undefined | false>> {
    const end = Date.now() + HANG_MS;
    for (;;) {
      do await delay(1);
      while (this.#unanswered > 0 && Date.now() <= end);
      const answer = await ask();
      // The check right before is what the type says; the compiler does not narrow a type parameter by it.
      if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
      if (Date.now() > end) throw new Error(`${what}: not within ${HANG_MS} ms`);
      await this.advance(stepMs);
    }
  }
}
