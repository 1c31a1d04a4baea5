/**
 * Publishes the events that a row holds, in order, and forgets them in the row once the feed has acknowledged them.
 *
 * The history of a row is its outbox: versions above `published` are still to be told. Per notification one batch is under
 * way at a time, so each version is appended only after the acknowledgement of the one before. What cannot be published
 * here (the feed is down for long, the process dies) the scheduler finds by `wakeAt`, a minute later at most.
 */
import type { Clock } from '../domain/clock.ts';
import { SECOND } from '../domain/clock.ts';
import { isFinal } from '../domain/notification.ts';
import type { Notification, Transition } from '../domain/notification.ts';
import { OUTBOX_GRACE, needAt } from '../domain/transitions.ts';
import { CarillonError } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Feed, FeedEvent } from '../feed/feed.ts';
import type { Cleared, Storage } from '../storage/storage.ts';

/** Rows whose events wait in this process; above it they are left to the scheduler. */
const MAX_WAITING = 50_000;
/** Events in one append. */
const MAX_BATCH = 512;
/** Acknowledged versions remembered, up to twice as many, to spare a later write of the same row a second publication. */
const REMEMBERED = 10_000;
/** How often published events are cleared from their rows, in bulk. */
const CLEAR_EVERY = SECOND / 2;
const RETRY_AFTER = SECOND;

interface Waiting {
  row: Notification;
  readonly from: number;
}

export interface PublisherOptions {
  readonly feed: Pick<Feed, 'append'>;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly events: Events;
}

export class Publisher implements AsyncDisposable {
  readonly #options: PublisherOptions;
  /** Insertion order is the order of publication. */
  readonly #waiting = new Map<string, Waiting>();
  /** Two generations: to drop the oldest entry of one map again and again would cost more with each. */
  #ackedBefore: ReadonlyMap<string, number> = new Map<string, number>();
  #ackedNow = new Map<string, number>();
  readonly #toClear = new Map<string, Cleared>();
  readonly #stop = new AbortController();
  #publishing: Promise<void> | undefined;
  #clearing: Promise<void> | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** The highest version of this row whose event is known here to be acknowledged; 0 when nothing is known. */
  acked(id: string): number {
    return this.#ackedNow.get(id) ?? this.#ackedBefore.get(id) ?? 0;
  }

  /** Takes over the publication of everything the row still holds. Returns at once. */
  publish(row: Notification): void {
    const { id } = row.spec;
    const waiting = this.#waiting.get(id);
    if (waiting) {
      if (row.state.version > waiting.row.state.version) waiting.row = row;
      return;
    }
    const from = Math.max(row.state.published, this.acked(id));
    if (from >= row.state.version) return this.#clearLater(row, from);
    if (this.#waiting.size >= MAX_WAITING) return;
    this.#waiting.set(id, { row, from });
    this.#publishing ??= this.#publishLoop();
  }

  async #publishLoop(): Promise<void> {
    // Lets every row of this turn of the event loop into the first batch.
    await Promise.resolve();
    while (this.#waiting.size > 0) {
      const batch = this.#nextBatch();
      try {
        await this.#options.feed.append(inRounds(batch.map((b) => b.events)));
        for (const { row } of batch) this.#done(row);
      } catch (thrown) {
        this.#options.events.feedAppendFailed(CarillonError.from(thrown));
        if (this.#stop.signal.aborted) break;
        await this.#options.clock.sleep(RETRY_AFTER, this.#stop.signal);
      }
    }
    this.#publishing = undefined;
  }

  #nextBatch(): { row: Notification; events: FeedEvent[] }[] {
    const batch: { row: Notification; events: FeedEvent[] }[] = [];
    let size = 0;
    for (const { row, from } of this.#waiting.values()) {
      const events = eventsOf(row, from);
      size += events.length;
      batch.push({ row, events });
      if (size >= MAX_BATCH) break;
    }
    return batch;
  }

  #done(row: Notification): void {
    const { id } = row.spec;
    const { version } = row.state;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#remember(id, version);
    if (waiting && waiting.row.state.version > version) {
      this.#waiting.set(id, { row: waiting.row, from: version });
      return;
    }
    this.#clearLater(row, version);
  }

  #remember(id: string, version: number): void {
    this.#ackedNow.set(id, version);
    if (this.#ackedNow.size < REMEMBERED) return;
    this.#ackedBefore = this.#ackedNow;
    this.#ackedNow = new Map();
  }

  /**
   * A PROCESSING row, and a QUEUED one of the last minute, is not cleared: its next write is near and carries what is
   * acknowledged, and the scheduler looks at it soon anyway.
   */
  #clearLater(row: Notification, published: number): void {
    const { id } = row.spec;
    const { status, version } = row.state;
    if ((this.#toClear.get(id)?.version ?? 0) > version) return;
    this.#toClear.delete(id);
    const now = this.#options.clock.now();
    const backlog = status === 'queued' && row.state.updatedAt <= now - OUTBOX_GRACE;
    if (status !== 'pending' && !isFinal(status) && !backlog) return;
    const wakeAt = backlog ? now + OUTBOX_GRACE : needAt(row.state);
    this.#toClear.set(id, { id, version, published, ...(wakeAt !== undefined && { wakeAt }) });
    this.#clearing ??= this.#clearLoop();
  }

  async #clearLoop(): Promise<void> {
    while (this.#toClear.size > 0) {
      await this.#options.clock.sleep(CLEAR_EVERY, this.#stop.signal);
      await this.#clearNow();
    }
    this.#clearing = undefined;
  }

  async #clearNow(): Promise<void> {
    const marks = [...this.#toClear.values()];
    this.#toClear.clear();
    try {
      await this.#options.storage.clear(marks);
    } catch (thrown) {
      // The rows keep their `wakeAt`, so the scheduler publishes their events once more and clears them then.
      this.#options.events.storeFailed('clear', CarillonError.from(thrown));
    }
  }

  /** Publishes and clears what it holds, as far as feed and store let it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#publishing;
    await this.#clearing;
  }
}

/** The first event of every row, then the second of every row that has one, …: what is of one row waits for as few others. */
function inRounds(perRow: readonly (readonly FeedEvent[])[]): FeedEvent[] {
  const longest = Math.max(...perRow.map((events) => events.length));
  return Array.from({ length: longest }, (_, round) => perRow.flatMap((events) => events[round] ?? [])).flat();
}

function eventsOf(row: Notification, after: number): FeedEvent[] {
  return row.state.history.filter((t) => t.version > after).map((t) => toEvent(row, t));
}

function toEvent({ spec }: Notification, t: Transition): FeedEvent {
  return {
    tenant: spec.tenant,
    notificationId: spec.id,
    groupId: spec.groupId,
    ...(spec.recipient.id && { recipientId: spec.recipient.id }),
    channel: spec.channel,
    type: spec.type,
    version: t.version,
    at: t.at,
    status: t.status,
    ...(t.reason && { reason: t.reason }),
    attempt: t.attempt ?? 0,
    ...(t.provider && { provider: t.provider }),
    ...(t.receipt && { receipt: t.receipt }),
  };
}
