import type { Receipt } from '../../domain/receipt.ts';
import type { ReceiptMark, StoredReceipt } from '../storage.ts';
import { changed, type Session } from './database.ts';
import { type Row, text } from './statements.ts';

const SAVE = `
  INSERT INTO receipt (id, notification_id, at, received_at, wake_at, body) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO NOTHING`;
/** Of one moment, as services tell whole seconds, in the order in which they came. */
const OF_NOTIFICATIONS = `
  SELECT body FROM receipt
  WHERE notification_id IN (SELECT value FROM json_each(?)) AND wake_at IS NOT NULL
  ORDER BY at, received_at, id`;
const DUE = 'SELECT body FROM receipt WHERE wake_at <= ? ORDER BY wake_at LIMIT ?';
const MARK = 'UPDATE receipt SET wake_at = ?2 WHERE id = ?1';
const DELETE = `
  DELETE FROM receipt
  WHERE rowid IN (SELECT rowid FROM receipt WHERE received_at < ? ORDER BY received_at LIMIT ?)`;

/** What providers reported, under their own event ids. */
export class Receipts {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async save(receipts: readonly StoredReceipt[]): Promise<void> {
    const rows = receipts.map(({ receipt, wakeAt }) => [
      receipt.id,
      receipt.notificationId,
      receipt.at,
      receipt.receivedAt,
      wakeAt ?? null,
      JSON.stringify(receipt),
    ]);
    await this.#session.write([{ sql: SAVE, rows }]);
  }

  ofNotifications(ids: readonly string[]): Receipt[] {
    return this.#session.read(OF_NOTIFICATIONS, [JSON.stringify(ids)]).map((row) => receiptOf(row));
  }

  due(now: number, limit: number): Receipt[] {
    return this.#session.read(DUE, [now, limit]).map((row) => receiptOf(row));
  }

  async mark(marks: readonly ReceiptMark[]): Promise<void> {
    await this.#session.write([{ sql: MARK, rows: marks.map(({ id, wakeAt }) => [id, wakeAt ?? null]) }]);
  }

  async delete(receivedBefore: number, limit: number): Promise<number> {
    const [result] = await this.#session.write([{ sql: DELETE, rows: [[receivedBefore, limit]] }]);
    return changed(result);
  }
}

function receiptOf(row: Row): Receipt {
  // `save` wrote it from this very type.
  return JSON.parse(text(row, 'body')) as Receipt;
}
