/** The storage port on SQLite. Each call that writes is one request of the writer thread, and as a whole atomic. */
import { firstIdAt } from '../../domain/id.ts';
import { laneName } from '../../domain/notification.ts';
import type { Attachment, Lane, Notification } from '../../domain/notification.ts';
import type { Receipt } from '../../domain/receipt.ts';
import type { Suppression } from '../../domain/suppression.ts';
import { CarillonError } from '../../errors.ts';
import type { Change, Cleared, KeyRecord, ListQuery, Postponed, Storage } from '../storage.ts';
import type { ReceiptMark, StoredReceipt, SuppressionMatch, SuppressionQuery } from '../storage.ts';
import { changed, type Session } from './database.ts';
import { Receipts } from './receipts.ts';
import { FINAL_STATUSES, insertValues, notificationOf, selectRows, stateText } from './rows.ts';
import { bytes, number, type Row, text } from './statements.ts';
import { Suppressions } from './suppressions.ts';
import type { Step } from './writer.ts';

const INSERT_NOTIFICATION = `
  INSERT INTO notification
    (id, tenant, group_id, recipient_id, lane, version, published, status, wake_at, updated_at, state)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO NOTHING`;
const INSERT_SPEC = `
  INSERT INTO spec (row, body) SELECT row, ?2 FROM notification WHERE id = ?1 ON CONFLICT (row) DO NOTHING`;
/** Runs before INSERT_SPEC: a row without a spec is one that this very request inserted. */
const INSERT_RENDERED = `
  INSERT INTO rendered (row, body)
  SELECT n.row, ?2 FROM notification n
  WHERE n.id = ?1 AND NOT EXISTS (SELECT 1 FROM spec s WHERE s.row = n.row)`;

/** Content that is rendered anew (?9) is retention's to take again. */
const UPDATE_NOTIFICATION = `
  UPDATE notification
  SET version = ?3, published = ?4, status = ?5, wake_at = ?6, updated_at = ?7, state = ?8, erased = erased AND NOT ?9
  WHERE id = ?1 AND version = ?2`;
/** Runs before UPDATE_NOTIFICATION, under the same condition. */
const REPLACE_RENDERED = `
  INSERT INTO rendered (row, body) SELECT row, ?3 FROM notification WHERE id = ?1 AND version = ?2
  ON CONFLICT (row) DO UPDATE SET body = excluded.body`;

/** `max`: of two clearings that overtake each other, neither brings back what the other removed. */
const CLEAR = `UPDATE notification SET published = max(published, ?3), wake_at = ?4 WHERE id = ?1 AND version = ?2`;
const POSTPONE = `UPDATE notification SET wake_at = ?3 WHERE id = ?1 AND version = ?2`;

const FIND = `${selectRows()} WHERE n.id IN (SELECT value FROM json_each(?))`;
const DUE = `${selectRows()} WHERE n.wake_at <= ? ORDER BY n.wake_at LIMIT ?`;
const COUNT_QUEUED = `
  SELECT count(*) AS queued FROM (SELECT 1 FROM notification WHERE lane = ? AND status = 'queued' LIMIT ?)`;

const RESERVE_KEY = `
  INSERT INTO idempotency_key (tenant, key, created_at, expires_at, body) VALUES (?, ?, ?, ?, ?)
  ON CONFLICT (tenant, key) DO UPDATE
  SET created_at = excluded.created_at, expires_at = excluded.expires_at, body = excluded.body
  WHERE expires_at <= excluded.created_at`;
const READ_KEY = 'SELECT body FROM idempotency_key WHERE tenant = ? AND key = ?';
const DELETE_KEYS = `
  DELETE FROM idempotency_key
  WHERE rowid IN (SELECT rowid FROM idempotency_key WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`;

const SAVE_ATTACHMENT = `
  INSERT INTO attachment (id, position, filename, mime_type, content_id, content) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT DO NOTHING`;
const LOAD_ATTACHMENTS =
  'SELECT filename, mime_type, content_id, content FROM attachment WHERE id = ? ORDER BY position';

