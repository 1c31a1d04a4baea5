/** Time that runs faster, for promises that speak of minutes. */
import { systemClock } from '../../src/domain/clock.ts';
import type { Clock } from '../../src/domain/clock.ts';
import type { Answer, Job, Queue } from '../../src/queue/queue.ts';
import type { Ports } from '../../src/service.ts';

/** A clock on which `factor` seconds pass in one. Starts at the present time. */
export function scaledClock(factor: number): Clock {
  const start = Date.now();
  return {
    now: () => start + Math.floor((Date.now() - start) * factor),
    sleep: (ms, signal) => systemClock.sleep(ms / factor, signal),
  };
}

/** Real time, which a test moves on: what has to happen before then is not a race against it. */
export class MovableClock implements Clock {
  #ahead = 0;
  #moved = new AbortController();

  now(): number {
    return Date.now() + this.#ahead;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const until = this.now() + ms;
    for (let left = ms; left > 0 && !signal?.aborted; left = until - this.now()) {
      await systemClock.sleep(left, AbortSignal.any([this.#moved.signal, ...(signal ? [signal] : [])]));
    }
  }

  moveOn(ms: number): void {
    this.#ahead += ms;
    const moved = this.#moved;
    this.#moved = new AbortController();
    moved.abort();
  }
}

/** The queue keeps real time: the delays it is asked for pass by the clock instead. */
export function queueBy(clock: Clock): (ports: Ports) => Ports {
  const delayed = (job: Job, signal: AbortSignal): Job => ({
    ...job,
    answer(answer) {
      if (answer === 'done') job.answer(answer);
      else void clock.sleep(answer.later, signal).then(() => job.answer({ later: 0 }));
    },
  });
  return (ports) => ({
    ...ports,
    queue: delegate(ports.queue, {
      consume: (lane, options) =>
        ports.queue.consume(lane, {
          ...options,
          onJobs: (jobs) => options.onJobs(jobs.map((job) => delayed(job, options.signal))),
        }),
    }),
  });
}

/** The queue keeps real time: the delays it is asked for are shortened. */
export function scaledQueue(factor: number): (ports: Ports) => Ports {
  const shorten = (answer: Answer): Answer =>
    answer === 'done' ? answer : { later: Math.ceil(answer.later / factor) };
  const scaled = (job: Job): Job => ({ ...job, answer: (answer) => job.answer(shorten(answer)) });
  return (ports) => ({
    ...ports,
    queue: delegate(ports.queue, {
      consume: (lane, options) =>
        ports.queue.consume(lane, { ...options, onJobs: (jobs) => options.onJobs(jobs.map(scaled)) }),
    }),
  });
}

/** The queue, with some of its methods in another way. */
export function delegate(queue: Queue, replaced: Partial<Queue>): Queue {
  return {
    ping: () => queue.ping(),
    publish: (hints) => queue.publish(hints),
    consume: (lane, options) => queue.consume(lane, options),
    firstUndelivered: (lane) => queue.firstUndelivered(lane),
    [Symbol.asyncDispose]: () => queue[Symbol.asyncDispose](),
    ...replaced,
  };
}
