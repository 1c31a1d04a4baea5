import type { Suppression } from '../../domain/suppression.ts';
import type { SuppressionQuery } from '../storage.ts';
import { changed, type Session } from './database.ts';
import { type Row, text } from './statements.ts';

const ADD = `
  INSERT INTO suppression (address_hash, category, tenant, channel, body) VALUES (?, ?, ?, ?, ?)
  ON CONFLICT (address_hash, category) DO NOTHING`;
const FIND = 'SELECT body FROM suppression WHERE address_hash IN (SELECT value FROM json_each(?))';
const REMOVE = 'DELETE FROM suppression WHERE address_hash = ? AND category = ?';
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
      it.tenant,
      it.channel,
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
      ...(after === undefined ? [] : ['(address_hash, category) > (?, ?)']),
    ];
    const values = [
      tenant,
      ...(channel === undefined ? [] : [channel]),
      ...(after === undefined ? [] : [after.addressHash, after.category]),
      limit,
    ];
    const sql = `
      SELECT body FROM suppression WHERE ${where.join(' AND ')} ORDER BY address_hash, category LIMIT ?`;
    return this.#session.read(sql, values).map((row) => suppressionOf(row));
  }

  async remove(addressHash: string, category: string = ALL_CATEGORIES): Promise<boolean> {
    const [result] = await this.#session.write([{ sql: REMOVE, rows: [[addressHash, category]] }]);
    return changed(result) === 1;
  }
}

function suppressionOf(row: Row): Suppression {
  // `add` wrote it from this very type.
  return JSON.parse(text(row, 'body')) as Suppression;
}
