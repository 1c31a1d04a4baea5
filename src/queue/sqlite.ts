/**
 * The queue port on a table of the SQLite file. One process uses the file, so who waits for what is kept in memory; the
 * table holds what must outlive the process: the jobs, their order, their delays and how often each was handed out.
 * A job counts as taken until it is answered; those of a process that died are ready again when the next one opens.
 */
import { MINUTE, systemClock } from '../domain/clock.ts';
import { type Lane, laneName } from '../domain/notification.ts';
import { CarillonError } from '../errors.ts';
import type { Session } from '../storage/sqlite/database.ts';
import { number, type Row, text } from '../storage/sqlite/statements.ts';
import type { Step } from '../storage/sqlite/writer.ts';
import type { Answer, ConsumeOptions, Hint, Job, Queue } from './queue.ts';

const RESET_TAKEN = `UPDATE job SET state = 'ready' WHERE state = 'taken'`;
/** No delay is longer than a minute, unless the clock was set back meanwhile. */
const RESET_DELAYED = `UPDATE job SET ready_at = ?1 WHERE state = 'delayed' AND ready_at > ?1`;
const COUNT = 'SELECT lane, count(*) AS jobs FROM job GROUP BY lane';
const PUBLISH = `
  INSERT INTO job (notification_id, version, lane, enqueued_at) VALUES (?, ?, ?, ?)
  ON CONFLICT (notification_id, version) DO NOTHING`;
const IS_STORED = 'SELECT 1 FROM job WHERE notification_id = ? AND version = ?';
const CLAIM = `
  UPDATE job SET state = 'taken', deliveries = deliveries + 1
  WHERE seq IN (SELECT seq FROM job WHERE lane = ? AND state = 'ready' ORDER BY seq LIMIT ?)
  RETURNING seq, notification_id, version, enqueued_at, deliveries`;
const DONE = 'DELETE FROM job WHERE seq = ?';
const LATER = `UPDATE job SET state = 'delayed', ready_at = ? WHERE seq = ?`;
/** As if it had never been claimed. */
const GIVE_BACK = `UPDATE job SET state = 'ready', deliveries = deliveries - 1 WHERE seq = ?`;
/** In steps, as a lane that was held up may have very many. */
const WAKE_DELAYED = `
  UPDATE job SET state = 'ready', ready_at = NULL
  WHERE seq IN (SELECT seq FROM job WHERE state = 'delayed' AND ready_at <= ? ORDER BY ready_at LIMIT 1000)
  RETURNING lane`;
const NEXT_DELAYED = `SELECT ready_at FROM job WHERE state = 'delayed' ORDER BY ready_at LIMIT 1`;
const FIRST_UNDELIVERED = `
  SELECT enqueued_at FROM job WHERE lane = ? AND state = 'ready' AND deliveries = 0 ORDER BY seq LIMIT 1`;

/** Pause after a write that failed, milliseconds: the disk may be full. */
const RETRY_MS = 250;

export interface SqliteQueueOptions {
  /** Jobs a lane holds before `publish` answers 'full'. */
  readonly maxPerLane: number;
  /** Told of writes that failed in the background and are tried again. */
  readonly onProblem: (error: CarillonError) => void;
}

interface Consumer {
  readonly lane: Lane;
  readonly options: ConsumeOptions;
  unanswered: number;
  /** There may be ready jobs that were not asked for yet. */
  hungry: boolean;
  claiming: boolean;
}

type Settlement =
  | { readonly kind: 'done'; readonly seq: number; readonly lane: string }
  | { readonly kind: 'later'; readonly seq: number; readonly readyAt: number }
  | { readonly kind: 'give_back'; readonly seq: number; readonly lane: string };

export class SqliteQueue implements Queue {
  readonly #session: Session;
  readonly #options: SqliteQueueOptions;
  /** Jobs per lane, those about to be stored included. */
  readonly #stored = new Map<string, number>();
  readonly #consumers = new Map<string, Consumer>();
  readonly #stop = new AbortController();
  /** What goes on in the background and has to end before the queue is closed; none of it rejects. */
  readonly #running = new Set<Promise<void>>();
  #settlements: Settlement[] = [];
  #settling = false;
  #alarm: { readonly at: number; readonly timer: NodeJS.Timeout } | undefined;

  /** Hands out again what a former process had taken. */
  static async open(session: Session, options: SqliteQueueOptions): Promise<SqliteQueue> {
    const [, , counts] = await session.write([
      { sql: RESET_TAKEN, rows: [[]] },
      { sql: RESET_DELAYED, rows: [[Date.now() + MINUTE]] },
      { sql: COUNT, rows: [[]] },
    ]);
    return new SqliteQueue(session, options, counts?.rows ?? []);
  }

