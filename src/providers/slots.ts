/** At most so many at a time; the others wait in order, and a wait ends with its signal. */
export class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** True when a slot was taken, which must then be given back; false when the signal was aborted first. */
  async take(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    if (this.#free > 0) {
      this.#free -= 1;
      return true;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const granted = (): void => resolve(true);
    const aborted = (): void => {
      // A slot that was handed over already stays taken: its holder sees the abort by itself.
      if (this.#waiting.delete(granted)) resolve(false);
    };
    this.#waiting.add(granted);
    signal.addEventListener('abort', aborted, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', aborted);
    }
  }

  give(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
