/**
 * The storage port. The row of a notification is the truth; everything else can be made again from it.
 *
 * What every adapter promises:
 * - A write that resolved is durable: it survives `kill -9` of this process and, where the server acknowledged it, of the
 *   database (MongoDB `w: majority, j: true`; SQLite `synchronous=FULL`).
 * - A write of one row is atomic. A call with several rows is not: some may be written when it rejects.
 * - A call that cannot reach the store rejects with CarillonError STORE_UNAVAILABLE. Its effect is then unknown: the
 *   caller reads the row and decides.
 * - Reads see every write that resolved before they began.
 * - Nothing here knows a query language, a transaction or a driver.
 */
import type { Attachment, Channel, Lane, Notification, RenderedContent, Status } from '../domain/notification.ts';
import type { Receipt } from '../domain/receipt.ts';
import type { Suppression, SuppressionReason } from '../domain/suppression.ts';

/** A new state for a row, written only if the stored version still is `from`. */
export interface Change {
  /** The version that `row.state` was computed from. */
  readonly from: number;
  readonly row: Notification;
  /** Also replaces the stored rendered content. */
  readonly rendered?: RenderedContent;
}

/** The events up to `published` are acknowledged: forget them, if the stored version still is `version`. */
export interface Cleared {
  readonly id: string;
  readonly version: number;
  readonly published: number;
  /** When the scheduler must look next; not given when nothing is left to do. */
  readonly wakeAt?: number;
}

/** Looks at the row again later, if the stored version still is `version`. */
export interface Postponed {
  readonly id: string;
  readonly version: number;
  readonly wakeAt: number;
}

/** Newest first. At most one of recipient, group and status is given. */
export interface ListQuery {
  readonly tenant: string;
  readonly recipientId?: string;
  readonly groupId?: string;
  readonly status?: Status;
  /** Accepted at or after. */
  readonly from?: number;
  /** Accepted before. */
  readonly before?: number;
  /** Only ids below this one: the last id of the page before. */
  readonly belowId?: string;
  readonly limit: number;
}

/** What an idempotency key stands for. */
export interface KeyRecord {
  readonly tenant: string;
  readonly key: string;
  /** Hash of the domain request. */
  readonly fingerprint: string;
  readonly groupId: string;
  /** The ids set aside for the notifications, one per channel. */
  readonly ids: readonly string[];
  readonly watchToken: string;
  readonly createdAt: number;
  readonly expiresAt: number;
}

/** A receipt and when the scheduler must look at it; without `wakeAt` it is applied and only kept to know a repeat. */
export interface StoredReceipt {
  readonly receipt: Receipt;
  readonly wakeAt?: number;
}

/** When the scheduler must look at a receipt; without `wakeAt` not again. */
export interface ReceiptMark {
  readonly id: string;
  readonly wakeAt?: number;
}

/** What a suppression is unique by. */
export interface SuppressionKey {
  readonly addressHash: string;
  /** Empty: all of them. */
  readonly category: string;
  readonly reason: SuppressionReason;
}

/** By the order of their keys. */
export interface SuppressionQuery {
  readonly tenant: string;
  readonly channel?: Channel;
  /** Only above this position: that of the last one of the page before. */
  readonly after?: SuppressionKey;
  readonly limit: number;
}

/** Those of one address and category. */
export interface SuppressionMatch extends Omit<SuppressionKey, 'reason'> {
  /** Not given: whatever their reason. */
  readonly reason?: SuppressionReason;
  /** Only those last said then or before. */
  readonly until?: number;
}

export interface Storage extends AsyncDisposable {
  /** Resolves when the store answers; for readiness. */
  ping(): Promise<void>;

  /** Inserts rows. A row whose id is there already is left as it is, without an error. */
  insert(rows: readonly Notification[]): Promise<void>;

  /**
   * Compare-and-set by version, row by row. Answers per change whether this very write took place. `false` means that
   * the row had another version (or is gone); after a network error inside the call it may also mean that the write took
   * place and was overwritten since: who must know reads the row.
   */
  update(changes: readonly Change[]): Promise<boolean[]>;

  /** Removes published events. Leaves the version alone. A row that moved on is left as it is. */
  clear(marks: readonly Cleared[]): Promise<void>;

