import type { Collection } from 'mongodb';

import type { Collections, LeaseDocument, LimitDocument } from './documents.ts';
import { isDuplicateKey } from './failure.ts';
import type { Reach } from './failure.ts';

/** Rate limits and leases: one document each, moved by compare-and-set. */
export class Swaps {
  readonly #reach: Reach;
  readonly #limits: Collection<LimitDocument>;
  readonly #leases: Collection<LeaseDocument>;

  constructor({ limits, leases }: Collections, reach: Reach) {
    this.#reach = reach;
    this.#limits = limits;
    this.#leases = leases;
  }

  async readLimit(name: string): Promise<number> {
    const found = await this.#reach(() => this.#limits.findOne({ _id: name }));
    return found?.tat ?? 0;
  }

  async swapLimit(name: string, expected: number, next: number): Promise<boolean> {
    const set = { $set: { tat: next } };
    const { matchedCount } = await this.#reach(() => this.#limits.updateOne({ _id: name, tat: expected }, set));
    if (matchedCount === 1 || expected !== 0) return matchedCount === 1;
    return this.#insertFirst(() => this.#limits.insertOne({ _id: name, tat: next }));
  }

  async acquireLease(name: string, holder: string, now: number, until: number): Promise<boolean> {
    const free = { _id: name, $or: [{ holder }, { until: { $lte: now } }] };
    const { matchedCount } = await this.#reach(() => this.#leases.updateOne(free, { $set: { holder, until } }));
    return matchedCount === 1 || this.#insertFirst(() => this.#leases.insertOne({ _id: name, holder, until }));
  }

  async releaseLease(name: string, holder: string): Promise<void> {
    await this.#reach(() => this.#leases.deleteOne({ _id: name, holder }));
  }

  /** True when this insert made the document, false when it was there. */
  async #insertFirst(insert: () => Promise<unknown>): Promise<boolean> {
    return this.#reach(async () => {
      try {
        await insert();
        return true;
      } catch (thrown) {
        if (isDuplicateKey(thrown)) return false;
        throw thrown;
      }
    });
  }
}
