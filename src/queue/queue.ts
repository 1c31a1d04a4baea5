/**
 * The queue port. A job is only a hint that a row wants work: it may be lost, doubled or late, and the row makes it good.
 *
 * What every adapter promises:
 * - `publish` resolved with 'stored': the hint survives `kill -9` of this process and of the queue server. 'full': the lane
 *   has reached its cap and the hint was dropped. It rejects with CarillonError QUEUE_UNAVAILABLE when the queue
 *   cannot be reached; the hint may then be stored or not.
 * - A hint with the message id of one that is still stored is stored once ('stored').
 * - A job is handed to one consumer of its lane at a time. A job that is never answered, because its process died,
 *   comes back after the acknowledgement time. There is no upper limit to deliveries.
 * - Jobs of a lane are handed out in the order in which they were published; a returned one comes when its delay is over.
 */
import type { Lane } from '../domain/notification.ts';

/** Version of the shape of a hint on the wire. */
export const HINT_SCHEMA = 1;

export interface Hint {
  readonly id: string;
  /** The row's version at enqueue; `<id>:<version>` is the message id. */
  readonly version: number;
  readonly lane: Lane;
  /** When the row was enqueued, by the clock of the process that did it. */
  readonly enqueuedAt: number;
}

/** `done` forgets the job; `later` hands it out again after the delay, milliseconds up to 60,000. */
export type Answer = 'done' | { readonly later: number };

export interface Job {
  readonly hint: Hint;
  /** Counts from 1, every handing-out included. */
  readonly deliveries: number;
  /** To be called once. Until then the adapter keeps the job from being handed out again. Never throws. */
  answer(answer: Answer): void;
}

export interface ConsumeOptions {
  /** At most so many unanswered jobs of this lane in this process. */
  readonly max: number;
  /** Takes jobs over, in order; must not throw. */
  onJobs(jobs: readonly Job[]): void;
  /** No more jobs are handed over once it is aborted; unanswered ones can still be answered until the queue is closed. */
  readonly signal: AbortSignal;
}

export interface Queue extends AsyncDisposable {
  /** Resolves when the queue answers; for readiness. Rejects with QUEUE_UNAVAILABLE. */
  ping(): Promise<void>;
  /** In the order of the hints. */
  publish(hints: readonly Hint[]): Promise<('stored' | 'full')[]>;
  /** Hands out the lane's jobs until the signal is aborted; survives outages by itself. Once per lane and process. */
  consume(lane: Lane, options: ConsumeOptions): void;
  /** `enqueuedAt` of the lane's first job that was never handed out; undefined when there is none. */
  firstUndelivered(lane: Lane): Promise<number | undefined>;
}
