/**
 * The feed on a JetStream stream that drops its oldest events by age and size. Numbers are the stream's own. A process has
 * one consumer of it, whatever the number of subscribers: a consumer each would cost the server more than the events.
 */
import { createHash } from 'node:crypto';

import { DiscardPolicy, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import type { JetStreamManager, NextMsgRequest, SeqMsgRequest, StoredMsg, StreamInfo } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';

import { DAY } from '../domain/clock.ts';
import { CarillonError } from '../errors.ts';
import { ensureStream, unavailable } from '../queue/nats.ts';
import type { Nats } from '../queue/nats.ts';
import { StreamPublisher } from '../queue/stream-publisher.ts';
import { directBatch } from './direct-batch.ts';
import { eventBody, eventSubject, filterSubject, parseEvent } from './event-body.ts';
import type { Feed, FeedEvent, FeedFilter, StoredEvent } from './feed.ts';
import { Tail } from './tail.ts';

export interface EventsOptions {
  /** Copies of each stream, 1 to 5; more than one needs a cluster. Default 1. */
  readonly replicas?: number;
  /** How long an event is kept, milliseconds. Default 24 hours. */
  readonly feedRetentionMs?: number;
  /** The oldest events go when they are larger than this together. Default 1 GiB. */
  readonly feedMaxBytes?: number;
}

const STREAM = 'EVENTS';
const DEFAULT_MAX_BYTES = 1024 ** 3;
const DUPLICATE_WINDOW_MS = 120_000;
/** Messages of one answer of the server. */
const MAX_BATCH = 1_000;

export async function ensureFeed(manager: JetStreamManager, options: EventsOptions): Promise<void> {
  const maxAgeMs = options.feedRetentionMs ?? DAY;
  await ensureStream(manager, {
    name: STREAM,
    subjects: ['events.>'],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    max_age: nanos(maxAgeMs),
    max_bytes: options.feedMaxBytes ?? DEFAULT_MAX_BYTES,
    // The server wants it no longer than the age.
    duplicate_window: nanos(Math.min(DUPLICATE_WINDOW_MS, maxAgeMs)),
    allow_direct: true,
    num_replicas: options.replicas ?? 1,
  });
}

interface Subscriber {
  readonly listener: (events: readonly StoredEvent[]) => void;
  /** Up to here everything was stored before it subscribed. */
  after: number;
}

export class JetStreamFeed implements Feed {
  readonly #nats: Nats;
  readonly #publisher: StreamPublisher;
  readonly #subscribers = new Set<Subscriber>();
  readonly #stop = new AbortController();
  #id: string;
  #lastSeen: number;
  /** The last number that the tail has handed over. */
  #position = 0;
  #tail: Tail | undefined;

  static async open(nats: Nats): Promise<JetStreamFeed> {
    return new JetStreamFeed(nats, await nats.manager.streams.info(STREAM));
  }

  private constructor(nats: Nats, info: StreamInfo) {
    this.#nats = nats;
    this.#publisher = new StreamPublisher(nats, 'FEED_UNAVAILABLE');
    this.#id = idOf(info);
    this.#lastSeen = info.state.last_seq;
    nats.onChange({ down: () => this.#tail?.restart(), up: () => this.#tail?.restart() });
  }

  get id(): string {
    return this.#id;
  }

  get lastSeen(): number {
    return this.#lastSeen;
  }

  /**
   * In waves: the events of a wave go side by side, and each notification has at most one in it, so that none is stored
   * before the acknowledgement of its predecessor. Callers with many events do best to take turns between notifications.
   */
  async append(events: readonly FeedEvent[]): Promise<void> {
    for (const wave of wavesOf(events)) {
      const results = await Promise.allSettled(wave.map((event) => this.#store(event)));
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    }
  }

  async #store(event: FeedEvent): Promise<void> {
    const id = `${event.notificationId}:${event.version}`;
    const { seq } = await this.#publisher.publish({ subject: eventSubject(event), body: eventBody(event), id });
    this.#lastSeen = Math.max(this.#lastSeen, seq);
  }

  async bounds(): Promise<{ readonly first: number; readonly last: number }> {
    const { state } = await this.#reach(() => this.#nats.manager.streams.info(STREAM));
    const first = state.messages === 0 ? state.last_seq + 1 : state.first_seq;
    return { first, last: state.last_seq };
  }

  /**
   * Direct reads are answered by any copy of the stream, and one may lag behind: where no more comes, the leader is asked
   * whether that is the end.
   */
  async read(after: number, through: number, filter: FeedFilter, limit: number): Promise<StoredEvent[]> {
    const subject = filterSubject(filter);
    const events: StoredEvent[] = [];
    let position = after;
    while (events.length < limit && position < through) {
      const batch = Math.min(limit - events.length, MAX_BATCH, through - position);
      const request = { seq: position + 1, next_by_subj: subject, batch };
      let messages = await this.#reach(() => directBatch(this.#nats, STREAM, request));
      if (messages.length === 0) {
        const next = await this.#reach(() => this.#next(position, subject));
        if (!next) break;
        messages = [next];
      }
      for (const message of messages) {
        position = message.seq;
        if (position > through) break;
        events.push(...this.#parse(message));
      }
    }
    return events;
  }

  /** The leader's next message after a number. */
  #next(after: number, subject: string): Promise<StoredMsg | null> {
    const request: SeqMsgRequest & NextMsgRequest = { seq: after + 1, next_by_subj: subject };
    return this.#nats.manager.streams.getMessage(STREAM, request);
  }

  #parse(message: StoredMsg): StoredEvent[] {
    const event = parseEvent(message.string());
    if (event) return [{ seq: message.seq, event }];
    const what = `an event of ${message.subject} cannot be read, number ${message.seq}`;
    this.#nats.onProblem(new CarillonError('INTERNAL', what));
    return [];
  }

  subscribe(listener: (events: readonly StoredEvent[]) => void, signal: AbortSignal): void {
    if (signal.aborted || this.#stop.signal.aborted) return;
    const subscriber = { listener, after: this.#lastSeen };
    this.#subscribers.add(subscriber);
    signal.addEventListener('abort', () => this.#subscribers.delete(subscriber), { once: true });
    this.#tail ??= this.#startTail();
  }

  #startTail(): Tail {
    this.#position = this.#lastSeen;
    return new Tail({
      nats: this.#nats,
      stream: STREAM,
      position: async () => {
        await this.refresh();
        return this.#position;
      },
      onEvents: (events) => this.#handOut(events),
      signal: this.#stop.signal,
    });
  }

  /**
   * To be called after an outage. A stream that was made anew, or lost its end with the server's disk, has lower numbers
   * than were seen here: the server would wait for the old ones without a word, and everything new would be missed.
   */
  async refresh(): Promise<void> {
    const info = await this.#nats.manager.streams.info(STREAM);
    const id = idOf(info);
    const stored = id === this.#id ? info.state.last_seq : 0;
    this.#id = id;
    if (stored >= this.#lastSeen) return;
    this.#lastSeen = stored;
    this.#position = Math.min(this.#position, stored);
    for (const subscriber of this.#subscribers) subscriber.after = Math.min(subscriber.after, stored);
  }

  #handOut(events: readonly StoredEvent[]): void {
    const last = events.at(-1)?.seq ?? 0;
    this.#position = Math.max(this.#position, last);
    this.#lastSeen = Math.max(this.#lastSeen, last);
    for (const { listener, after } of this.#subscribers) {
      const fresh = (events[0]?.seq ?? 0) > after ? events : events.filter(({ seq }) => seq > after);
      if (fresh.length > 0) listener(fresh);
    }
  }

  /** Ends the subscription. The connection is closed by whoever opened it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#subscribers.clear();
    await this.#tail?.ended;
  }

  async #reach<T>(request: () => Promise<T>): Promise<T> {
    if (!this.#nats.connected) throw new CarillonError('FEED_UNAVAILABLE', 'NATS cannot be reached');
    try {
      return await request();
    } catch (thrown) {
      throw unavailable('FEED_UNAVAILABLE', thrown);
    }
  }
}

function wavesOf(events: readonly FeedEvent[]): FeedEvent[][] {
  const waves: FeedEvent[][] = [];
  let wave: FeedEvent[] = [];
  const inWave = new Set<string>();
  for (const event of events) {
    if (wave.length === 0 || inWave.has(event.notificationId)) {
      wave = [];
      waves.push(wave);
      inWave.clear();
    }
    wave.push(event);
    inWave.add(event.notificationId);
  }
  return waves;
}

/** A stream that was deleted and made again was created at another time. */
function idOf({ config, created }: StreamInfo): string {
  return createHash('sha256').update(`${config.name} ${created}`).digest('base64url').slice(0, 16);
}
