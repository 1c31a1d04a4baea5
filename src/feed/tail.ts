import { DeliverPolicy } from '@nats-io/jetstream';
import type { Consumer, ConsumerMessages, JsMsg } from '@nats-io/jetstream';

import { systemClock } from '../domain/clock.ts';
import { CarillonError } from '../errors.ts';
import { unavailable } from '../queue/nats.ts';
import type { Nats } from '../queue/nats.ts';
import { parseEvent } from './event-body.ts';
import type { StoredEvent } from './feed.ts';

/** Messages asked for at a time. */
const AHEAD = 1_000;
/** How long one request stands, and how often the server says that it has not forgotten it, milliseconds. */
const EXPIRES_MS = 5_000;
const HEARTBEAT_MS = 1_000;
/** After which the server forgets a consumer that nobody reads, nanoseconds. */
const INACTIVE_NS = 60_000_000_000;
const RETRY_MS = 250;

export interface TailOptions {
  readonly nats: Nats;
  readonly stream: string;
  /** The number after which to begin, asked for anew after each outage. */
  readonly position: () => Promise<number>;
  readonly onEvents: (events: readonly StoredEvent[]) => void;
  readonly signal: AbortSignal;
}

/**
 * Reads a stream as it grows, over outages. Each new connection gets a new ordered consumer that begins after the last
 * number seen: the library's own recovery can sleep for seconds.
 */
export class Tail {
  readonly #options: TailOptions;
  readonly ended: Promise<void>;
  #messages: ConsumerMessages | undefined;
  readonly #arrived: StoredEvent[] = [];
  #wake = new AbortController();

  constructor(options: TailOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => this.restart(), { once: true });
    this.ended = this.#run();
  }

  /** Gives up the consumer, as after the loss of the connection, and makes another one. */
  restart(): void {
    this.#messages?.stop();
    this.#wake.abort();
  }

  async #run(): Promise<void> {
    const { signal, nats } = this.#options;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      try {
        if (nats.connected) await this.#readOne();
      } catch (thrown) {
        nats.onProblem(unavailable('FEED_UNAVAILABLE', thrown));
      }
      if (!signal.aborted) await systemClock.sleep(RETRY_MS, this.#wake.signal);
    }
    this.#flush();
  }

  /** Reads until the consumer or the connection is gone. */
  async #readOne(): Promise<void> {
    const { nats, stream, position, signal } = this.#options;
    const after = await position();
    const consumer = await nats.js.consumers.get(stream, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: after + 1,
      inactive_threshold: INACTIVE_NS,
    });
    try {
      const messages = await consumer.consume({
        max_messages: AHEAD,
        expires: EXPIRES_MS,
        idle_heartbeat: HEARTBEAT_MS,
      });
      this.#messages = messages;
      if (signal.aborted || !nats.connected) messages.stop();
      for await (const message of messages) this.#take(message);
    } finally {
      this.#messages = undefined;
      await this.#drop(consumer);
    }
  }

  #take(message: JsMsg): void {
    const event = parseEvent(message.string());
    if (!event) {
      const what = `an event of ${message.subject} cannot be read, number ${message.seq}`;
      return this.#options.nats.onProblem(new CarillonError('INTERNAL', what));
    }
    if (this.#arrived.push({ seq: message.seq, event }) === 1) setImmediate(() => this.#flush());
  }

  /** What arrived in one turn of the event loop goes over together. */
  #flush(): void {
    const events = this.#arrived.splice(0);
    if (events.length > 0 && !this.#options.signal.aborted) this.#options.onEvents(events);
  }

  /** Spares the server an idle consumer; where it cannot be told, it forgets the consumer after a minute. */
  async #drop(consumer: Consumer): Promise<void> {
    if (!this.#options.nats.connected) return;
    try {
      await consumer.delete();
    } catch (thrown) {
      this.#options.nats.onProblem(unavailable('FEED_UNAVAILABLE', thrown));
    }
  }
}
