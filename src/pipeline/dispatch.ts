/**
 * Brings hints into the queue behind the answer to the caller, and says when a lane's outbox is full. A hint that cannot be
 * stored is dropped: its row is QUEUED with `wakeAt` a minute ahead, and the scheduler makes it good.
 */
import type { Clock } from '../domain/clock.ts';
import { SECOND } from '../domain/clock.ts';
import { laneName, laneOf } from '../domain/notification.ts';
import type { Lane, Notification } from '../domain/notification.ts';
import { CarillonError } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Hint, Queue } from '../queue/queue.ts';
import type { Storage } from '../storage/storage.ts';

/** Hints that wait in this process; above it they are dropped. */
const MAX_WAITING = 50_000;
const MAX_BATCH = 256;
/** While a lane is full or the queue away, how often it is asked whether it is back and how large the outbox is. */
const CHECK_EVERY = SECOND;

export interface DispatcherOptions {
  readonly queue: Queue;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly events: Events;
  /** QUEUED rows of one lane that are accepted while its queue is full or away. */
  readonly maxOutbox: number;
}

export function hintFor(row: Notification): Hint {
  return {
    id: row.spec.id,
    version: row.state.version,
    lane: laneOf(row),
    enqueuedAt: row.state.enqueuedAt ?? row.state.updatedAt,
  };
}

interface Blocked {
  readonly lane: Lane;
  overflowing: boolean;
  /** The lane counts as full until then, unless a publish says so again. */
  until: number;
}

export class Dispatcher implements AsyncDisposable {
  readonly #options: DispatcherOptions;
  readonly #waiting: Hint[] = [];
  readonly #blocked = new Map<string, Blocked>();
  readonly #lanesSeen = new Map<string, Lane>();
  readonly #stop = new AbortController();
  #publishing: Promise<void> | undefined;
  #watching: Promise<void> | undefined;
  #reachable = true;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** False from the first publish that could not reach the queue until it answers again. */
  get reachable(): boolean {
    return this.#reachable;
  }

  /** A publish of the last seconds found the lane at its cap. */
  isFull(lane: Lane): boolean {
    const blocked = this.#blocked.get(laneName(lane));
    return blocked !== undefined && this.#reachable;
  }

  /** @throws OUTBOX_FULL while the lane cannot be served and `maxOutbox` rows already wait for it. */
  admit(lane: Lane): void {
    this.#lanesSeen.set(laneName(lane), lane);
    if (!this.#blocked.get(laneName(lane))?.overflowing) return;
    throw new CarillonError('OUTBOX_FULL', `the ${laneName(lane)} queue is full or away and its outbox is full too`, {
      metadata: { lane: laneName(lane) },
      retryAfterMs: CHECK_EVERY,
    });
  }

  /** Publishes behind the caller's back. */
  dispatch(rows: readonly Notification[]): void {
    const room = Math.max(0, MAX_WAITING - this.#waiting.length);
    for (const row of rows.slice(0, room)) this.#waiting.push(hintFor(row));
    this.#publishing ??= this.#publishLoop();
  }

  /** Publishes now; `false` means that the hints may not be stored. */
  async publish(hints: readonly Hint[]): Promise<boolean> {
    try {
      const results = await this.#options.queue.publish(hints);
      results.forEach((result, index) => {
        const hint = hints[index];
        if (hint) this.#noteLane(hint.lane, result === 'full');
      });
      return true;
    } catch (thrown) {
      this.#away(CarillonError.from(thrown));
      return false;
    }
  }

  async #publishLoop(): Promise<void> {
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, this.#reachable ? MAX_BATCH : this.#waiting.length);
      // While the queue is away each try would cost a time-out: the rows wait for the scheduler.
      if (this.#reachable) await this.publish(batch);
    }
    this.#publishing = undefined;
  }

  #noteLane(lane: Lane, full: boolean): void {
    if (full) {
      this.#block(lane);
      this.#watching ??= this.#watchLoop();
    } else if (!this.#blocked.get(laneName(lane))?.overflowing) {
      this.#blocked.delete(laneName(lane));
    }
  }

  #block(lane: Lane): void {
    const until = this.#options.clock.now() + 5 * CHECK_EVERY;
    const blocked = this.#blocked.get(laneName(lane));
    if (blocked) blocked.until = until;
    else this.#blocked.set(laneName(lane), { lane, overflowing: false, until });
  }

  #away(error: CarillonError): void {
    if (this.#reachable) this.#options.events.queueUnreachable(error);
    this.#reachable = false;
    this.#watching ??= this.#watchLoop();
  }

  async #watchLoop(): Promise<void> {
    const { clock } = this.#options;
    // Lets the publish that started this end its turn.
    await Promise.resolve();
    do {
      if (!this.#reachable) await this.#probe();
      if (!this.#reachable) for (const lane of this.#lanesSeen.values()) this.#block(lane);
      for (const blocked of this.#blocked.values()) await this.#measure(blocked);
      this.#dropEnded();
      await clock.sleep(CHECK_EVERY, this.#stop.signal);
    } while (!this.#stop.signal.aborted && (!this.#reachable || this.#blocked.size > 0));
    this.#watching = undefined;
  }

  async #probe(): Promise<void> {
    try {
      await this.#options.queue.ping();
      this.#reachable = true;
      // Which lanes are full the next publishes tell; taken for full now, their rows would be postponed instead of queued.
      this.#blocked.clear();
      this.#options.events.queueBack();
    } catch (thrown) {
      if (!(thrown instanceof CarillonError)) throw thrown;
    }
  }

  async #measure(blocked: Blocked): Promise<void> {
    const { storage, maxOutbox, events } = this.#options;
    try {
      blocked.overflowing = (await storage.countQueued(blocked.lane, maxOutbox)) >= maxOutbox;
    } catch (thrown) {
      // With the store away nothing is accepted anyway.
      events.storeFailed('countQueued', CarillonError.from(thrown));
    }
  }

  /** A lane that nobody publishes to any more tells nothing: after a while it is tried again. */
  #dropEnded(): void {
    const now = this.#options.clock.now();
    for (const [name, blocked] of this.#blocked) {
      if (blocked.until <= now) this.#blocked.delete(name);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#publishing;
    this.#stop.abort();
    await this.#watching;
  }
}
