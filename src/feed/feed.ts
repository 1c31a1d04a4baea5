/**
 * The feed port: every change of every notification, in one order per feed.
 *
 * What every adapter promises:
 * - `append` resolved: the events are stored in the order given and survive `kill -9` of this process and of the server.
 *   An event may be stored twice; the same notification and version then stand for the same event.
 *   It rejects with CarillonError FEED_UNAVAILABLE; events may then be stored or not.
 * - Sequence numbers rise, with gaps. An event appended after another's append resolved has a higher one.
 * - Events are kept for the retention time (24 h unless configured), or less where a size limit says so.
 * - A subscriber sees every event after the moment it subscribed, once or more, in order, over outages of the server too.
 */
import type { Channel, Reason, Status } from '../domain/notification.ts';
import type { ReceiptKind } from '../domain/receipt.ts';

/** Ids only: no address, no content. */
export interface FeedEvent {
  readonly tenant: string;
  readonly notificationId: string;
  readonly groupId: string;
  readonly recipientId?: string;
  readonly channel: Channel;
  readonly type: string;
  readonly version: number;
  readonly at: number;
  readonly status: Status;
  readonly reason?: Reason;
  readonly attempt: number;
  readonly provider?: string;
  /** The provider's report that led to it. */
  readonly receipt?: ReceiptKind;
}

export interface StoredEvent {
  readonly seq: number;
  readonly event: FeedEvent;
}

/** Narrows a read on the server's side as far as the adapter can; a read may answer more than was asked for. */
export interface FeedFilter {
  readonly tenant: string;
  readonly groupId?: string;
  readonly notificationId?: string;
}

export interface Feed extends AsyncDisposable {
  /** Names this very feed: a feed that was deleted and made again has another id. */
  readonly id: string;
  /** A number at or below which every event was stored before this moment; no round trip. */
  readonly lastSeen: number;
  append(events: readonly FeedEvent[]): Promise<void>;
  /** The lowest and highest number stored now; `last` is 0 in a feed that never held an event, `first` is last + 1 in an empty one. */
  bounds(): Promise<{ readonly first: number; readonly last: number }>;
  /**
   * Events after `after` and up to `through`, in order, at most `limit`. Fewer than `limit` means there are no more.
   * Does not check whether `after` is still retained: see `bounds`.
   */
  read(after: number, through: number, filter: FeedFilter, limit: number): Promise<StoredEvent[]>;
  /** Calls `listener` with every new event, in order, until the signal is aborted. The listener must not throw. */
  subscribe(listener: (events: readonly StoredEvent[]) => void, signal: AbortSignal): void;
}
