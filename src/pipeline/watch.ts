/**
 * Live changes for any number of watchers: one subscription of the feed per process, fanned out in memory. A watcher that
 * resumes reads what it missed and then joins the live stream without a gap. One that is too slow is cut with the
 * token to go on from, and never slows anything else.
 */
import { decodeToken, encodeToken } from '../domain/token.ts';
import { CarillonError } from '../errors.ts';
import type { Feed, FeedEvent, StoredEvent } from '../feed/feed.ts';

/** Events that may wait for one watcher. */
export const MAX_WATCHER_BACKLOG = 1_000;
const READ_BATCH = 500;

export interface WatchFilter {
  readonly tenant: string;
  /** Empty: all. */
  readonly notificationIds: readonly string[];
  readonly groupId?: string;
  readonly recipientId?: string;
}

export interface Watched {
  /** Not set in the first one, which says that the watch stands. */
  readonly event?: FeedEvent;
  readonly token: string;
}

class Watcher {
  readonly matches: (event: FeedEvent) => boolean;
  readonly #waiting: StoredEvent[] = [];
  #wake = Promise.withResolvers<void>();
  overflowed = false;

  constructor(matches: (event: FeedEvent) => boolean) {
    this.matches = matches;
  }

  push(stored: StoredEvent): void {
    if (this.overflowed || !this.matches(stored.event)) return;
    if (this.#waiting.length >= MAX_WATCHER_BACKLOG) this.overflowed = true;
    else this.#waiting.push(stored);
    this.#wake.resolve();
  }

  wake(): void {
    this.#wake.resolve();
  }

  /** What waits now; waits for more when there is nothing, until `wake`. */
  async take(): Promise<StoredEvent[]> {
    if (this.#waiting.length === 0 && !this.overflowed) {
      await this.#wake.promise;
    }
    this.#wake = Promise.withResolvers<void>();
    return this.#waiting.splice(0);
  }
}

export class WatchHub implements Disposable {
  readonly #feed: Feed;
  readonly #watchers = new Set<Watcher>();
  readonly #stop = new AbortController();

  constructor(feed: Feed) {
    this.#feed = feed;
    feed.subscribe((events) => this.#fanOut(events), this.#stop.signal);
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  #fanOut(events: readonly StoredEvent[]): void {
    for (const watcher of this.#watchers) {
      for (const stored of events) watcher.push(stored);
    }
  }

  /**
   * Yields the position first, then every matching event.
   * @throws WATCH_TOKEN_OUT_OF_RANGE, WATCHER_TOO_SLOW, FEED_UNAVAILABLE
   */
  async *watch(filter: WatchFilter, afterToken: string | undefined, signal: AbortSignal): AsyncGenerator<Watched> {
    const watcher = new Watcher(matcher(filter));
    const onAbort = (): void => watcher.wake();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      let seq = this.#feed.lastSeen;
      if (afterToken === undefined) {
        this.#watchers.add(watcher);
        yield this.#at(seq);
      } else {
        seq = await this.#positionOf(afterToken);
        yield this.#at(seq);
        // Catches up, joins the live stream, and reads once more what came in between.
        for (const joins of [false, true]) {
          if (joins) this.#watchers.add(watcher);
          const { last } = await this.#feed.bounds();
          for await (const stored of this.#missed(filter, watcher.matches, { after: seq, through: last }, signal)) {
            seq = stored.seq;
            yield this.#at(seq, stored.event);
          }
          if (!signal.aborted) seq = Math.max(seq, last);
        }
      }
      for await (const stored of live(watcher, signal)) {
        if (stored.seq <= seq) continue;
        seq = stored.seq;
        yield this.#at(seq, stored.event);
      }
      if (watcher.overflowed) throw this.#tooSlow(seq);
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#watchers.delete(watcher);
    }
  }

  #at(seq: number, event?: FeedEvent): Watched {
    return { token: encodeToken({ feed: this.#feed.id, seq }), ...(event && { event }) };
  }

  async #positionOf(afterToken: string): Promise<number> {
    const position = decodeToken(afterToken);
    const { first, last } = await this.#feed.bounds();
    const known = position?.feed === this.#feed.id && position.seq <= last && position.seq >= first - 1;
    if (!position || !known) throw outOfRange();
    return position.seq;
  }

  /** What the feed holds in a range. @throws WATCH_TOKEN_OUT_OF_RANGE when a part of it is gone */
  async *#missed(
    filter: WatchFilter,
    matches: (event: FeedEvent) => boolean,
    { after, through }: { readonly after: number; readonly through: number },
    signal: AbortSignal,
  ): AsyncGenerator<StoredEvent> {
    const [onlyId] = filter.notificationIds.length === 1 ? filter.notificationIds : [];
    const narrow = {
      tenant: filter.tenant,
      ...(filter.groupId && { groupId: filter.groupId }),
      ...(onlyId && { notificationId: onlyId }),
    };
    let from = after;
    while (!signal.aborted && from < through) {
      const page = await this.#feed.read(from, through, narrow, READ_BATCH);
      // A slow reader may be overtaken by retention: what was dropped before this page was read would be a silent gap.
      const { first } = await this.#feed.bounds();
      if (from < first - 1) throw outOfRange();
      yield* page.filter(({ event }) => matches(event));
      const end = page.at(-1);
      if (!end || page.length < READ_BATCH) return;
      from = end.seq;
    }
  }

  #tooSlow(seq: number): CarillonError {
    const { token } = this.#at(seq);
    return new CarillonError('WATCHER_TOO_SLOW', `more than ${MAX_WATCHER_BACKLOG} events waited for this watcher`, {
      metadata: { token },
    });
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }
}

function outOfRange(): CarillonError {
  return new CarillonError(
    'WATCH_TOKEN_OUT_OF_RANGE',
    'the token is older than what the feed keeps, or belongs to another feed; read the notifications and watch anew',
  );
}

async function* live(watcher: Watcher, signal: AbortSignal): AsyncGenerator<StoredEvent> {
  while (!signal.aborted) {
    yield* await watcher.take();
    if (watcher.overflowed) return;
  }
}

function matcher(filter: WatchFilter): (event: FeedEvent) => boolean {
  const ids = new Set(filter.notificationIds);
  return (event) =>
    event.tenant === filter.tenant &&
    (ids.size === 0 || ids.has(event.notificationId)) &&
    (!filter.groupId || event.groupId === filter.groupId) &&
    (!filter.recipientId || event.recipientId === filter.recipientId);
}
