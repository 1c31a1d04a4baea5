/**
 * Looks at every row whose `wakeAt` has come, and does what the row needs: queues what is due, asks after hints that were
 * lost, ends the leases of workers that died, publishes events that were left behind. One process leads by a lease
 * in the store; two leaders would cost only double hints, as every write is a compare-and-set.
 */
import type { Clock } from '../domain/clock.ts';
import { HOUR, MINUTE, SECOND } from '../domain/clock.ts';
import type { Random } from '../domain/id.ts';
import { laneName, laneOf } from '../domain/notification.ts';
import type { Notification, RetryPolicy } from '../domain/notification.ts';
import type { BackoffOptions } from '../domain/retry.ts';
import { OUTBOX_GRACE, enqueue, needAt } from '../domain/transitions.ts';
import { CarillonError } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Queue } from '../queue/queue.ts';
import type { Storage } from '../storage/storage.ts';
import { hintFor } from './dispatch.ts';
import type { Dispatcher } from './dispatch.ts';
import type { Publisher } from './publish.ts';
import type { Receipts } from './receipts.ts';
import type { Retention } from './retention.ts';
import type { Rows, Write } from './rows.ts';
import { lostLease, settle } from './settle.ts';

/** How often due rows are looked for. */
const TICK = SECOND / 4;
const BATCH = 500;
/** A leader that stops renewing is replaced after this long. */
const LEADER_LEASE = 15 * SECOND;
const RENEW_EVERY = 5 * SECOND;
/** The wait of a process that does not lead, or that cannot reach store or queue. */
const IDLE = 2 * SECOND;
const RECEIPTS_EVERY = SECOND;
const SWEEP_EVERY = HOUR;
/** A row that is only waiting its turn is looked at again after its own age, within these bounds. */
const MIN_POSTPONE = MINUTE;
const MAX_POSTPONE = 10 * MINUTE;

export interface SchedulerOptions {
  readonly storage: Storage;
  readonly queue: Queue;
  readonly rows: Rows;
  readonly publisher: Publisher;
  readonly dispatcher: Dispatcher;
  readonly retention: Retention;
  readonly receipts: Receipts;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: Events;
  readonly backoff: BackoffOptions;
  readonly webhookRetry?: RetryPolicy;
}

