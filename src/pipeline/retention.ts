/**
 * Takes away what is old, in small steps: content of settled notifications, later the rows, idempotency keys that ended, and
 * receipts.
 */
import type { Clock } from '../domain/clock.ts';
import { DAY } from '../domain/clock.ts';
import { firstIdAt } from '../domain/id.ts';
import type { Storage } from '../storage/storage.ts';
import type { Receipts } from './receipts.ts';

const STEP = 500;
/** Below every id there is. */
const FIRST_ID = firstIdAt(0);

export interface RetentionOptions {
  readonly storage: Storage;
  readonly receipts: Receipts;
  readonly clock: Clock;
  /** Rows are deleted so many milliseconds after they settled. */
  readonly settledMs: number;
  /** Data, content, rendered content and attachments go so many milliseconds after the row settled. */
  readonly contentMs: number;
}

export class Retention {
  readonly #options: RetentionOptions;
  /** Where the last sweep of content ended. Once a day it starts over, for rows that settled long after they were accepted. */
  #erasedTo = FIRST_ID;
  #startedAt = 0;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  async sweep(signal: AbortSignal): Promise<void> {
    const { storage, receipts, clock, settledMs } = this.#options;
    const now = clock.now();
    const settledBefore = now - settledMs;
    const repeat = async (step: () => Promise<number>): Promise<void> => {
      while (!signal.aborted && (await step()) === STEP);
    };
    await repeat(() => storage.deleteKeys(now, STEP));
    await repeat(() => receipts.sweep(STEP));
    await repeat(() => storage.deleteRows(firstIdAt(settledBefore), settledBefore, STEP));
    await this.#eraseContent(now, signal);
  }

  async #eraseContent(now: number, signal: AbortSignal): Promise<void> {
    if (now - this.#startedAt >= DAY) {
      this.#startedAt = now;
      this.#erasedTo = FIRST_ID;
    }
    const settledBefore = now - this.#options.contentMs;
    while (!signal.aborted) {
      const last = await this.#options.storage.eraseContent(
        this.#erasedTo,
        firstIdAt(settledBefore),
        settledBefore,
        STEP,
      );
      if (last === undefined) return;
      this.#erasedTo = last;
    }
  }
}
