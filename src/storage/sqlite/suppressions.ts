import type { Suppression } from '../../domain/suppression.ts';
import type { SuppressionMatch, SuppressionQuery } from '../storage.ts';
import { changed, type Session } from './database.ts';
import { number, type Row, text } from './statements.ts';

const ADD = `
  INSERT INTO suppression (address_hash, category, reason, tenant, channel, said_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (address_hash, category, reason) DO UPDATE SET said_at = max(said_at, excluded.said_at)`;
const FIND = 'SELECT said_at, body FROM suppression WHERE address_hash IN (SELECT value FROM json_each(?))';
const REMOVE = `
  DELETE FROM suppression
  WHERE address_hash = ? AND category = ? AND reason = coalesce(?, reason) AND said_at <= coalesce(?, said_at)`;
const ALL_CATEGORIES = '';

/** Addresses to which nothing is sent any more. */
export class Suppressions {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async add(suppressions: readonly Suppression[]): Promise<void> {
    const rows = suppressions.map((it) => [
      it.addressHash,
      it.category ?? ALL_CATEGORIES,
      it.reason,
      it.tenant,
      it.channel,
      it.saidAt,
      JSON.stringify(it),
    ]);
    await this.#session.write([{ sql: ADD, rows }]);
  }

  find(addressHashes: readonly string[]): Suppression[] {
    return this.#session.read(FIND, [JSON.stringify(addressHashes)]).map((row) => suppressionOf(row));
  }

  list({ tenant, channel, after, limit }: SuppressionQuery): Suppression[] {
    const where = [
      'tenant = ?',
      ...(channel === undefined ? [] : ['channel = ?']),
      ...(after === undefined ? [] : ['(address_hash, category, reason) > (?, ?, ?)']),
    ];
    const values = [
      tenant,
      ...(channel === undefined ? [] : [channel]),
      ...(after === undefined ? [] : [after.addressHash, after.category, after.reason]),
      limit,
    ];
    const sql = `
      SELECT said_at, body FROM suppression WHERE ${where.join(' AND ')}
      ORDER BY address_hash, category, reason LIMIT ?`;
    return this.#session.read(sql, values).map((row) => suppressionOf(row));
  }

  async remove({ addressHash, category, reason, until }: SuppressionMatch): Promise<boolean> {
    const [result] = await this.#session.write([
      { sql: REMOVE, rows: [[addressHash, category, reason ?? null, until ?? null]] },
    ]);
    return changed(result) > 0;
  }
}

function suppressionOf(row: Row): Suppression {
  // `add` wrote it from this very type.
  return { ...(JSON.parse(text(row, 'body')) as Suppression), saidAt: number(row, 'said_at') };
}