const READ_LIMIT = 'SELECT arrival FROM rate_limit WHERE name = ?';
const MOVE_LIMIT = 'UPDATE rate_limit SET arrival = ?3 WHERE name = ?1 AND arrival = ?2';
const START_LIMIT = `
  INSERT INTO rate_limit (name, arrival) VALUES (?1, ?3)
  ON CONFLICT (name) DO UPDATE SET arrival = excluded.arrival WHERE arrival = ?2`;

const KEEP_SECRET = 'INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING';
const READ_SECRET = 'SELECT value FROM secret WHERE name = ?';

const ACQUIRE_LEASE = `
  INSERT INTO lease (name, holder, until) VALUES (?1, ?2, ?4)
  ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
  WHERE holder = excluded.holder OR until <= ?3`;
const RELEASE_LEASE = 'DELETE FROM lease WHERE name = ? AND holder = ?';

const SETTLED = `status IN (${FINAL_STATUSES}) AND updated_at < ?2`;
/** Looks at a bounded number of rows, whatever they are, because reads run on the main thread. */
const TO_ERASE = `
  SELECT id, erased = 0 AND ${SETTLED} AS due FROM notification WHERE id > ?1 AND id < ?3 ORDER BY id LIMIT ?4`;
/** Those of the given ids that are still settled: one of them may have been re-driven meanwhile. */
const STILL_SETTLED = `FROM notification WHERE id IN (SELECT value FROM json_each(?1)) AND ${SETTLED}`;
const ERASE_SPEC = `
  UPDATE spec SET body = json_remove(body, '$.data', '$.content') WHERE row IN (SELECT row ${STILL_SETTLED})`;
const ERASE_RENDERED = `DELETE FROM rendered WHERE row IN (SELECT row ${STILL_SETTLED})`;
const ERASE_ATTACHMENTS = `DELETE FROM attachment WHERE id IN (SELECT id ${STILL_SETTLED})`;
const MARK_ERASED = `UPDATE notification SET erased = 1 WHERE row IN (SELECT row ${STILL_SETTLED})`;

/** Takes spec and rendered content along. */
const DELETE_ROWS = `
  DELETE FROM notification WHERE row IN
    (SELECT row FROM notification WHERE id < ?1 AND ${SETTLED} ORDER BY id LIMIT ?3)`;
/** Also takes files whose notification was never inserted, because the process died between the two. */
const DELETE_ATTACHMENTS = `
  DELETE FROM attachment WHERE id < ? AND NOT EXISTS (SELECT 1 FROM notification n WHERE n.id = attachment.id)`;

export class SqliteStorage implements Storage {
  readonly #session: Session;
  readonly #receipts: Receipts;
  readonly #suppressions: Suppressions;

  constructor(session: Session) {
    this.#session = session;
    this.#receipts = new Receipts(session);
    this.#suppressions = new Suppressions(session);
  }

  async ping(): Promise<void> {
    await this.#session.ping();
  }

