import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../src/domain/clock.ts';
import { eventually } from './eventually.ts';
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

  /** Moves on step by step, with time for real input and output between, until the answer is not undefined or false. */
  async until<T>(
    what: string,
    ask: () => T | Promise<T>,
    stepMs: number = 250,
  ): Promise<Exclude<T, undefined | false>> {
    return eventually(what, async () => {
      const answer = await ask();
      if (answer === undefined || answer === false) await this.advance(stepMs);
      return answer;
    });
  }
}
