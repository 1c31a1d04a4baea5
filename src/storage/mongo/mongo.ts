/**
 * The store on MongoDB and on servers that speak its protocol: a standalone, a replica set, a sharded cluster (shard key
 * `_id`, hashed). It uses only what all of them have: writes of single documents and bulks of them, ordinary indexes, and
 * `_id` as the only uniqueness.
 */
import { Binary, MongoClient } from 'mongodb';
import type { Collection, Db } from 'mongodb';

import type { Attachment, Lane, Notification } from '../../domain/notification.ts';
import type { Receipt } from '../../domain/receipt.ts';
import type { Suppression } from '../../domain/suppression.ts';
import type { Change, Cleared, KeyRecord, ListQuery, Postponed, Storage } from '../storage.ts';
import type { ReceiptMark, StoredReceipt, SuppressionMatch, SuppressionQuery } from '../storage.ts';
import { toAttachment } from './documents.ts';
import type { AttachmentsDocument, Collections } from './documents.ts';
import { isDuplicateKey, reachWithin } from './failure.ts';
import type { Reach } from './failure.ts';
import { Keys } from './keys.ts';
import { Receipts } from './receipts.ts';
import { Retention } from './retention.ts';
import { Rows } from './rows.ts';
import { Suppressions } from './suppressions.ts';
import { Swaps } from './swaps.ts';

export interface MongoOptions {
  /** `mongodb://` or `mongodb+srv://`; credentials, TLS and `retryWrites=false` for servers without sessions go here. */
  readonly url: string;
  readonly database: string;
  /** An operation that has no answer by then is STORE_UNAVAILABLE. Milliseconds, default 5,000. */
  readonly timeoutMs?: number;
  /** How long an operation waits for a server, above all for a new primary. Milliseconds, default 3,000. */
  readonly serverSelectionTimeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 5_000;
const DEFAULT_SELECTION_MS = 3_000;
/** How often the driver looks whether a server is back, in milliseconds; its own default is 10 s. */
const HEARTBEAT_MS = 2_000;

/**
 * Connects and makes the indexes that are missing. Recovers from every later outage by itself.
 *
 * @throws CarillonError STORE_UNAVAILABLE when no server answers.
 */
export async function openMongoStorage(options: MongoOptions): Promise<Storage> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const stageMs = Math.min(options.serverSelectionTimeoutMs ?? DEFAULT_SELECTION_MS, timeoutMs);
  const client = new MongoClient(options.url, {
    appName: 'carillon',
    // An acknowledged write is on the disks of a majority and cannot be rolled back; reads see no other.
    writeConcern: { w: 'majority', journal: true },
    readConcern: { level: 'majority' },
    readPreference: 'primary',
    serverSelectionTimeoutMS: stageMs,
    connectTimeoutMS: stageMs,
    waitQueueTimeoutMS: timeoutMs,
    // Gives back the connection of an operation that nobody waits for any more.
    socketTimeoutMS: timeoutMs,
    heartbeatFrequencyMS: HEARTBEAT_MS,
    ignoreUndefined: true,
  });
  const reach = reachWithin(timeoutMs);
  try {
    await reach(() => client.connect());
    const db = client.db(options.database);
    const collections = collectionsOf(db);
    await reach(() => createIndexes(collections));
    return new MongoStorage({ client, db, collections, reach, timeoutMs });
  } catch (thrown) {
    await client.close();
    throw thrown;
  }
}

interface Parts {
  readonly client: MongoClient;
  readonly db: Db;
  readonly collections: Collections;
  readonly reach: Reach;
  readonly timeoutMs: number;
}

function collectionsOf(db: Db): Collections {
  return {
    rows: db.collection('notifications'),
    keys: db.collection('idempotency_keys'),
    attachments: db.collection('attachments'),
    limits: db.collection('limits'),
    leases: db.collection('leases'),
    receipts: db.collection('receipts'),
    suppressions: db.collection('suppressions'),
    secrets: db.collection('secrets'),
  };
}

async function createIndexes({ rows, keys, receipts, suppressions }: Collections): Promise<void> {
  await rows.createIndexes([
    // The four lists, each in the order of its index. `_id` sorts by time, so it also serves the ranges of time.
    { key: { tenant: 1, _id: 1 } },
    { key: { tenant: 1, recipient_id: 1, _id: 1 } },
    { key: { tenant: 1, status: 1, _id: 1 } },
    // A group is one row per channel: nothing is left to sort by the index.
    { key: { group_id: 1 } },
    // Only rows that want something later are in it: schedules, retries, expired leases, lost hints, unpublished events.
    { key: { wake_at: 1 }, sparse: true },
    // Only QUEUED rows are in it, so that counting a lane's costs no more than there are.
    { key: { lane: 1 }, sparse: true },
  ]);
  await keys.createIndexes([{ key: { expires_at: 1 } }]);
  await receipts.createIndexes([
    { key: { notification_id: 1 } },
    // Only receipts that are not applied yet are in it.
    { key: { wake_at: 1 }, sparse: true },
    { key: { received_at: 1 } },
  ]);
  await suppressions.createIndexes([
    { key: { address_hash: 1 } },
    // The two lists, each in the order of its index.
    { key: { tenant: 1, address_hash: 1, category: 1, reason: 1 } },
    { key: { tenant: 1, channel: 1, address_hash: 1, category: 1, reason: 1 } },
  ]);
}

