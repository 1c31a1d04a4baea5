/**
 * Takes jobs from the four lanes of one channel and delivers as many at a time as the channel has slots. Lanes are drained
 * by static weights: high priorities go first, low ones never starve.
 */
import type { Clock } from '../domain/clock.ts';
import { SECOND } from '../domain/clock.ts';
import { PRIORITIES } from '../domain/notification.ts';
import type { Channel, Notification, Priority } from '../domain/notification.ts';
import { CarillonError, isUnavailable } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Answer, Job, Queue } from '../queue/queue.ts';
import type { Storage } from '../storage/storage.ts';
import type { Deliverer } from './deliver.ts';

/** Shares of the slots while every lane has work. */
export const LANE_WEIGHTS: Readonly<Record<Priority, number>> = { urgent: 8, high: 4, normal: 2, low: 1 };
/** From this delivery on a job is taken alone: whatever kills the process then is known by name. */
export const SUSPICIOUS_DELIVERIES = 20;
/** A job whose row cannot be read comes back after this long, times its deliveries: an outage must not make it suspicious. */
const STORE_DOWN_DELAY = 2 * SECOND;
const MAX_STORE_DOWN_DELAY = 30 * SECOND;

export interface WorkerOptions {
  readonly channel: Channel;
  /** Notifications of this channel that are delivered at a time. */
  readonly concurrency: number;
  readonly queue: Queue;
  readonly storage: Storage;
  readonly deliverer: Pick<Deliverer, 'deliver'>;
  readonly clock: Clock;
  readonly events: Events;
}

interface LaneState {
  readonly priority: Priority;
  readonly jobs: Job[];
  /** Smooth weighted round robin: the lane with the highest credit is next. */
  credit: number;
}

export class Worker implements AsyncDisposable {
  readonly #options: WorkerOptions;
  readonly #lanes: readonly LaneState[] = PRIORITIES.map((priority) => ({ priority, jobs: [], credit: 0 }));
  readonly #running = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #slotsTaken = 0;
  #pausedUntil = 0;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { channel, queue, concurrency } = options;
    for (const lane of this.#lanes) {
      queue.consume(
        { channel, priority: lane.priority },
        {
          max: concurrency,
          signal: this.#stop.signal,
          onJobs: (jobs) => {
            lane.jobs.push(...jobs);
            this.#pump();
          },
        },
      );
    }
  }

  #pump(): void {
    if (this.#stop.signal.aborted || this.#pausedUntil > this.#options.clock.now()) return;
    const batch = this.#pick();
    if (batch.length === 0) return;
    this.#slotsTaken += batch.length;
    this.#track(this.#deliverBatch(batch));
  }

  #track(work: Promise<void>): void {
    const tracked: Promise<void> = work.finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  /** The channel has no rate token before then: jobs stay in hand instead of being written off one by one. */
  #pauseUntil(until: number): void {
    if (until <= this.#pausedUntil) return;
    this.#pausedUntil = until;
    this.#track(this.#pumpAt(until));
  }

  async #pumpAt(until: number): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    // A timer may fire a moment early and a clock be set back; nobody else would wake the jobs in hand.
    while (!signal.aborted && clock.now() < until) await clock.sleep(until - clock.now(), signal);
    this.#pump();
  }

  /** The next jobs by weight; a suspicious one only by itself, when nothing else is under way. */
  #pick(): Job[] {
    const batch: Job[] = [];
    while (this.#slotsTaken + batch.length < this.#options.concurrency) {
      const lane = this.#nextLane();
      const job = lane?.jobs[0];
      if (!lane || !job) break;
      const suspicious = job.deliveries >= SUSPICIOUS_DELIVERIES;
      if (suspicious && (batch.length > 0 || this.#slotsTaken > 0)) break;
      lane.jobs.shift();
      this.#charge(lane);
      batch.push(job);
      if (suspicious) {
        // It takes every slot, so nothing else starts beside it.
        this.#slotsTaken += this.#options.concurrency - 1;
        break;
      }
    }
    return batch;
  }

  #nextLane(): LaneState | undefined {
    const due = (lane: LaneState): number => lane.credit + LANE_WEIGHTS[lane.priority];
    const [first, ...others] = this.#lanes.filter((lane) => lane.jobs.length > 0);
    return others.reduce((best, lane) => (best && due(best) >= due(lane) ? best : lane), first);
  }

  /** Every lane with work earns its weight; the one that was served pays for the round. */
  #charge(served: LaneState): void {
    let round = 0;
    for (const lane of this.#lanes) {
      if (lane.jobs.length === 0 && lane !== served) {
        lane.credit = 0;
        continue;
      }
      lane.credit += LANE_WEIGHTS[lane.priority];
      round += LANE_WEIGHTS[lane.priority];
    }
    served.credit -= round;
  }

  async #deliverBatch(jobs: readonly Job[]): Promise<void> {
    const rows = await this.#read(jobs);
    await Promise.all(jobs.map((job) => this.#deliverOne(job, rows)));
  }

  /** One query for the batch; undefined when the store cannot be read. */
  async #read(jobs: readonly Job[]): Promise<Map<string, Notification> | undefined> {
    try {
      const rows = await this.#options.storage.find(jobs.map((job) => job.hint.id));
      return new Map(rows.map((row) => [row.spec.id, row]));
    } catch (thrown) {
      this.#options.events.storeFailed('find', CarillonError.from(thrown));
      return undefined;
    }
  }

  async #deliverOne(job: Job, rows: ReadonlyMap<string, Notification> | undefined): Promise<void> {
    let answer: Answer = { later: Math.min(STORE_DOWN_DELAY * job.deliveries, MAX_STORE_DOWN_DELAY) };
    try {
      if (rows) {
        const delivered = await this.#options.deliverer.deliver(job, rows.get(job.hint.id));
        answer = delivered.answer;
        if (delivered.pauseUntil !== undefined) this.#pauseUntil(delivered.pauseUntil);
      }
    } catch (thrown) {
      // Before the claim nothing was done yet, and with the store away it happens to every job.
      if (isUnavailable(thrown)) this.#options.events.storeFailed('deliver', thrown);
      else this.#options.events.deliveryFailed(job.hint.id, CarillonError.from(thrown));
    }
    job.answer(answer);
    this.#slotsTaken -= job.deliveries >= SUSPICIOUS_DELIVERIES ? this.#options.concurrency : 1;
    this.#pump();
  }

  /** Takes no more jobs, gives back those not begun, and waits for those under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    for (const lane of this.#lanes) {
      for (const job of lane.jobs.splice(0)) job.answer({ later: 0 });
    }
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}
