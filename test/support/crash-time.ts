/** Time that runs faster, and is the same in every process and over every restart that is given the same scale. */
import { systemClock } from '../../src/domain/clock.ts';
import type { Clock } from '../../src/domain/clock.ts';
import type { Job, Queue } from '../../src/queue/queue.ts';

export interface TimeScale {
  /** The moment at which both times are the same, milliseconds since 1970. */
  readonly epoch: number;
  /** So many of the service's seconds pass in one. */
  readonly factor: number;
}

export function scaledClock({ epoch, factor }: TimeScale): Clock {
  return {
    now: () => Math.floor(epoch + (Date.now() - epoch) * factor),
    sleep: (ms, signal) => systemClock.sleep(ms / factor, signal),
  };
}

/** The queue keeps real time, so the delays that it is asked for are shortened. */
export function shortenDelays(queue: Queue, factor: number): Queue {
  const shortened = (job: Job): Job => ({
    hint: job.hint,
    deliveries: job.deliveries,
    answer: (answer) => job.answer(answer === 'done' ? answer : { later: Math.ceil(answer.later / factor) }),
  });
  return {
    ping: () => queue.ping(),
    publish: (hints) => queue.publish(hints),
    consume: (lane, options) =>
      queue.consume(lane, { ...options, onJobs: (jobs) => options.onJobs(jobs.map(shortened)) }),
    firstUndelivered: (lane) => queue.firstUndelivered(lane),
    [Symbol.asyncDispose]: () => queue[Symbol.asyncDispose](),
  };
}
