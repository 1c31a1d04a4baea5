import type { Collection, Filter } from 'mongodb';

import { isFinal, STATUSES } from '../../domain/notification.ts';
import { erasedSpec } from './documents.ts';
import type { AttachmentsDocument, Collections, KeyDocument, RowDocument } from './documents.ts';
import type { Reach } from './failure.ts';

const FINAL = STATUSES.filter(isFinal);

/**
 * Deletion by our own sweep and not by TTL indexes: these need a server that has them, and go by the server's clock.
 * Every step can be repeated; what a crash leaves half done, the next sweep finishes.
 */
export class Retention {
  readonly #reach: Reach;
  readonly #rows: Collection<RowDocument>;
  readonly #attachments: Collection<AttachmentsDocument>;
  readonly #keys: Collection<KeyDocument>;

  constructor({ rows, attachments, keys }: Collections, reach: Reach) {
    this.#reach = reach;
    this.#rows = rows;
    this.#attachments = attachments;
    this.#keys = keys;
  }

  /**
   * A row is marked as done last, after its attachments are gone; until then a sweep finds it again. A row that was
   * re-driven meanwhile has another version and is left alone.
   */
  eraseContent(aboveId: string, belowId: string, settledBefore: number, limit: number): Promise<string | undefined> {
    return this.#reach(async () => {
      const range = { _id: { $gt: aboveId, $lt: belowId } };
      const filter = { ...range, ...settledAt(settledBefore), erased: { $ne: 'all' as const } };
      const documents = await this.#rows.find(filter).sort({ _id: 1 }).limit(limit).toArray();
      const ids = documents.map(({ _id }) => _id);
      if (ids.length === 0) return undefined;
      const erasures = documents.map(({ _id, version, spec }) => {
        const update = { $set: { spec: erasedSpec(spec), erased: 'content' }, $unset: { rendered: true } } as const;
        return { updateOne: { filter: { _id, version }, update } };
      });
      await this.#rows.bulkWrite(erasures, { ordered: false });
      const half = { _id: { $in: ids }, erased: 'content' } as const;
      const erased = await this.#rows.find(half, { projection: { _id: 1 } }).toArray();
      await this.#attachments.deleteMany({ _id: { $in: erased.map(({ _id }) => _id) } });
      await this.#rows.updateMany(half, { $set: { erased: 'all' } });
      return ids.at(-1);
    });
  }

  deleteRows(belowId: string, settledBefore: number, limit: number): Promise<number> {
    return this.#reach(async () => {
      const settled = settledAt(settledBefore);
      const filter = { _id: { $lt: belowId }, ...settled };
      const projection = { _id: 1 };
      const documents = await this.#rows.find(filter, { projection }).sort({ _id: 1 }).limit(limit).toArray();
      const ids = documents.map(({ _id }) => _id);
      if (ids.length === 0) return 0;
      // Attachments first: without their row nothing would ever find them again.
      await this.#attachments.deleteMany({ _id: { $in: ids } });
      const { deletedCount } = await this.#rows.deleteMany({ _id: { $in: ids }, ...settled });
      return deletedCount;
    });
  }

  deleteKeys(now: number, limit: number): Promise<number> {
    return this.#reach(async () => {
      const ended = { expires_at: { $lt: now } };
      const documents = await this.#keys
        .find(ended, { projection: { _id: 1 } })
        .limit(limit)
        .toArray();
      if (documents.length === 0) return 0;
      const { deletedCount } = await this.#keys.deleteMany({ _id: { $in: documents.map(({ _id }) => _id) }, ...ended });
      return deletedCount;
    });
  }
}

/** Final since that time or longer. */
function settledAt(time: number): Pick<Filter<RowDocument>, 'status' | 'updated_at'> {
  return { status: { $in: FINAL }, updated_at: { $lte: time } };
}
