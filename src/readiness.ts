import type { Clock } from './domain/clock.ts';
import { SECOND } from './domain/clock.ts';

const CHECK_EVERY = 2 * SECOND;

/** Asks again and again whether the process can do its work. */
export class Readiness implements AsyncDisposable {
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #ready = true;

  /** @param checks reject while the process is not ready */
  constructor(checks: readonly (() => Promise<void>)[], clock: Clock) {
    this.#running = this.#run(checks, clock);
  }

  get ready(): boolean {
    return this.#ready;
  }

  subscribe(listener: () => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
  }

  async #run(checks: readonly (() => Promise<void>)[], clock: Clock): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const results = await Promise.allSettled(checks.map((check) => check()));
      const ready = results.every((result) => result.status === 'fulfilled');
      if (ready !== this.#ready) {
        this.#ready = ready;
        for (const listener of this.#listeners) listener();
      }
      await clock.sleep(CHECK_EVERY, this.#stop.signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}
