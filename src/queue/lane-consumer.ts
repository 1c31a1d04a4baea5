import type { Consumer, ConsumerMessages, JsMsg } from '@nats-io/jetstream';

import type { Lane } from '../domain/notification.ts';
import { CarillonError } from '../errors.ts';
import { parseHint } from './hint-body.ts';
import { unavailable } from './nats.ts';
import type { Nats } from './nats.ts';
import type { Answer, ConsumeOptions, Hint, Job } from './queue.ts';

/** How long one request for jobs stands, and how often the server says that it has not forgotten it, milliseconds. */
const EXPIRES_MS = 30_000;
const HEARTBEAT_MS = 5_000;
/** Pause after a request that failed, milliseconds. */
const RETRY_MS = 500;
/** A job that comes after the end is for another process; without a delay the server could hand it out here again. */
const GIVE_BACK_MS = 1_000;

export interface LaneConsumerOptions extends ConsumeOptions {
  readonly nats: Nats;
  readonly lane: Lane;
  readonly consumer: Consumer;
  readonly onInvalid: (error: CarillonError) => void;
}

/**
 * Takes jobs of one lane. It asks for as many as there are free slots and hands over at once what comes, so nothing waits
 * in a buffer of the client: there the server's time for the acknowledgement would run out unseen.
 */
export class LaneConsumer {
  readonly #options: LaneConsumerOptions;
  /** By the message's number in the stream. */
  readonly #held = new Map<number, HeldJob>();
  readonly #requests = new Set<ConsumerMessages>();
  readonly #running = new Set<Promise<void>>();
  /** Answers given while there is no connection. */
  readonly #parked: (() => void)[] = [];
  readonly #arrived: HeldJob[] = [];
  #requested = 0;
  #retry: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: LaneConsumerOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => this.#stop(), { once: true });
    this.#ask();
  }

  /** Tells the server that the unanswered jobs are still worked on. */
  keepAlive(): void {
    if (!this.#options.nats.connected) return;
    for (const job of this.#held.values()) job.message.working();
  }

  disconnected(): void {
    for (const request of this.#requests) request.stop();
  }

  reconnected(): void {
    for (const answer of this.#parked.splice(0)) answer();
    this.#ask();
  }

  /** Gives every unanswered job back. The signal must have been aborted. */
  async close(): Promise<void> {
    await this.#ended;
    await Promise.all(this.#running);
    for (const job of this.#held.values()) job.answer({ later: 0 });
  }

  #stop(): void {
    clearTimeout(this.#retry);
    this.#ended = this.#takeBack();
  }

  /**
   * Ends the requests that stand. What the server sent before it heard of that arrives before the answer to the flush and is
   * given back; without the flush it would wait for the acknowledgement time.
   */
  async #takeBack(): Promise<void> {
    if (this.#options.nats.connected) await this.#options.nats.flush();
    for (const request of this.#requests) request.stop();
  }

  /** Small requests cost as much as large ones, so it waits until a quarter is free, unless nothing was asked for. */
  #ask(): void {
    const { signal, nats, max } = this.#options;
    if (signal.aborted || !nats.connected || this.#retry) return;
    const free = max - this.#held.size - this.#requested;
    if (free <= 0 || (this.#requested > 0 && free < max / 4)) return;
    const request = this.#take(free);
    this.#running.add(request);
    void request.finally(() => {
      this.#running.delete(request);
      this.#ask();
    });
  }

  async #take(count: number): Promise<void> {
    this.#requested += count;
    let open = count;
    let request: ConsumerMessages | undefined;
    try {
      request = await this.#options.consumer.fetch({
        max_messages: count,
        expires: EXPIRES_MS,
        idle_heartbeat: HEARTBEAT_MS,
        // Without it the client asks about the consumer after an outage, and sleeps where that has no answer.
        bind: true,
      });
      this.#requests.add(request);
      for await (const message of request) {
        if (open > 0) {
          open -= 1;
          this.#requested -= 1;
          this.#accept(message);
        } else {
          message.nak();
        }
      }
    } catch (thrown) {
      this.#options.nats.onProblem(unavailable('QUEUE_UNAVAILABLE', thrown));
      this.#askLater();
    } finally {
      this.#requested -= open;
      if (request) this.#requests.delete(request);
    }
  }

  #askLater(): void {
    if (this.#options.signal.aborted) return;
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#ask();
    }, RETRY_MS);
  }

  #accept(message: JsMsg): void {
    const { signal, lane, onInvalid } = this.#options;
    if (signal.aborted) return message.nak(GIVE_BACK_MS);
    const held = this.#held.get(message.seq);
    if (held) {
      // The server gave up waiting while it could not be reached; the job is still worked on here.
      held.message = message;
      return message.working();
    }
    const hint = parseHint(message.string(), lane);
    if (!hint) {
      onInvalid(new CarillonError('INTERNAL', `a job of ${message.subject} cannot be read, number ${message.seq}`));
      return message.ack();
    }
    const job = new HeldJob(hint, message, (answer) => this.#answered(job, answer));
    this.#held.set(message.seq, job);
    if (this.#arrived.push(job) === 1) setImmediate(() => this.#handOver());
  }

  /** What arrived in one turn of the event loop goes over together. */
  #handOver(): void {
    const jobs = this.#arrived.splice(0);
    if (!this.#options.signal.aborted) this.#options.onJobs(jobs);
    else for (const job of jobs) job.answer({ later: 0 });
  }

  #answered(job: HeldJob, answer: Answer): void {
    if (!this.#held.delete(job.message.seq)) return;
    const { message } = job;
    const send = (): void => (answer === 'done' ? message.ack() : message.nak(Math.ceil(answer.later)));
    if (this.#options.nats.connected) send();
    else this.#parked.push(send);
    this.#ask();
  }
}

class HeldJob implements Job {
  readonly hint: Hint;
  readonly deliveries: number;
  /** The latest delivery of this job. */
  message: JsMsg;
  readonly #onAnswer: (answer: Answer) => void;

  constructor(hint: Hint, message: JsMsg, onAnswer: (answer: Answer) => void) {
    this.hint = hint;
    this.deliveries = message.info.deliveryCount;
    this.message = message;
    this.#onAnswer = onAnswer;
  }

  answer(answer: Answer): void {
    this.#onAnswer(answer);
  }
}
