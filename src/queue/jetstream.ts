/**
 * The queue on NATS JetStream: one work-queue stream, a subject and a durable pull consumer per lane. What makes lanes
 * independent is that each has a cap of its own (`max_msgs_per_subject` with `discard_new_per_subject`).
 */
import { AckPolicy, DiscardPolicy, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import type { ConsumerInfo, NextMsgRequest, SeqMsgRequest } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';

import { laneName, LANES } from '../domain/notification.ts';
import type { Lane } from '../domain/notification.ts';
import { CarillonError } from '../errors.ts';
import { ensureFeed, JetStreamFeed } from '../feed/jetstream.ts';
import type { EventsOptions } from '../feed/jetstream.ts';
import type { Feed } from '../feed/feed.ts';
import { hintBody, parseHint } from './hint-body.ts';
import { LaneConsumer } from './lane-consumer.ts';
import { ensureConsumer, ensureStream, hasCode, Nats, unavailable } from './nats.ts';
import type { NatsOptions } from './nats.ts';
import type { ConsumeOptions, Hint, Queue } from './queue.ts';
import { StreamPublisher } from './stream-publisher.ts';

export interface JetStreamOptions extends NatsOptions, EventsOptions {
  /** Jobs that one lane takes, the unanswered ones included. Default 100,000. */
  readonly maxPerLane?: number;
  /** A job that its process left unanswered comes back after so many milliseconds. Default 30,000. */
  readonly ackWaitMs?: number;
  /** Told of a hint that cannot be read; it is dropped, as its row brings the work back. Default `onProblem`. */
  readonly onInvalid?: (error: CarillonError) => void;
}

export interface JetStream extends AsyncDisposable {
  readonly queue: Queue;
  readonly feed: Feed;
}

const STREAM = 'NOTIFY';
/** In which the server drops a message with an id that it has seen, milliseconds. */
const DUPLICATE_WINDOW_MS = 120_000;
/** A hint has about 100 bytes. */
const MAX_HINT_BYTES = 64 * 1024;
const DEFAULT_MAX_PER_LANE = 100_000;
const DEFAULT_ACK_WAIT_MS = 30_000;
/** The server's answer to a message for which there is no room, be it the lane's cap or the disk's. */
const STORE_FAILED = 10_077;

const subjectOf = (lane: Lane): string => `notify.${laneName(lane)}`;
const consumerOf = (lane: Lane): string => `${lane.channel}-${lane.priority}`;

/**
 * Connects, and makes streams and consumers that are missing. Recovers from every later outage by itself.
 *
 * @throws CarillonError QUEUE_UNAVAILABLE when no server answers, or one that is too old.
 */
export async function openJetStream(options: JetStreamOptions): Promise<JetStream> {
  const nats = await Nats.open(options);
  try {
    const consumers: Consumers = new Map();
    await nats.setUp(() => ensureQueue(nats, options, consumers));
    await nats.setUp(() => ensureFeed(nats.manager, options));
    const queue = new JetStreamQueue(nats, options, consumers);
    const feed = await JetStreamFeed.open(nats);
    await nats.setUp(() => feed.refresh());
    return {
      queue,
      feed,
      async [Symbol.asyncDispose]() {
        await queue[Symbol.asyncDispose]();
        await feed[Symbol.asyncDispose]();
        await nats[Symbol.asyncDispose]();
      },
    };
  } catch (thrown) {
    await nats[Symbol.asyncDispose]();
    throw unavailable('QUEUE_UNAVAILABLE', thrown);
  }
}

/** By the name of the lane. */
type Consumers = Map<string, ConsumerInfo>;

async function ensureQueue({ manager }: Nats, options: JetStreamOptions, consumers: Consumers): Promise<void> {
  const maxPerLane = options.maxPerLane ?? DEFAULT_MAX_PER_LANE;
  await ensureStream(manager, {
    name: STREAM,
    subjects: ['notify.>'],
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    discard_new_per_subject: true,
    max_msgs_per_subject: maxPerLane,
    max_msg_size: MAX_HINT_BYTES,
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    num_replicas: options.replicas ?? 1,
  });
  const ensured = LANES.map(async (lane) => {
    const info = await ensureConsumer(manager, STREAM, {
      durable_name: consumerOf(lane),
      filter_subject: subjectOf(lane),
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanos(options.ackWaitMs ?? DEFAULT_ACK_WAIT_MS),
      max_deliver: -1,
      // Jobs that were put off count as unanswered: below the cap of the lane they could block all others.
      max_ack_pending: maxPerLane,
    });
    consumers.set(laneName(lane), info);
  });
  await Promise.all(ensured);
}

class JetStreamQueue implements Queue {
  readonly #nats: Nats;
  readonly #publisher: StreamPublisher;
  readonly #onInvalid: (error: CarillonError) => void;
  readonly #consumers: Consumers;
  readonly #lanes = new Set<LaneConsumer>();
  readonly #active = new Set<string>();
  readonly #stop = new AbortController();
  readonly #keepAlive: NodeJS.Timeout;

  constructor(nats: Nats, options: JetStreamOptions, consumers: Consumers) {
    this.#nats = nats;
    this.#consumers = consumers;
    this.#publisher = new StreamPublisher(nats, 'QUEUE_UNAVAILABLE');
    this.#onInvalid = options.onInvalid ?? options.onProblem;
    nats.onChange({
      down: () => this.#each((lane) => lane.disconnected()),
      up: () => this.#each((lane) => lane.reconnected()),
    });
    const ackWaitMs = options.ackWaitMs ?? DEFAULT_ACK_WAIT_MS;
    this.#keepAlive = setInterval(() => this.#each((lane) => lane.keepAlive()), ackWaitMs / 3);
  }

  async ping(): Promise<void> {
    await this.#reach(() => this.#nats.manager.streams.info(STREAM));
  }

  async publish(hints: readonly Hint[]): Promise<('stored' | 'full')[]> {
    const results = await Promise.allSettled(hints.map((hint) => this.#publishOne(hint)));
    return results.map((result) => {
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    });
  }

  async #publishOne(hint: Hint): Promise<'stored' | 'full'> {
    const message = { subject: subjectOf(hint.lane), body: hintBody(hint), id: `${hint.id}:${hint.version}` };
    try {
      await this.#publisher.publish(message);
      return 'stored';
    } catch (thrown) {
      if (thrown instanceof CarillonError && hasCode(thrown.cause, STORE_FAILED)) return 'full';
      throw thrown;
    }
  }

  consume(lane: Lane, options: ConsumeOptions): void {
    const name = laneName(lane);
    const info = this.#consumers.get(name);
    if (!info || this.#active.has(name)) throw new CarillonError('INTERNAL', `lane ${name} cannot be consumed twice`);
    const signal = AbortSignal.any([options.signal, this.#stop.signal]);
    if (signal.aborted) return;
    this.#active.add(name);
    signal.addEventListener('abort', () => this.#active.delete(name), { once: true });
    const consumer = this.#nats.js.consumers.getConsumerFromInfo(info);
    this.#lanes.add(
      new LaneConsumer({ ...options, signal, lane, consumer, nats: this.#nats, onInvalid: this.#onInvalid }),
    );
  }

  async firstUndelivered(lane: Lane): Promise<number | undefined> {
    return this.#reach(async () => {
      const { delivered, num_pending } = await this.#nats.manager.consumers.info(STREAM, consumerOf(lane));
      if (num_pending === 0) return undefined;
      // Asks the leader: a copy may lag behind and know nothing of it yet.
      const next: SeqMsgRequest & NextMsgRequest = { seq: delivered.stream_seq + 1, next_by_subj: subjectOf(lane) };
      const message = await this.#nats.manager.streams.getMessage(STREAM, next);
      return message ? (parseHint(message.string(), lane)?.enqueuedAt ?? message.time.getTime()) : undefined;
    });
  }

  /** Gives back what is unanswered. The connection is closed by whoever opened it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    clearInterval(this.#keepAlive);
    await Promise.all([...this.#lanes].map((lane) => lane.close()));
  }

  #each(act: (lane: LaneConsumer) => void): void {
    for (const lane of this.#lanes) act(lane);
  }

  async #reach<T>(request: () => Promise<T>): Promise<T> {
    if (!this.#nats.connected) throw new CarillonError('QUEUE_UNAVAILABLE', 'NATS cannot be reached');
    try {
      return await request();
    } catch (thrown) {
      throw unavailable('QUEUE_UNAVAILABLE', thrown);
    }
  }
}