class MongoStorage implements Storage {
  readonly #client: MongoClient;
  readonly #db: Db;
  readonly #reach: Reach;
  readonly #attachments: Collection<AttachmentsDocument>;
  readonly #rows: Rows;
  readonly #keys: Keys;
  readonly #receipts: Receipts;
  readonly #suppressions: Suppressions;
  readonly #swaps: Swaps;
  readonly #retention: Retention;

  constructor({ client, db, collections, reach, timeoutMs }: Parts) {
    this.#client = client;
    this.#db = db;
    this.#reach = reach;
    this.#attachments = collections.attachments;
    this.#rows = new Rows(collections.rows, reach, timeoutMs);
    this.#keys = new Keys(collections.keys, reach, timeoutMs);
    this.#receipts = new Receipts(collections.receipts, reach, timeoutMs);
    this.#suppressions = new Suppressions(collections.suppressions, reach, timeoutMs);
    this.#swaps = new Swaps(collections, reach);
    this.#retention = new Retention(collections, reach);
  }

  async ping(): Promise<void> {
    await this.#reach(() => this.#db.command({ ping: 1 }));
  }

  insert(rows: readonly Notification[]): Promise<void> {
    return this.#rows.insert(rows);
  }

  update(changes: readonly Change[]): Promise<boolean[]> {
    return this.#rows.update(changes);
  }

  clear(marks: readonly Cleared[]): Promise<void> {
    return this.#rows.clear(marks);
  }

  postpone(marks: readonly Postponed[]): Promise<void> {
    return this.#rows.postpone(marks);
  }

  find(ids: readonly string[]): Promise<Notification[]> {
    return this.#rows.find(ids);
  }

  list(query: ListQuery): Promise<Notification[]> {
    return this.#rows.list(query);
  }

  due(now: number, limit: number): Promise<Notification[]> {
    return this.#rows.due(now, limit);
  }

  countQueued(lane: Lane, limit: number): Promise<number> {
    return this.#rows.countQueued(lane, limit);
  }

  reserveKeys(records: readonly KeyRecord[]): Promise<KeyRecord[]> {
    return this.#keys.reserve(records);
  }

  findKey(tenant: string, key: string, now: number): Promise<KeyRecord | undefined> {
    return this.#keys.find(tenant, key, now);
  }

  async saveAttachments(id: string, files: readonly Attachment[]): Promise<void> {
    const stored = files.map(({ filename, mimeType, contentId, content }) => ({
      filename,
      mime_type: mimeType,
      ...(contentId !== undefined && { content_id: contentId }),
      content: new Binary(content),
    }));
    // $setOnInsert leaves a repeat as it is, also while the first try is still on its way.
    const insert = { $setOnInsert: { files: stored } };
    await this.#reach(async () => {
      try {
        await this.#attachments.updateOne({ _id: id }, insert, { upsert: true });
      } catch (thrown) {
        if (!isDuplicateKey(thrown)) throw thrown;
      }
    });
  }

  async loadAttachments(id: string): Promise<Attachment[]> {
    const found = await this.#reach(() => this.#attachments.findOne({ _id: id }));
    return found?.files.map(toAttachment) ?? [];
  }

  readLimit(name: string): Promise<number> {
    return this.#swaps.readLimit(name);
  }

  swapLimit(name: string, expected: number, next: number): Promise<boolean> {
    return this.#swaps.swapLimit(name, expected, next);
  }

  saveReceipts(receipts: readonly StoredReceipt[]): Promise<void> {
    return this.#receipts.save(receipts);
  }

  receiptsOf(notificationIds: readonly string[]): Promise<Receipt[]> {
    return this.#receipts.ofNotifications(notificationIds);
  }

  dueReceipts(now: number, limit: number): Promise<Receipt[]> {
    return this.#receipts.due(now, limit);
  }

  markReceipts(marks: readonly ReceiptMark[]): Promise<void> {
    return this.#receipts.mark(marks);
  }

  deleteReceipts(receivedBefore: number, limit: number): Promise<number> {
    return this.#receipts.delete(receivedBefore, limit);
  }

  addSuppressions(suppressions: readonly Suppression[]): Promise<void> {
    return this.#suppressions.add(suppressions);
  }

  findSuppressions(addressHashes: readonly string[]): Promise<Suppression[]> {
    return this.#suppressions.find(addressHashes);
  }

  listSuppressions(query: SuppressionQuery): Promise<Suppression[]> {
    return this.#suppressions.list(query);
  }

  removeSuppressions(match: SuppressionMatch): Promise<boolean> {
    return this.#suppressions.remove(match);
  }

  sharedSecret(name: string, candidate: string): Promise<string> {
    return this.#swaps.sharedSecret(name, candidate);
  }

  acquireLease(name: string, holder: string, now: number, until: number): Promise<boolean> {
    return this.#swaps.acquireLease(name, holder, now, until);
  }

  releaseLease(name: string, holder: string): Promise<void> {
    return this.#swaps.releaseLease(name, holder);
  }

  eraseContent(aboveId: string, belowId: string, settledBefore: number, limit: number): Promise<string | undefined> {
    return this.#retention.eraseContent(aboveId, belowId, settledBefore, limit);
  }

  deleteRows(belowId: string, settledBefore: number, limit: number): Promise<number> {
    return this.#retention.deleteRows(belowId, settledBefore, limit);
  }

  deleteKeys(now: number, limit: number): Promise<number> {
    return this.#retention.deleteKeys(now, limit);
  }

  /** Lets the calls that were taken end, each within its time-out, then closes the connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#rows, this.#keys, this.#receipts, this.#suppressions].map((batched) => batched.idle()));
    await this.#client.close();
  }
}
