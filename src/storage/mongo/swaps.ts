import type { Collection } from 'mongodb';

import { CarillonError } from '../../errors.ts';
import type { Collections, LeaseDocument, LimitDocument, SecretDocument } from './documents.ts';
import { isDuplicateKey } from './failure.ts';
import type { Reach } from './failure.ts';

/** Rate limits, leases and secrets: one document each, the first two moved by compare-and-set. */
export class Swaps {
  readonly #reach: Reach;
  readonly #limits: Collection<LimitDocument>;
  readonly #leases: Collection<LeaseDocument>;
  readonly #secrets: Collection<SecretDocument>;

  constructor({ limits, leases, secrets }: Collections, reach: Reach) {
    this.#reach = reach;
    this.#limits = limits;
    this.#leases = leases;
    this.#secrets = secrets;
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

  /** Writes also where it reads: such a write is acknowledged only when what it found is durable. */
  sharedSecret(name: string, candidate: string): Promise<string> {
    return this.#reach(async () => {
      const kept = (await this.#keepSecret(name, candidate)) ?? (await this.#keepSecret(name, candidate));
      if (kept === undefined) throw new CarillonError('INTERNAL', 'a secret was stored and is not there');
      return kept;
    });
  }

  /** Undefined when another process made the document at the same moment: it is there the next time. */
  async #keepSecret(name: string, candidate: string): Promise<string | undefined> {
    const insert = { $setOnInsert: { value: candidate } };
    try {
      const options = { upsert: true, returnDocument: 'after' } as const;
      const found = await this.#secrets.findOneAndUpdate({ _id: name }, insert, options);
      return found?.value;
    } catch (thrown) {
      if (isDuplicateKey(thrown)) return undefined;
      throw thrown;
    }
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