  private constructor(session: Session, options: SqliteQueueOptions, counts: readonly Row[]) {
    this.#session = session;
    this.#options = options;
    for (const row of counts) this.#stored.set(text(row, 'lane'), number(row, 'jobs'));
    this.#setAlarm();
  }

  async ping(): Promise<void> {
    await this.#session.ping();
  }

  async publish(hints: readonly Hint[]): Promise<('stored' | 'full')[]> {
    const accepted: Hint[] = [];
    // Counted before the write, so that calls under way at the same time keep to the cap together.
    const answers = hints.map((hint) => {
      const lane = laneName(hint.lane);
      if (this.#count(lane) >= this.#options.maxPerLane) return this.#isStored(hint) ? 'stored' : 'full';
      this.#addToCount(lane, 1);
      accepted.push(hint);
      return 'stored';
    });
    if (accepted.length === 0) return answers;
    const fresh = await this.#insert(accepted);
    for (const [index, hint] of accepted.entries()) {
      if (fresh[index] === 0) this.#addToCount(laneName(hint.lane), -1);
    }
    for (const lane of new Set(accepted.map((hint) => laneName(hint.lane)))) this.#wake(lane);
    return answers;
  }

  consume(lane: Lane, options: ConsumeOptions): void {
    const name = laneName(lane);
    if (this.#consumers.has(name)) throw new CarillonError('INTERNAL', `lane ${name} has a consumer already`);
    if (options.signal.aborted || this.#stop.signal.aborted) return;
    this.#consumers.set(name, { lane, options, unanswered: 0, hungry: true, claiming: false });
    options.signal.addEventListener('abort', () => this.#consumers.delete(name), { once: true });
    this.#wake(name);
  }

  async firstUndelivered(lane: Lane): Promise<number | undefined> {
    const [row] = this.#session.read(FIRST_UNDELIVERED, [laneName(lane)]);
    return row ? number(row, 'enqueued_at') : undefined;
  }

  /**
   * Stops handing out and writes the answers given so far. When they cannot be written it rejects, and their jobs are
   * handed out again after the next opening. The file is closed by whoever opened it.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#consumers.clear();
    clearTimeout(this.#alarm?.timer);
    while (this.#running.size > 0) await Promise.all(this.#running);
    if (this.#settlements.length > 0) await this.#writeSettlements();
  }

  async #insert(hints: readonly Hint[]): Promise<readonly number[]> {
    const rows = hints.map((hint) => [hint.id, hint.version, laneName(hint.lane), hint.enqueuedAt]);
    try {
      const [result] = await this.#session.write([{ sql: PUBLISH, rows }]);
      return result?.changes ?? [];
    } catch (thrown) {
      for (const hint of hints) this.#addToCount(laneName(hint.lane), -1);
      throw thrown;
    }
  }

  #isStored(hint: Hint): boolean {
    return this.#session.read(IS_STORED, [hint.id, hint.version]).length > 0;
  }

  #count(lane: string): number {
    return this.#stored.get(lane) ?? 0;
  }

  #addToCount(lane: string, jobs: number): void {
    this.#stored.set(lane, this.#count(lane) + jobs);
  }

  // Handing out

  #wake(lane: string): void {
    const consumer = this.#consumers.get(lane);
    if (!consumer) return;
    consumer.hungry = true;
    this.#feed(consumer);
  }

  #feed(consumer: Consumer): void {
    if (!consumer.claiming) this.#run(this.#handOut(consumer));
  }

  /** One claim at a time for each lane: while it is written, slots gather for the next. */
  async #handOut(consumer: Consumer): Promise<void> {
    const { options } = consumer;
    consumer.claiming = true;
    // Answers that are given in one go free their slots together.
    await Promise.resolve();
    while (consumer.hungry && consumer.unanswered < options.max && !this.#isOver(consumer)) {
      const wanted = options.max - consumer.unanswered;
      consumer.hungry = false;
      const rows = await this.#claim(consumer.lane, wanted);
      // Fewer than wanted means that the lane is empty until the next wake.
      if (!rows || rows.length === wanted) consumer.hungry = true;
      if (!rows) await systemClock.sleep(RETRY_MS, this.#stop.signal);
      else if (this.#isOver(consumer)) this.#giveBack(consumer.lane, rows);
      else this.#deliver(consumer, rows);
    }
    consumer.claiming = false;
  }

  #isOver(consumer: Consumer): boolean {
    return consumer.options.signal.aborted || this.#stop.signal.aborted;
  }

  /** The claimed jobs in order; undefined when the write failed. */
  async #claim(lane: Lane, limit: number): Promise<readonly Row[] | undefined> {
    try {
      const [result] = await this.#session.write([{ sql: CLAIM, rows: [[laneName(lane), limit]] }]);
      // RETURNING promises no order.
      return result?.rows.toSorted((a, b) => number(a, 'seq') - number(b, 'seq'));
    } catch (thrown) {
      this.#options.onProblem(CarillonError.from(thrown));
      return undefined;
    }
  }

  #deliver(consumer: Consumer, rows: readonly Row[]): void {
    if (rows.length === 0) return;
    consumer.unanswered += rows.length;
    consumer.options.onJobs(rows.map((row) => this.#jobOf(row, consumer)));
  }

  #jobOf(row: Row, consumer: Consumer): Job {
    const seq = number(row, 'seq');
    const { lane } = consumer;
    let answered = false;
    const hint = {
      id: text(row, 'notification_id'),
      version: number(row, 'version'),
      lane,
      enqueuedAt: number(row, 'enqueued_at'),
    };
    const answer = (given: Answer): void => {
      if (answered) return;
      answered = true;
      consumer.unanswered -= 1;
      if (given === 'done') this.#settle({ kind: 'done', seq, lane: laneName(lane) });
      else this.#settle({ kind: 'later', seq, readyAt: Date.now() + given.later });
      if (consumer.hungry) this.#feed(consumer);
    };
    return { hint, deliveries: number(row, 'deliveries'), answer };
  }

  // Answers

  #giveBack(lane: Lane, rows: readonly Row[]): void {
    for (const row of rows) this.#settle({ kind: 'give_back', seq: number(row, 'seq'), lane: laneName(lane) });
  }

  #settle(settlement: Settlement): void {
    this.#settlements.push(settlement);
    if (!this.#settling) this.#run(this.#settleAll());
  }

  /** Repeats what fails until it is written or the queue is closed. */
  async #settleAll(): Promise<void> {
    this.#settling = true;
    await Promise.resolve();
    while (this.#settlements.length > 0) {
      try {
        await this.#writeSettlements();
      } catch (thrown) {
        // Not lost: they are back in the list, and closing the queue tells of those it could not write.
        this.#options.onProblem(CarillonError.from(thrown));
        if (this.#stop.signal.aborted) break;
        await systemClock.sleep(RETRY_MS, this.#stop.signal);
      }
    }
    this.#settling = false;
  }

  async #writeSettlements(): Promise<void> {
    const batch = this.#settlements;
    this.#settlements = [];
    try {
      await this.#session.write(batch.map((it) => stepOf(it)));
    } catch (thrown) {
      this.#settlements = [...batch, ...this.#settlements];
      throw thrown;
    }
    for (const it of batch) {
      if (it.kind === 'done') this.#addToCount(it.lane, -1);
      else if (it.kind === 'later') this.#setTimer(it.readyAt);
      else this.#wake(it.lane);
    }
  }

  // Delays

  /** Sets the timer to the first delayed job. */
  #setAlarm(): void {
    const [row] = this.#session.read(NEXT_DELAYED);
    if (row) this.#setTimer(number(row, 'ready_at'));
  }

  #setTimer(at: number): void {
    if (this.#stop.signal.aborted || (this.#alarm && this.#alarm.at <= at)) return;
    clearTimeout(this.#alarm?.timer);
    const ring = (): void => {
      this.#alarm = undefined;
      this.#run(this.#wakeDelayed());
    };
    // A timer may ring a little early; one millisecond more spares a second round.
    this.#alarm = { at, timer: setTimeout(ring, Math.max(0, at - Date.now()) + 1) };
  }

  async #wakeDelayed(): Promise<void> {
    try {
      const [woken] = await this.#session.write([{ sql: WAKE_DELAYED, rows: [[Date.now()]] }]);
      for (const lane of new Set(woken?.rows.map((row) => text(row, 'lane')))) this.#wake(lane);
      this.#setAlarm();
    } catch (thrown) {
      this.#options.onProblem(CarillonError.from(thrown));
      this.#setTimer(Date.now() + RETRY_MS);
    }
  }

  #run(work: Promise<void>): void {
    this.#running.add(work);
    // Not caught: only a consumer that breaks its promise not to throw can make it reject.
    void work.finally(() => this.#running.delete(work));
  }
}

function stepOf(settlement: Settlement): Step {
  switch (settlement.kind) {
    case 'done':
      return { sql: DONE, rows: [[settlement.seq]] };
    case 'later':
      return { sql: LATER, rows: [[settlement.readyAt, settlement.seq]] };
    case 'give_back':
      return { sql: GIVE_BACK, rows: [[settlement.seq]] };
  }
}
