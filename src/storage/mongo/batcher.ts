import { CarillonError } from '../../errors.ts';

/** What became of one item of a batch. */
export type Outcome<R> = { readonly value: R } | { readonly error: unknown };

export interface BatcherOptions<I, R> {
  /** Runs one batch; answers per item in the same order. Throwing fails every item of the batch and no other. */
  readonly run: (items: readonly I[]) => Promise<readonly Outcome<R>[]>;
  readonly maxItems: number;
  /** Sum of the sizes that the callers gave, in bytes; one item above it travels alone. */
  readonly maxBytes: number;
  /** An item that waited so many milliseconds for its turn is refused with STORE_UNAVAILABLE, untried. */
  readonly maxWaitMs: number;
}

interface Call<R> {
  readonly results: R[];
  open: number;
  failure: { readonly error: unknown } | undefined;
  resolve(results: R[]): void;
  reject(error: unknown): void;
}

interface Entry<I, R> {
  readonly item: I;
  readonly bytes: number;
  readonly index: number;
  readonly call: Call<R>;
  readonly since: number;
}

/**
 * Lets concurrent calls share round trips: while one batch is under way the next one collects. That is where the
 * throughput comes from, as a durable write costs a network round trip and a disk flush however many rows it carries.
 */
export class Batcher<I, R> {
  readonly #options: BatcherOptions<I, R>;
  #waiting: Entry<I, R>[] = [];
  #running: Promise<void> | undefined;

  constructor(options: BatcherOptions<I, R>) {
    this.#options = options;
  }

  /** Answers per item, in order, when all are done; rejects with the first failure among them, also when all are done. */
  add(items: readonly I[], size: (item: I) => number): Promise<R[]> {
    if (items.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const call: Call<R> = { results: [], open: items.length, failure: undefined, resolve, reject };
      const since = performance.now();
      items.forEach((item, index) => this.#waiting.push({ item, bytes: size(item), index, call, since }));
      this.#running ??= this.#runAll();
    });
  }

  /** Resolves when nothing is waiting or under way. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #runAll(): Promise<void> {
    // Lets every call of this turn of the event loop into the first batch.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#take();
      if (batch.length > 0) await this.#runOne(batch);
    }
    this.#running = undefined;
  }

  #take(): Entry<I, R>[] {
    const { maxItems, maxBytes, maxWaitMs } = this.#options;
    const oldest = performance.now() - maxWaitMs;
    const batch: Entry<I, R>[] = [];
    let bytes = 0;
    let taken = 0;
    for (const entry of this.#waiting) {
      const late = entry.since < oldest;
      if (!late && batch.length > 0 && (batch.length >= maxItems || bytes + entry.bytes > maxBytes)) break;
      taken += 1;
      if (late) {
        settle(entry, { error: new CarillonError('STORE_UNAVAILABLE', 'the store did not keep up') });
        continue;
      }
      bytes += entry.bytes;
      batch.push(entry);
    }
    this.#waiting = this.#waiting.slice(taken);
    return batch;
  }

  async #runOne(batch: readonly Entry<I, R>[]): Promise<void> {
    try {
      const outcomes = await this.#options.run(batch.map((entry) => entry.item));
      batch.forEach((entry, i) => settle(entry, outcomes[i] ?? { error: new Error('a batch answers every item') }));
    } catch (error) {
      for (const entry of batch) settle(entry, { error });
    }
  }
}

function settle<I, R>({ call, index }: Entry<I, R>, outcome: Outcome<R>): void {
  if ('error' in outcome) call.failure ??= outcome;
  else call.results[index] = outcome.value;
  call.open -= 1;
  if (call.open > 0) return;
  if (call.failure) call.reject(call.failure.error);
  else call.resolve(call.results);
}
