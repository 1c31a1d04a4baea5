import { randomUUID } from 'node:crypto';

import type { AnyBulkWriteOperation, Collection, Filter } from 'mongodb';

import { firstIdAt } from '../../domain/id.ts';
import { laneName } from '../../domain/notification.ts';
import type { Lane, Notification } from '../../domain/notification.ts';
import { CarillonError } from '../../errors.ts';
import type { Change, Cleared, ListQuery, Postponed } from '../storage.ts';
import { Batcher } from './batcher.ts';
import type { Outcome } from './batcher.ts';
import { Bulk, BULK_LIMITS, SMALL_OPERATION } from './bulk.ts';
import { mutableFields, sizeOf, toDocument, toRow } from './documents.ts';
import type { RowDocument } from './documents.ts';
import type { Reach } from './failure.ts';

interface Update {
  readonly id: string;
  readonly stamp: string;
  readonly bytes: number;
  readonly operation: AnyBulkWriteOperation<RowDocument>;
}

/** The rows of notifications. Every write is atomic for its one document and needs no transaction. */
export class Rows {
  readonly #collection: Collection<RowDocument>;
  readonly #reach: Reach;
  readonly #bulk: Bulk<RowDocument>;
  readonly #inserts: Batcher<RowDocument, void>;
  readonly #updates: Batcher<Update, boolean>;
  readonly #marks: Batcher<AnyBulkWriteOperation<RowDocument>, void>;
  readonly #finds: Batcher<string, Notification | undefined>;

  /** @param maxWaitMs A call that could not even begin for so long is refused. */
  constructor(collection: Collection<RowDocument>, reach: Reach, maxWaitMs: number) {
    this.#collection = collection;
    this.#reach = reach;
    this.#bulk = new Bulk(collection, reach);
    const limits = { ...BULK_LIMITS, maxWaitMs };
    this.#inserts = new Batcher({
      ...limits,
      run: (documents) => this.#bulk.runEach(documents.map((document) => ({ insertOne: { document } }))),
    });
    this.#updates = new Batcher({ ...limits, run: (updates) => this.#runUpdates(updates) });
    this.#marks = new Batcher({ ...limits, run: (operations) => this.#bulk.runEach(operations) });
    this.#finds = new Batcher({ ...limits, run: (ids) => this.#runFinds(ids) });
  }

  async insert(rows: readonly Notification[]): Promise<void> {
    await this.#inserts.add(rows.map(toDocument), sizeOf);
  }

  update(changes: readonly Change[]): Promise<boolean[]> {
    return this.#updates.add(changes.map(toUpdate), (update) => update.bytes);
  }

  async clear(marks: readonly Cleared[]): Promise<void> {
    const operations = marks.map(({ id, version, published, wakeAt }) =>
      mark({ _id: id, version }, { published, ...(wakeAt !== undefined && { wake_at: wakeAt }) }, wakeAt === undefined),
    );
    await this.#marks.add(operations, () => SMALL_OPERATION);
  }

  async postpone(marks: readonly Postponed[]): Promise<void> {
    const operations = marks.map(({ id, version, wakeAt }) => mark({ _id: id, version }, { wake_at: wakeAt }, false));
    await this.#marks.add(operations, () => SMALL_OPERATION);
  }

  async find(ids: readonly string[]): Promise<Notification[]> {
    const rows = await this.#finds.add([...new Set(ids)], () => SMALL_OPERATION);
    return rows.filter((row) => row !== undefined);
  }

  async list(query: ListQuery): Promise<Notification[]> {
    const documents = await this.#reach(() =>
      this.#collection.find(toFilter(query)).sort({ _id: -1 }).limit(query.limit).toArray(),
    );
    return documents.map(toRow);
  }

  async due(now: number, limit: number): Promise<Notification[]> {
    const due = { wake_at: { $lte: now } };
    const documents = await this.#reach(() => this.#collection.find(due).sort({ wake_at: 1 }).limit(limit).toArray());
    return documents.map(toRow);
  }

  countQueued(lane: Lane, limit: number): Promise<number> {
    if (limit <= 0) return Promise.resolve(0);
    return this.#reach(() => this.#collection.countDocuments({ lane: laneName(lane) }, { limit }));
  }

  /** Resolves when every call that was taken has been answered. */
  async idle(): Promise<void> {
    await Promise.all([this.#inserts.idle(), this.#updates.idle(), this.#marks.idle(), this.#finds.idle()]);
  }

  /**
   * The server answers how many of a bulk matched, not which: when some did not, the stamps tell. A stamp that was
   * overwritten between the write and the read leaves the effect unknown, and that is what its caller is told.
   */
  async #runUpdates(updates: readonly Update[]): Promise<Outcome<boolean>[]> {
    const { matched, errors } = await this.#bulk.run(updates.map((update) => update.operation));
    if (matched === updates.length) return updates.map(() => ({ value: true }));
    if (matched === 0 && errors.size === 0) return updates.map(() => ({ value: false }));
    const stamps = await this.#readStamps(updates.map((update) => update.id));
    const won = updates.map((update) => stamps.get(update.id) === update.stamp);
    const allFound = won.filter(Boolean).length === matched;
    return updates.map((_, index) => {
      const failed = errors.get(index);
      if (failed) return { error: failed.error };
      if (won[index]) return { value: true };
      return allFound ? { value: false } : { error: unknownEffect() };
    });
  }

  async #readStamps(ids: readonly string[]): Promise<Map<string, string | undefined>> {
    const projection = { _id: 1, stamp: 1 };
    const documents = await this.#reach(() =>
      this.#collection.find({ _id: { $in: [...ids] } }, { projection }).toArray(),
    );
    return new Map(documents.map(({ _id, stamp }) => [_id, stamp]));
  }

  async #runFinds(ids: readonly string[]): Promise<Outcome<Notification | undefined>[]> {
    const documents = await this.#reach(() => this.#collection.find({ _id: { $in: [...new Set(ids)] } }).toArray());
    const rows = new Map(documents.map((document) => [document._id, toRow(document)]));
    return ids.map((id) => ({ value: rows.get(id) }));
  }
}