export class Scheduler implements AsyncDisposable {
  readonly #options: SchedulerOptions;
  readonly #holder: string;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #leaderUntil = 0;
  #nextReceipts = 0;
  #nextSweep = 0;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#holder = options.random.lease();
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { clock, events } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = IDLE;
      try {
        if (await this.#leads()) pause = await this.#tick();
      } catch (thrown) {
        events.schedulerFailed(CarillonError.from(thrown));
      }
      if (pause > 0) await clock.sleep(pause, signal);
    }
  }

  async #leads(): Promise<boolean> {
    const { clock, storage, events } = this.#options;
    const now = clock.now();
    if (now < this.#leaderUntil - LEADER_LEASE + RENEW_EVERY) return true;
    const until = now + LEADER_LEASE;
    const led = this.#leaderUntil > now;
    const leads = await storage.acquireLease('scheduler', this.#holder, now, until);
    this.#leaderUntil = leads ? until : 0;
    if (leads !== led) events.schedulerLeads(leads);
    return leads;
  }

  /** One look at the due rows; answers how long to wait until the next. */
  async #tick(): Promise<number> {
    const { clock, storage, queue } = this.#options;
    const now = clock.now();
    const rows = await storage.due(now, BATCH);
    await this.#publishLeftovers(rows, now);
    const needy = rows.filter((row) => (needAt(row.state) ?? Infinity) <= now);
    await this.#endLeases(needy, now);
    if (now >= this.#nextReceipts) {
      const more = await this.#options.receipts.applyDue(BATCH);
      this.#nextReceipts = more ? now : now + RECEIPTS_EVERY;
    }
    // Nothing is enqueued or postponed while the queue is away: the rows stay due and are found when it is back.
    await queue.ping();
    await this.#enqueueDue(needy, now);
    await this.#askAfterHints(needy, now);
    if (now >= this.#nextSweep) {
      this.#nextSweep = now + SWEEP_EVERY;
      await this.#options.retention.sweep(this.#stop.signal);
    }
    return rows.length === BATCH ? 0 : TICK;
  }

  /**
   * Events whose writer could not publish them. The rows are moved on first, so that a feed that is away does not keep
   * them at the head of the line.
   */
  async #publishLeftovers(rows: readonly Notification[], now: number): Promise<void> {
    const { storage, publisher } = this.#options;
    const left = rows.filter((row) => (needAt(row.state) ?? Infinity) > now);
    if (left.length === 0) return;
    await storage.postpone(
      left.map((row) => ({
        id: row.spec.id,
        version: row.state.version,
        wakeAt: Math.min(needAt(row.state) ?? Infinity, now + OUTBOX_GRACE),
      })),
    );
    for (const row of left) publisher.publish(row);
  }

  /** A worker died, or lost its way to the store, between claim and settle: what it did is unknown. */
  async #endLeases(rows: readonly Notification[], now: number): Promise<void> {
    const { random, backoff, webhookRetry, events } = this.#options;
    const context = { now, backoff, ...(webhookRetry && { webhookRetry }), hasJob: false };
    const writes = rows.flatMap((before): Write[] => {
      const report = lostLease(before, now);
      const after = report && settle(before, report, { ...context, fraction: random.fraction() });
      return after ? [{ before, after }] : [];
    });
    const written = await this.#writeAll(writes);
    for (const { after } of written) {
      events.workerLost(after.spec, after.state);
      events.settled(after.spec, after.state);
    }
    // One that came while the row was held may prove that the call was taken.
    if (written.length > 0) this.#options.receipts.applyTo(written.map(({ after }) => after.spec.id));
  }

  async #enqueueDue(rows: readonly Notification[], now: number): Promise<void> {
    const due = rows.filter((row) => row.state.status === 'pending');
    await this.#enqueue(due, now);
  }

  /**
   * QUEUED rows that nobody has taken up for a minute. Behind the first job of its lane that was never handed out, a row is
   * honest backlog; in a full lane its hint was refused. Both only wait. The others have lost their hint.
   */
  async #askAfterHints(rows: readonly Notification[], now: number): Promise<void> {
    const { storage, dispatcher, publisher } = this.#options;
    const queued = rows.filter((row) => row.state.status === 'queued');
    const backlogFrom = await this.#firstUndelivered(queued);
    const isWaiting = (row: Notification): boolean =>
      dispatcher.isFull(laneOf(row)) ||
      (row.state.enqueuedAt ?? 0) >= (backlogFrom.get(laneName(laneOf(row))) ?? Infinity);
    const waiting = queued.filter(isWaiting);
    // A backlog may last: its first events are not to wait for the claim.
    for (const row of waiting) if (row.state.published < row.state.version) publisher.publish(row);
    if (waiting.length > 0) {
      await storage.postpone(
        waiting.map((row) => {
          const age = now - (row.state.enqueuedAt ?? now);
          const delay = Math.min(MAX_POSTPONE, Math.max(MIN_POSTPONE, age));
          return { id: row.spec.id, version: row.state.version, wakeAt: now + delay };
        }),
      );
    }
    await this.#enqueue(
      queued.filter((row) => !isWaiting(row)),
      now,
    );
  }

  async #firstUndelivered(rows: readonly Notification[]): Promise<Map<string, number>> {
    const lanes = new Map(rows.map((row) => [laneName(laneOf(row)), laneOf(row)]));
    const found = new Map<string, number>();
    for (const [name, lane] of lanes) {
      const first = await this.#options.queue.firstUndelivered(lane);
      if (first !== undefined) found.set(name, first);
    }
    return found;
  }

  async #enqueue(rows: readonly Notification[], now: number): Promise<void> {
    const written = await this.#writeAll(rows.map((before) => ({ before, after: enqueue(before, now) })));
    const hints = written.map(({ after }) => hintFor(after));
    if (hints.length > 0) await this.#options.dispatcher.publish(hints);
  }

  /** The writes that took place; rows that moved on since they were read look after themselves. */
  async #writeAll(writes: readonly Write[]): Promise<readonly Write[]> {
    if (writes.length === 0) return [];
    const won = await this.#options.rows.write(writes);
    return writes.filter((_, index) => won[index]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    try {
      await this.#options.storage.releaseLease('scheduler', this.#holder);
    } catch (thrown) {
      // It ends by itself within LEADER_LEASE.
      this.#options.events.storeFailed('releaseLease', CarillonError.from(thrown));
    }
  }
}