  /** Moves `wakeAt` only. Leaves the version alone. A row that moved on is left as it is. */
  postpone(marks: readonly Postponed[]): Promise<void>;

  /** The rows with these ids, in any order; those that do not exist are missing. One query. */
  find(ids: readonly string[]): Promise<Notification[]>;

  list(query: ListQuery): Promise<Notification[]>;

  /** Rows with `wakeAt` at or before `now`, earliest first. */
  due(now: number, limit: number): Promise<Notification[]>;

  /** The number of QUEUED rows of a lane, counted up to `limit` at most. */
  countQueued(lane: Lane, limit: number): Promise<number>;

  /**
   * Writes each record unless an unexpired one (`expiresAt` after its `createdAt`) with that tenant and key is there;
   * answers the records that are in force now, in the order asked for. Atomic per key.
   */
  reserveKeys(records: readonly KeyRecord[]): Promise<KeyRecord[]>;
  /** The record of a key that is in force at `now`. */
  findKey(tenant: string, key: string, now: number): Promise<KeyRecord | undefined>;

  /** Stores the files of a notification under its id; a repeat is left as it is. */
  saveAttachments(id: string, files: readonly Attachment[]): Promise<void>;
  loadAttachments(id: string): Promise<Attachment[]>;

  /** The theoretical arrival time of a rate limit; 0 when it was never used. */
  readLimit(name: string): Promise<number>;
  /** Moves it from `expected` to `next`; false when another process was faster. `expected` 0 stands for "never used". */
  swapLimit(name: string, expected: number, next: number): Promise<boolean>;

  /** Writes each receipt unless one with its id is there. When this resolves, each of them is durable. */
  saveReceipts(receipts: readonly StoredReceipt[]): Promise<void>;
  /** The receipts of these notifications that are not applied yet (`wakeAt` is set), earliest event first. */
  receiptsOf(notificationIds: readonly string[]): Promise<Receipt[]>;
  /** Receipts with `wakeAt` at or before `now`, earliest first. */
  dueReceipts(now: number, limit: number): Promise<Receipt[]>;
  /** Sets or, not given, takes away `wakeAt`. A receipt that is gone is left so. */
  markReceipts(marks: readonly ReceiptMark[]): Promise<void>;
  /** Deletes at most `limit` receipts, applied or not, that came before `receivedBefore`; answers how many. */
  deleteReceipts(receivedBefore: number, limit: number): Promise<number>;

  /** Writes each suppression unless there is one of its key; of that one then only `saidAt` moves on. */
  addSuppressions(suppressions: readonly Suppression[]): Promise<void>;
  /** All suppressions of these addresses, whatever their category, in any order. One query. */
  findSuppressions(addressHashes: readonly string[]): Promise<Suppression[]>;
  listSuppressions(query: SuppressionQuery): Promise<Suppression[]>;
  /** False when there was none. */
  removeSuppressions(match: SuppressionMatch): Promise<boolean>;

  /** A secret that every process shares: the first caller's `candidate` stays for good. */
  sharedSecret(name: string, candidate: string): Promise<string>;

  /** Takes or renews a named lease until `until`; false while another holder's lease has not ended at `now`. */
  acquireLease(name: string, holder: string, now: number, until: number): Promise<boolean>;
  /** Gives a lease back if `holder` holds it. */
  releaseLease(name: string, holder: string): Promise<void>;

  /**
   * Retention, in small steps: takes data, content, rendered content and attachments from at most `limit` rows with ids
   * above `aboveId` and below `belowId` that are final and have not changed since `settledBefore`; answers the id to go on
   * from, or undefined when nothing was left. Rows that are not due yet are passed over.
   */
  eraseContent(aboveId: string, belowId: string, settledBefore: number, limit: number): Promise<string | undefined>;
  /** Deletes at most `limit` rows with ids below `belowId` that are final and have not changed since `settledBefore`; answers how many. */
  deleteRows(belowId: string, settledBefore: number, limit: number): Promise<number>;
  /** Deletes at most `limit` idempotency keys that ended before `now`; answers how many. */
  deleteKeys(now: number, limit: number): Promise<number>;
}