  async insert(rows: readonly Notification[]): Promise<void> {
    const rendered = rows.flatMap((row) => (row.rendered ? [[row.spec.id, JSON.stringify(row.rendered)]] : []));
    await this.#session.write([
      { sql: INSERT_NOTIFICATION, rows: rows.map((row) => insertValues(row)) },
      { sql: INSERT_RENDERED, rows: rendered },
      { sql: INSERT_SPEC, rows: rows.map(({ spec }) => [spec.id, JSON.stringify(spec)]) },
    ]);
  }

  async update(changes: readonly Change[]): Promise<boolean[]> {
    const results = await this.#session.write(changes.flatMap((change) => updateSteps(change)));
    return changes.map((_, index) => changed(results[2 * index + 1]) === 1);
  }

  async clear(marks: readonly Cleared[]): Promise<void> {
    const rows = marks.map((mark) => [mark.id, mark.version, mark.published, mark.wakeAt ?? null]);
    await this.#session.write([{ sql: CLEAR, rows }]);
  }

  async postpone(marks: readonly Postponed[]): Promise<void> {
    const rows = marks.map((mark) => [mark.id, mark.version, mark.wakeAt]);
    await this.#session.write([{ sql: POSTPONE, rows }]);
  }

  async find(ids: readonly string[]): Promise<Notification[]> {
    return this.#session.read(FIND, [JSON.stringify(ids)]).map((row) => notificationOf(row));
  }

  async list(query: ListQuery): Promise<Notification[]> {
    const given = [
      ['n.recipient_id = ?', query.recipientId],
      ['n.group_id = ?', query.groupId],
      ['n.status = ?', query.status],
      // An id begins with the time of its notification.
      ['n.id >= ?', query.from === undefined ? undefined : firstIdAt(query.from)],
      ['n.id < ?', query.before === undefined ? undefined : firstIdAt(query.before)],
      ['n.id < ?', query.belowId],
    ] as const;
    const conditions = given.flatMap(([condition, value]) => (value === undefined ? [] : [{ condition, value }]));
    const where = ['n.tenant = ?', ...conditions.map(({ condition }) => condition)].join(' AND ');
    const values = [query.tenant, ...conditions.map(({ value }) => value), query.limit];
    const sql = `${selectRows(`notification n INDEXED BY ${listIndex(query)}`)} WHERE ${where} ORDER BY n.id DESC LIMIT ?`;
    return this.#session.read(sql, values).map((row) => notificationOf(row));
  }

  async due(now: number, limit: number): Promise<Notification[]> {
    return this.#session.read(DUE, [now, limit]).map((row) => notificationOf(row));
  }

  async countQueued(lane: Lane, limit: number): Promise<number> {
    const [row] = this.#session.read(COUNT_QUEUED, [laneName(lane), limit]);
    return row ? number(row, 'queued') : 0;
  }

  async reserveKeys(records: readonly KeyRecord[]): Promise<KeyRecord[]> {
    const [, read] = await this.#session.write([
      {
        sql: RESERVE_KEY,
        rows: records.map((it) => [it.tenant, it.key, it.createdAt, it.expiresAt, JSON.stringify(it)]),
      },
      { sql: READ_KEY, rows: records.map((it) => [it.tenant, it.key]) },
    ]);
    // The text was written from a KeyRecord by the step above.
    return read?.rows.map((row) => JSON.parse(text(row, 'body')) as KeyRecord) ?? [];
  }

  async findKey(tenant: string, key: string, now: number): Promise<KeyRecord | undefined> {
    const [row] = this.#session.read(READ_KEY, [tenant, key]);
    // As above.
    const record = row && (JSON.parse(text(row, 'body')) as KeyRecord);
    return record && record.expiresAt > now ? record : undefined;
  }

  async saveAttachments(id: string, files: readonly Attachment[]): Promise<void> {
    // A copy of the content alone: on the way to the writer a view would take the whole buffer behind it along.
    const rows = files.map((file, position) => [
      id,
      position,
      file.filename,
      file.mimeType,
      file.contentId ?? null,
      new Uint8Array(file.content),
    ]);
    await this.#session.write([{ sql: SAVE_ATTACHMENT, rows }]);
  }

  async loadAttachments(id: string): Promise<Attachment[]> {
    return this.#session.read(LOAD_ATTACHMENTS, [id]).map((row) => attachmentOf(row));
  }

  async readLimit(name: string): Promise<number> {
    const [row] = this.#session.read(READ_LIMIT, [name]);
    return row ? number(row, 'arrival') : 0;
  }

  async swapLimit(name: string, expected: number, next: number): Promise<boolean> {
    const sql = expected === 0 ? START_LIMIT : MOVE_LIMIT;
    return (await this.#writeOne({ sql, rows: [[name, expected, next]] })) === 1;
  }

  saveReceipts(receipts: readonly StoredReceipt[]): Promise<void> {
    return this.#receipts.save(receipts);
  }

  async receiptsOf(notificationIds: readonly string[]): Promise<Receipt[]> {
    return this.#receipts.ofNotifications(notificationIds);
  }

  async dueReceipts(now: number, limit: number): Promise<Receipt[]> {
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

  async findSuppressions(addressHashes: readonly string[]): Promise<Suppression[]> {
    return this.#suppressions.find(addressHashes);
  }

  async listSuppressions(query: SuppressionQuery): Promise<Suppression[]> {
    return this.#suppressions.list(query);
  }

  removeSuppressions(match: SuppressionMatch): Promise<boolean> {
    return this.#suppressions.remove(match);
  }

  async sharedSecret(name: string, candidate: string): Promise<string> {
    const [, read] = await this.#session.write([
      { sql: KEEP_SECRET, rows: [[name, candidate]] },
      { sql: READ_SECRET, rows: [[name]] },
    ]);
    const [row] = read?.rows ?? [];
    if (!row) throw new CarillonError('INTERNAL', 'a secret was stored and is not there');
    return text(row, 'value');
  }

  async acquireLease(name: string, holder: string, now: number, until: number): Promise<boolean> {
    return (await this.#writeOne({ sql: ACQUIRE_LEASE, rows: [[name, holder, now, until]] })) === 1;
  }

  async releaseLease(name: string, holder: string): Promise<void> {
    await this.#session.write([{ sql: RELEASE_LEASE, rows: [[name, holder]] }]);
  }

  async eraseContent(
    aboveId: string,
    belowId: string,
    settledBefore: number,
    limit: number,
  ): Promise<string | undefined> {
    const found = this.#session.read(TO_ERASE, [aboveId, settledBefore, belowId, limit]);
    const last = found.at(-1);
    if (!last) return undefined;
    const ids = found.filter((row) => number(row, 'due') === 1).map((row) => text(row, 'id'));
    const rows = ids.length > 0 ? [[JSON.stringify(ids), settledBefore]] : [];
    await this.#session.write([
      { sql: ERASE_SPEC, rows },
      { sql: ERASE_RENDERED, rows },
      { sql: ERASE_ATTACHMENTS, rows },
      { sql: MARK_ERASED, rows },
    ]);
    return text(last, 'id');
  }

  async deleteRows(belowId: string, settledBefore: number, limit: number): Promise<number> {
    const [rows] = await this.#session.write([
      { sql: DELETE_ROWS, rows: [[belowId, settledBefore, limit]] },
      { sql: DELETE_ATTACHMENTS, rows: [[belowId]] },
    ]);
    return changed(rows);
  }

  async deleteKeys(now: number, limit: number): Promise<number> {
    return this.#writeOne({ sql: DELETE_KEYS, rows: [[now, limit]] });
  }

  /** Holds nothing of its own: the file is closed by whoever opened it. */
  async [Symbol.asyncDispose](): Promise<void> {}

  async #writeOne(step: Step): Promise<number> {
    const [result] = await this.#session.write([step]);
    return changed(result);
  }
}

/** Named, because for a filter with a time range the planner takes the index by time and walks over the whole tenant. */
function listIndex(query: ListQuery): string {
  if (query.recipientId !== undefined) return 'notification_by_recipient';
  if (query.groupId !== undefined) return 'notification_by_group';
  if (query.status !== undefined) return 'notification_by_status';
  return 'notification_by_time';
}

/** Always two, and a change's own two together: the condition of the second must not be met by another change between. */
function updateSteps({ from, row: { spec, state }, rendered }: Change): Step[] {
  const values = [
    state.version,
    state.published,
    state.status,
    state.wakeAt ?? null,
    state.updatedAt,
    stateText(state),
    rendered ? 1 : 0,
  ];
  return [
    { sql: REPLACE_RENDERED, rows: rendered ? [[spec.id, from, JSON.stringify(rendered)]] : [] },
    { sql: UPDATE_NOTIFICATION, rows: [[spec.id, from, ...values]] },
  ];
}

function attachmentOf(row: Row): Attachment {
  return {
    filename: text(row, 'filename'),
    mimeType: text(row, 'mime_type'),
    content: bytes(row, 'content'),
    ...(row['content_id'] === null ? {} : { contentId: text(row, 'content_id') }),
  };
}
