import type { Collection } from 'mongodb';

import type { Suppression } from '../../domain/suppression.ts';
import type { SuppressionQuery } from '../storage.ts';
import { Batcher } from './batcher.ts';
import type { Outcome } from './batcher.ts';
import { Bulk, BULK_LIMITS, SMALL_OPERATION } from './bulk.ts';
import type { SuppressionDocument } from './documents.ts';
import type { Reach } from './failure.ts';

const ALL_CATEGORIES = '';

/** Addresses to which nothing is sent any more, one document per address and category. */
export class Suppressions {
  readonly #collection: Collection<SuppressionDocument>;
  readonly #reach: Reach;
  readonly #inserts: Batcher<SuppressionDocument, void>;
  readonly #finds: Batcher<string, readonly Suppression[]>;

  /** @param maxWaitMs A call that could not even begin for so long is refused. */
  constructor(collection: Collection<SuppressionDocument>, reach: Reach, maxWaitMs: number) {
    this.#collection = collection;
    this.#reach = reach;
    const bulk = new Bulk(collection, reach);
    const limits = { ...BULK_LIMITS, maxWaitMs };
    this.#inserts = new Batcher({
      ...limits,
      run: (documents) => bulk.runEach(documents.map((document) => ({ insertOne: { document } }))),
    });
    this.#finds = new Batcher({ ...limits, run: (addressHashes) => this.#runFinds(addressHashes) });
  }

  async add(suppressions: readonly Suppression[]): Promise<void> {
    await this.#inserts.add(suppressions.map(toDocument), ({ body }) => SMALL_OPERATION + body.length);
  }

  async find(addressHashes: readonly string[]): Promise<Suppression[]> {
    const found = await this.#finds.add([...new Set(addressHashes)], () => SMALL_OPERATION);
    return found.flat();
  }

  async list({ tenant, channel, after, limit }: SuppressionQuery): Promise<Suppression[]> {
    const filter = {
      tenant,
      ...(channel !== undefined && { channel }),
      // The first condition is the range of the index, the second one leaves out what the page before had of its last address.
      ...(after && {
        address_hash: { $gte: after.addressHash },
        $or: [{ address_hash: { $gt: after.addressHash } }, { category: { $gt: after.category } }],
      }),
    };
    const documents = await this.#reach(() =>
      this.#collection.find(filter).sort({ address_hash: 1, category: 1 }).limit(limit).toArray(),
    );
    return documents.map(toSuppression);
  }

  async remove(addressHash: string, category: string = ALL_CATEGORIES): Promise<boolean> {
    const { deletedCount } = await this.#reach(() =>
      this.#collection.deleteOne({ _id: idOf({ address_hash: addressHash, category }) }),
    );
    return deletedCount === 1;
  }

  /** Resolves when every call that was taken has been answered. */
  async idle(): Promise<void> {
    await Promise.all([this.#inserts.idle(), this.#finds.idle()]);
  }

  async #runFinds(addressHashes: readonly string[]): Promise<Outcome<readonly Suppression[]>[]> {
    const documents = await this.#reach(() =>
      this.#collection.find({ address_hash: { $in: [...new Set(addressHashes)] } }).toArray(),
    );
    const found = Map.groupBy(documents, (document) => document.address_hash);
    return addressHashes.map((hash) => ({ value: found.get(hash)?.map(toSuppression) ?? [] }));
  }
}

/** A hash is hex digits, so that the first colon is its end. */
function idOf({ address_hash, category }: Pick<SuppressionDocument, 'address_hash' | 'category'>): string {
  return `${address_hash}:${category}`;
}

function toDocument(suppression: Suppression): SuppressionDocument {
  const { tenant, channel, addressHash, category = ALL_CATEGORIES } = suppression;
  const key = { address_hash: addressHash, category };
  return { _id: idOf(key), tenant, channel, ...key, body: JSON.stringify(suppression) };
}

function toSuppression({ body }: SuppressionDocument): Suppression {
  // `toDocument` wrote it from this very type.
  return JSON.parse(body) as Suppression;
}
