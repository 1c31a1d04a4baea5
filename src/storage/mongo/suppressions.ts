import type { AnyBulkWriteOperation, Collection } from 'mongodb';

import type { Suppression } from '../../domain/suppression.ts';
import type { SuppressionMatch, SuppressionQuery } from '../storage.ts';
import { Batcher } from './batcher.ts';
import type { Outcome } from './batcher.ts';
import { Bulk, BULK_LIMITS, SMALL_OPERATION } from './bulk.ts';
import type { SuppressionDocument } from './documents.ts';
import { DUPLICATE_KEY } from './failure.ts';
import type { Reach } from './failure.ts';

const ALL_CATEGORIES = '';
/** Each lost one means that another caller has written the same suppression. */
const MAX_ROUNDS = 5;

/** Addresses to which nothing is sent any more, one document per address, category and reason. */
export class Suppressions {
  readonly #collection: Collection<SuppressionDocument>;
  readonly #reach: Reach;
  readonly #bulk: Bulk<SuppressionDocument>;
  readonly #adds: Batcher<SuppressionDocument, void>;
  readonly #finds: Batcher<string, readonly Suppression[]>;

  /** @param maxWaitMs A call that could not even begin for so long is refused. */
  constructor(collection: Collection<SuppressionDocument>, reach: Reach, maxWaitMs: number) {
    this.#collection = collection;
    this.#reach = reach;
    this.#bulk = new Bulk(collection, reach);
    const limits = { ...BULK_LIMITS, maxWaitMs };
    this.#adds = new Batcher({ ...limits, run: (documents) => this.#runAdds(documents) });
    this.#finds = new Batcher({ ...limits, run: (addressHashes) => this.#runFinds(addressHashes) });
  }

  async add(suppressions: readonly Suppression[]): Promise<void> {
    await this.#adds.add(suppressions.map(toDocument), ({ body }) => SMALL_OPERATION + body.length);
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
        $or: [
          { address_hash: { $gt: after.addressHash } },
          { category: { $gt: after.category } },
          { category: after.category, reason: { $gt: after.reason } },
        ],
      }),
    };
    const documents = await this.#reach(() =>
      this.#collection.find(filter).sort({ address_hash: 1, category: 1, reason: 1 }).limit(limit).toArray(),
    );
    return documents.map(toSuppression);
  }

  async remove({ addressHash, category, reason, until }: SuppressionMatch): Promise<boolean> {
    const filter = {
      address_hash: addressHash,
      category,
      ...(reason !== undefined && { reason }),
      ...(until !== undefined && { said_at: { $lte: until } }),
    };
    const { deletedCount } = await this.#reach(() => this.#collection.deleteMany(filter));
    return deletedCount > 0;
  }

  /** Resolves when every call that was taken has been answered. */
  async idle(): Promise<void> {
    await Promise.all([this.#adds.idle(), this.#finds.idle()]);
  }

  async #runAdds(documents: readonly SuppressionDocument[]): Promise<Outcome<void>[]> {
    const outcomes: Outcome<void>[] = [];
    let open = [...documents.entries()];
    for (let round = 0; round < MAX_ROUNDS && open.length > 0; round += 1) {
      const { errors } = await this.#bulk.run(open.map(([, document]) => upsertOf(document)));
      for (const [at, [index]] of open.entries()) {
        const failed = errors.get(at);
        outcomes[index] = failed === undefined ? { value: undefined } : { error: failed.error };
      }
      // Two upserts of one key at the same moment: the loser finds the document now.
      open = open.filter((_, at) => errors.get(at)?.code === DUPLICATE_KEY);
    }
    return outcomes;
  }

  async #runFinds(addressHashes: readonly string[]): Promise<Outcome<readonly Suppression[]>[]> {
    const documents = await this.#reach(() =>
      this.#collection.find({ address_hash: { $in: [...new Set(addressHashes)] } }).toArray(),
    );
    const found = Map.groupBy(documents, (document) => document.address_hash);
    return addressHashes.map((hash) => ({ value: found.get(hash)?.map(toSuppression) ?? [] }));
  }
}

function toDocument(suppression: Suppression): SuppressionDocument {
  const { tenant, channel, addressHash, category = ALL_CATEGORIES, reason, saidAt } = suppression;
  return {
    // A hash is hex digits and a reason a word: the first colon and the last one are the ends of these.
    _id: `${addressHash}:${category}:${reason}`,
    tenant,
    channel,
    address_hash: addressHash,
    category,
    reason,
    said_at: saidAt,
    body: JSON.stringify(suppression),
  };
}

function upsertOf({ _id, said_at, ...rest }: SuppressionDocument): AnyBulkWriteOperation<SuppressionDocument> {
  return { updateOne: { filter: { _id }, update: { $setOnInsert: rest, $max: { said_at } }, upsert: true } };
}

function toSuppression({ body, said_at }: SuppressionDocument): Suppression {
  // `toDocument` wrote it from this very type.
  return { ...(JSON.parse(body) as Suppression), saidAt: said_at };
}
