import type { AnyBulkWriteOperation, Collection } from 'mongodb';

import type { Receipt } from '../../domain/receipt.ts';
import type { ReceiptMark, StoredReceipt } from '../storage.ts';
import { Batcher } from './batcher.ts';
import type { Outcome } from './batcher.ts';
import { Bulk, BULK_LIMITS, SMALL_OPERATION } from './bulk.ts';
import type { ReceiptDocument } from './documents.ts';
import type { Reach } from './failure.ts';

/** What providers reported, one document per event. */
export class Receipts {
  readonly #collection: Collection<ReceiptDocument>;
  readonly #reach: Reach;
  readonly #inserts: Batcher<ReceiptDocument, void>;
  readonly #marks: Batcher<AnyBulkWriteOperation<ReceiptDocument>, void>;
  readonly #finds: Batcher<string, readonly Receipt[]>;

  /** @param maxWaitMs A call that could not even begin for so long is refused. */
  constructor(collection: Collection<ReceiptDocument>, reach: Reach, maxWaitMs: number) {
    this.#collection = collection;
    this.#reach = reach;
    const bulk = new Bulk(collection, reach);
    const limits = { ...BULK_LIMITS, maxWaitMs };
    this.#inserts = new Batcher({
      ...limits,
      run: (documents) => bulk.runEach(documents.map((document) => ({ insertOne: { document } }))),
    });
    this.#marks = new Batcher({ ...limits, run: (operations) => bulk.runEach(operations) });
    this.#finds = new Batcher({ ...limits, run: (ids) => this.#runFinds(ids) });
  }

  async save(receipts: readonly StoredReceipt[]): Promise<void> {
    await this.#inserts.add(receipts.map(toDocument), ({ body }) => SMALL_OPERATION + body.length);
  }

  async ofNotifications(ids: readonly string[]): Promise<Receipt[]> {
    const found = await this.#finds.add([...new Set(ids)], () => SMALL_OPERATION);
    return found.flat().toSorted(byTime);
  }

  async due(now: number, limit: number): Promise<Receipt[]> {
    const due = { wake_at: { $lte: now } };
    const documents = await this.#reach(() => this.#collection.find(due).sort({ wake_at: 1 }).limit(limit).toArray());
    return documents.map(toReceipt);
  }

  async mark(marks: readonly ReceiptMark[]): Promise<void> {
    await this.#marks.add(marks.map(toMark), () => SMALL_OPERATION);
  }

  delete(receivedBefore: number, limit: number): Promise<number> {
    return this.#reach(async () => {
      const old = { received_at: { $lt: receivedBefore } };
      const documents = await this.#collection
        .find(old, { projection: { _id: 1 } })
        .limit(limit)
        .toArray();
      if (documents.length === 0) return 0;
      const { deletedCount } = await this.#collection.deleteMany({ _id: { $in: documents.map(({ _id }) => _id) } });
      return deletedCount;
    });
  }

  /** Resolves when every call that was taken has been answered. */
  async idle(): Promise<void> {
    await Promise.all([this.#inserts.idle(), this.#marks.idle(), this.#finds.idle()]);
  }

  async #runFinds(ids: readonly string[]): Promise<Outcome<readonly Receipt[]>[]> {
    const open = { notification_id: { $in: [...new Set(ids)] }, wake_at: { $exists: true } };
    const documents = await this.#reach(() => this.#collection.find(open).toArray());
    const found = Map.groupBy(documents.map(toReceipt), (receipt) => receipt.notificationId);
    return ids.map((id) => ({ value: found.get(id) ?? [] }));
  }
}

function toDocument({ receipt, wakeAt }: StoredReceipt): ReceiptDocument {
  return {
    _id: receipt.id,
    notification_id: receipt.notificationId,
    received_at: receipt.receivedAt,
    ...(wakeAt !== undefined && { wake_at: wakeAt }),
    body: JSON.stringify(receipt),
  };
}

function toReceipt({ body }: ReceiptDocument): Receipt {
  // `toDocument` wrote it from this very type.
  return JSON.parse(body) as Receipt;
}

function toMark({ id, wakeAt }: ReceiptMark): AnyBulkWriteOperation<ReceiptDocument> {
  const update = wakeAt === undefined ? { $unset: { wake_at: true } as const } : { $set: { wake_at: wakeAt } };
  return { updateOne: { filter: { _id: id }, update } };
}

/** Of one moment, as services tell whole seconds, in the order in which they came. */
function byTime(a: Receipt, b: Receipt): number {
  return a.at - b.at || a.receivedAt - b.receivedAt || (a.id < b.id ? -1 : 1);
}
