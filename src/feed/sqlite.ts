/** The feed port on a table of the SQLite file. */
import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { systemClock } from '../domain/clock.ts';
import { CarillonError } from '../errors.ts';
import { changed, type Session } from '../storage/sqlite/database.ts';
import { number, text } from '../storage/sqlite/statements.ts';
import type { Feed, FeedEvent, FeedFilter, StoredEvent } from './feed.ts';

export interface SqliteFeedOptions {
  readonly retentionMs: number;
  readonly maxEvents: number;
  readonly trimEveryMs: number;
  /** Told of a failure of retention, which the next round makes good. */
  readonly onProblem: (error: CarillonError) => void;
}

type Listener = (events: readonly StoredEvent[]) => void;

const KEEP_ID = `INSERT INTO meta (name, value) VALUES ('feed_id', ?) ON CONFLICT (name) DO NOTHING`;
const READ_ID = `SELECT value FROM meta WHERE name = 'feed_id'`;
const APPEND = `
  INSERT INTO event (tenant, group_id, notification_id, stored_at, body) VALUES (?, ?, ?, ?, ?) RETURNING seq`;
/** The highest number ever given is SQLite's own book-keeping for AUTOINCREMENT. */
const BOUNDS = `
  SELECT (SELECT min(seq) FROM event) AS first,
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0) AS last`;
/** At most ?1 of the oldest: those stored before ?2, and those that are too many. */
const TRIM = `
  DELETE FROM event
  WHERE seq < (SELECT min(seq) FROM event) + ?1
    AND (stored_at < ?2 OR seq <= (SELECT max(seq) FROM event) - ?3)`;

/** Bounds how long one step of retention holds up other writes. */
const TRIM_STEP = 1_000;

/** Events that a read without an index looks at in one go: some ten milliseconds. */
const SCAN_STEP = 20_000;

export class SqliteFeed implements Feed {
  readonly id: string;
  readonly #session: Session;
  readonly #listeners = new Set<Listener>();
  readonly #stop = new AbortController();
  readonly #trimming: Promise<void>;
  #lastSeen: number;

  static async open(session: Session, options: SqliteFeedOptions): Promise<SqliteFeed> {
    const [, kept] = await session.write([
      { sql: KEEP_ID, rows: [[randomUUID()]] },
      { sql: READ_ID, rows: [[]] },
    ]);
    const row = kept?.rows[0];
    if (!row) throw new TypeError('the feed has no id');
    return new SqliteFeed(text(row, 'value'), session, options);
  }

  private constructor(id: string, session: Session, options: SqliteFeedOptions) {
    this.id = id;
    this.#session = session;
    this.#lastSeen = this.#bounds().last;
    this.#trimming = this.#trim(options);
  }

  get lastSeen(): number {
    return this.#lastSeen;
  }

  async append(events: readonly FeedEvent[]): Promise<void> {
    if (events.length === 0) return;
    const storedAt = Date.now();
    const rows = events.map((event) => [
      event.tenant,
      event.groupId,
      event.notificationId,
      storedAt,
      JSON.stringify(event),
    ]);
    const [written] = await this.#session.write([{ sql: APPEND, rows }]);
    // The writer answers in the order in which it numbered the events, so listeners see them in order.
    const stored = events.flatMap((event, index) => {
      const row = written?.rows[index];
      return row ? [{ seq: number(row, 'seq'), event }] : [];
    });
    this.#lastSeen = stored.at(-1)?.seq ?? this.#lastSeen;
    for (const listener of this.#listeners) listener(stored);
  }

  async bounds(): Promise<{ readonly first: number; readonly last: number }> {
    return this.#bounds();
  }

  async read(after: number, through: number, filter: FeedFilter, limit: number): Promise<StoredEvent[]> {
    const { tenant, groupId, notificationId } = filter;
    const given = [
      ['group_id = ?', groupId],
      ['notification_id = ?', notificationId],
    ] as const;
    const narrow = given.flatMap(([condition, value]) => (value === undefined ? [] : [{ condition, value }]));
    const where = ['seq > ?', 'seq <= ?', 'tenant = ?', ...narrow.map(({ condition }) => condition)].join(' AND ');
    const found: StoredEvent[] = [];
    const end = Math.min(through, this.#bounds().last);
    for (let from = after; from < end && found.length < limit; from += SCAN_STEP) {
      // Other work of the main thread gets its turn between two steps.
      if (from > after) await setImmediate();
      const to = Math.min(from + SCAN_STEP, end);
      const values = [from, to, tenant, ...narrow.map(({ value }) => value), limit - found.length];
      const rows = this.#session.read(`SELECT seq, body FROM event WHERE ${where} ORDER BY seq LIMIT ?`, values);
      // The text was written from a FeedEvent by `append`.
      found.push(
        ...rows.map((row) => ({ seq: number(row, 'seq'), event: JSON.parse(text(row, 'body')) as FeedEvent })),
      );
    }
    return found;
  }

  subscribe(listener: Listener, signal: AbortSignal): void {
    if (signal.aborted) return;
    // A function of its own for each subscription, so that one given twice is also ended one by one.
    const subscription: Listener = (events) => listener(events);
    this.#listeners.add(subscription);
    signal.addEventListener('abort', () => this.#listeners.delete(subscription), { once: true });
  }

  /** Ends retention and the subscriptions. The file is closed by whoever opened it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#listeners.clear();
    await this.#trimming;
  }

  #bounds(): { readonly first: number; readonly last: number } {
    const [row] = this.#session.read(BOUNDS);
    if (!row) throw new TypeError('the bounds have no row');
    const last = number(row, 'last');
    return { first: row['first'] === null ? last + 1 : number(row, 'first'), last };
  }

  async #trim(options: SqliteFeedOptions): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await systemClock.sleep(options.trimEveryMs, signal);
      try {
        while (!signal.aborted && (await this.#trimStep(options)) === TRIM_STEP);
      } catch (thrown) {
        options.onProblem(CarillonError.from(thrown));
      }
    }
  }

  /** Answers how many events it took away. */
  async #trimStep({ retentionMs, maxEvents }: SqliteFeedOptions): Promise<number> {
    const rows = [[TRIM_STEP, Date.now() - retentionMs, maxEvents]];
    const [result] = await this.#session.write([{ sql: TRIM, rows }]);
    return changed(result);
  }
}