function unknownEffect(): CarillonError {
  return new CarillonError('STORE_UNAVAILABLE', 'the row was written again before this write could be confirmed');
}

function toUpdate({ from, row, rendered }: Change): Update {
  const { lane, wake_at, ...always } = mutableFields(row);
  const stamp = randomUUID();
  const text = rendered && JSON.stringify(rendered);
  const update = {
    $set: {
      ...always,
      stamp,
      ...(lane !== undefined && { lane }),
      ...(wake_at !== undefined && { wake_at }),
      ...(text !== undefined && { rendered: text }),
    },
    $unset: {
      ...(lane === undefined && { lane: true as const }),
      ...(wake_at === undefined && { wake_at: true as const }),
      // Retention has to come back for content that was rendered after it.
      ...(text !== undefined && { erased: true as const }),
    },
  };
  return {
    id: row.spec.id,
    stamp,
    bytes: sizeOf({ state: always.state, ...(text !== undefined && { rendered: text }) }),
    operation: { updateOne: { filter: { _id: row.spec.id, version: from }, update } },
  };
}

function mark(
  filter: Filter<RowDocument>,
  fields: { published?: number; wake_at?: number },
  done: boolean,
): AnyBulkWriteOperation<RowDocument> {
  const update = { $set: fields, ...(done && { $unset: { wake_at: true } as const }) };
  return { updateOne: { filter, update } };
}

/** Ids begin with the time they were made, so a range of time is a range of ids. */
function toFilter(query: ListQuery): Filter<RowDocument> {
  const { tenant, recipientId, groupId, status, from, before, belowId } = query;
  const ends = [...(before === undefined ? [] : [firstIdAt(before)]), ...(belowId === undefined ? [] : [belowId])];
  const end = ends.toSorted()[0];
  return {
    tenant,
    ...(recipientId !== undefined && { recipient_id: recipientId }),
    ...(groupId !== undefined && { group_id: groupId }),
    ...(status !== undefined && { status }),
    ...((from !== undefined || end !== undefined) && {
      _id: { ...(from !== undefined && { $gte: firstIdAt(from) }), ...(end !== undefined && { $lt: end }) },
    }),
  };
}
