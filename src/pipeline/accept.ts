/**
 * Accepts notifications: resolve → decide → key record → rows → hints. When `accept` answers, the rows are durable; the
 * hints and events follow behind the answer, and the scheduler makes good what is lost of them.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../domain/clock.ts';
import type { Random } from '../domain/id.ts';
import { addressesOf, isFinal } from '../domain/notification.ts';
import type { Channel, Notification, NotificationSpec, Reason, Status } from '../domain/notification.ts';
import { encodeToken } from '../domain/token.ts';
import { begin } from '../domain/transitions.ts';
import type { Beginning } from '../domain/transitions.ts';
import { CarillonError, isUnavailable } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Feed } from '../feed/feed.ts';
import type { KeyRecord, Storage } from '../storage/storage.ts';
import { assess } from './decide.ts';
import type { Verdict } from './decide.ts';
import type { Dispatcher } from './dispatch.ts';
import { resolve } from './resolve.ts';
import type { ContentCheck, NotificationRequest } from './resolve.ts';
import type { Router } from './route.ts';
import type { Rows } from './rows.ts';
import type { Suppressor } from './suppress.ts';

export interface SendRequest {
  readonly tenant: string;
  readonly request: NotificationRequest;
  readonly idempotencyKey?: string;
}

export interface Accepted {
  readonly groupId: string;
  readonly notifications: readonly {
    readonly id: string;
    readonly channel: Channel;
    readonly status: Status;
    readonly reason?: Reason;
  }[];
  readonly watchToken: string;
}

export interface AcceptorOptions {
  readonly storage: Storage;
  readonly rows: Rows;
  readonly dispatcher: Dispatcher;
  readonly feed: Feed;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: Events;
  readonly checkContent: ContentCheck;
  readonly router: Router;
  readonly suppressor: Suppressor;
  /** How long an idempotency key stands for its request, milliseconds. */
  readonly keyLife: number;
}

/** One send on its way through `accept`. */
interface Draft {
  readonly send: SendRequest;
  readonly key: KeyRecord | undefined;
  readonly groupId: string;
  readonly watchToken: string;
  /** The key was used before: the rows may be there already. */
  readonly repeat: boolean;
  readonly rows: readonly Notification[];
}

export class Acceptor {
  readonly #options: AcceptorOptions;
  readonly #gathered: { readonly send: SendRequest; readonly resolve: (result: Accepted | CarillonError) => void }[] =
    [];

  constructor(options: AcceptorOptions) {
    this.#options = options;
  }

  /** Accepts one. @throws CarillonError */
  async acceptOne(send: SendRequest): Promise<Accepted> {
    const result = await this.tryOne(send);
    if (result instanceof CarillonError) throw result;
    return result;
  }

  /**
   * Accepts or refuses one. What comes in one turn of the event loop shares its writes; a send with files goes alone, so
   * that nobody waits for them.
   */
  async tryOne(send: SendRequest): Promise<Accepted | CarillonError> {
    if (send.request.attachments.length > 0) return only(await this.accept([send]));
    const { promise, resolve } = Promise.withResolvers<Accepted | CarillonError>();
    if (this.#gathered.push({ send, resolve }) === 1) setImmediate(() => void this.#acceptGathered());
    return promise;
  }

  async #acceptGathered(): Promise<void> {
    const gathered = this.#gathered.splice(0);
    try {
      const results = await this.accept(gathered.map(({ send }) => send));
      gathered.forEach(({ resolve }, index) => resolve(results[index] ?? CarillonError.from(undefined)));
    } catch (thrown) {
      for (const { resolve } of gathered) resolve(CarillonError.from(thrown));
    }
  }

  /** Each is accepted or refused on its own. The sends share their writes. */
  async accept(sends: readonly SendRequest[]): Promise<(Accepted | CarillonError)[]> {
    const drafts = await Promise.all(sends.map((send) => refusable(() => this.#draftOrRepeat(send))));
    const keyed = await this.#reserveKeys(drafts);
    return this.#store(keyed);
  }

  /** What was accepted under a key stands, whatever has become of templates, routes and the queue since. */
  async #draftOrRepeat(send: SendRequest): Promise<Draft> {
    try {
      return await this.#draft(send);
    } catch (thrown) {
      // A store that is away need not be asked again.
      const standing = isUnavailable(thrown) ? undefined : await this.#standing(send);
      if (standing) return standing;
      throw thrown;
    }
  }

  /** A repeat whose rows are all there. One that broke off half way is finished only while it would still be accepted. */
  async #standing(send: SendRequest): Promise<Draft | undefined> {
    const { storage, clock } = this.#options;
    const { tenant, request, idempotencyKey } = send;
    const record = idempotencyKey ? await storage.findKey(tenant, idempotencyKey, clock.now()) : undefined;
    if (record?.fingerprint !== fingerprint(request)) return undefined;
    const stored = new Map((await storage.find(record.ids)).map((row) => [row.spec.id, row]));
    const rows = record.ids.flatMap((id) => stored.get(id) ?? []);
    const { ids, groupId, watchToken } = record;
    return rows.length < ids.length ? undefined : { send, key: undefined, groupId, watchToken, repeat: true, rows };
  }

  /** Everything that can be refused without a write. */
  async #draft(send: SendRequest): Promise<Draft> {
    const { clock, random, feed, keyLife } = this.#options;
    const now = clock.now();
    const { tenant, request, idempotencyKey } = send;
    const groupId = random.id(now);
    const ids = request.channels.map(() => random.id(now));
    const watchToken = encodeToken({ feed: feed.id, seq: feed.lastSeen });
    const rows = await this.#rows(send, { groupId, ids }, now);
    const key = idempotencyKey
      ? {
          tenant,
          key: idempotencyKey,
          fingerprint: fingerprint(request),
          groupId,
          ids,
          watchToken,
          createdAt: now,
          expiresAt: now + keyLife,
        }
      : undefined;
    return { send, key, groupId, watchToken, repeat: false, rows };
  }

  async #rows(
    send: SendRequest,
    ids: { readonly groupId: string; readonly ids: readonly string[] },
    now: number,
  ): Promise<Notification[]> {
    const specs = resolve(send.request, { tenant: send.tenant, ...ids }, now, this.#options.checkContent);
    return await Promise.all(specs.map((spec) => this.#row(spec, now)));
  }

  async #row(spec: NotificationSpec, now: number): Promise<Notification> {
    const addresses = addressesOf(spec.recipient, spec.channel);
    const { verdict, stops } = await assess(spec, addresses, now, this.#options);
    const targets = addresses.map((address, index) =>
      stops[index] ? { address, outcome: 'suppressed' as const } : { address },
    );
    const how = beginning(verdict);
    if (how.status === 'queued') this.#options.dispatcher.admit({ channel: spec.channel, priority: spec.priority });
    return begin(spec, targets, how, now);
  }

  /** The key record comes before the rows, so that a repeat finishes what a crash left half done. */
  async #reserveKeys(drafts: readonly (Draft | CarillonError)[]): Promise<(Draft | CarillonError)[]> {
    const wanted = drafts.flatMap((d) => (d instanceof CarillonError || !d.key ? [] : [d.key]));
    if (wanted.length === 0) return [...drafts];
    let stored: KeyRecord[];
    try {
      stored = await this.#options.storage.reserveKeys(wanted);
    } catch (thrown) {
      const error = CarillonError.from(thrown);
      return drafts.map((d) => (d instanceof CarillonError || !d.key ? d : error));
    }
    return await Promise.all(
      drafts.map(async (draft) => {
        if (draft instanceof CarillonError || !draft.key) return draft;
        const record = stored.shift();
        if (!record) throw new Error('reserveKeys answered fewer records than it was asked for');
        return refusable(() => this.#underKey(draft, record));
      }),
    );
  }

  async #underKey(draft: Draft, record: KeyRecord): Promise<Draft> {
    if (record.fingerprint !== draft.key?.fingerprint) {
      throw new CarillonError('IDEMPOTENCY_KEY_REUSED', 'this idempotency key belongs to another request');
    }
    if (record.groupId === draft.groupId) return draft;
    // A repeat: the same rows under the ids set aside by the first call.
    const rows = await this.#rows(draft.send, { groupId: record.groupId, ids: record.ids }, record.createdAt);
    return { ...draft, groupId: record.groupId, watchToken: record.watchToken, repeat: true, rows };
  }

  async #store(drafts: readonly (Draft | CarillonError)[]): Promise<(Accepted | CarillonError)[]> {
    const good = drafts.filter((d): d is Draft => !(d instanceof CarillonError));
    const rowsOf = (repeat: boolean): Notification[] => good.filter((d) => d.repeat === repeat).flatMap((d) => d.rows);
    const current = new Map<string, Notification>();
    try {
      await this.#saveAttachments(good);
      const fresh = rowsOf(false);
      await this.#options.rows.insert(fresh);
      const again = await this.#options.rows.insertAgain(rowsOf(true));
      for (const row of [...fresh, ...again]) current.set(row.spec.id, row);
    } catch (thrown) {
      const error = CarillonError.from(thrown);
      return drafts.map((d) => (d instanceof CarillonError ? d : error));
    }
    this.#options.dispatcher.dispatch([...current.values()].filter((row) => row.state.status === 'queued'));
    return drafts.map((d) => (d instanceof CarillonError ? d : this.#accepted(d, current)));
  }

  async #saveAttachments(drafts: readonly Draft[]): Promise<void> {
    for (const { send, rows } of drafts) {
      for (const { spec } of rows) {
        if (spec.attachmentCount === 0) continue;
        await this.#options.storage.saveAttachments(spec.id, send.request.attachments);
      }
    }
  }

  #accepted(draft: Draft, current: ReadonlyMap<string, Notification>): Accepted {
    const { groupId, watchToken } = draft;
    const notifications = draft.rows.map((inserted) => {
      const { spec, state } = current.get(inserted.spec.id) ?? inserted;
      if (!draft.repeat) {
        this.#options.events.accepted(spec, state);
        if (isFinal(state.status)) this.#options.events.settled(spec, state);
      }
      return {
        id: spec.id,
        channel: spec.channel,
        status: state.status,
        ...(state.reason && { reason: state.reason }),
      };
    });
    return { groupId, notifications, watchToken };
  }
}

function only<T>([result]: readonly T[]): T {
  if (result === undefined) throw new Error('one send has one result');
  return result;
}

async function refusable<T>(run: () => Promise<T>): Promise<T | CarillonError> {
  try {
    return await run();
  } catch (thrown) {
    return CarillonError.from(thrown);
  }
}

function beginning(verdict: Verdict): Beginning {
  switch (verdict.verdict) {
    case 'send':
      return { status: 'queued' };
    case 'hold':
      return { status: 'pending', reason: verdict.reason, dueAt: verdict.until };
    case 'cancel':
      return { status: 'cancelled', reason: verdict.reason };
    case 'fail':
      return { status: 'failed', reason: verdict.reason };
  }
}

/** SHA-256 of the request with its keys in order, so that two clients that say the same thing have the same one. */
export function fingerprint(request: NotificationRequest): string {
  const attachments = request.attachments.map((file) => ({
    ...file,
    content: createHash('sha256').update(file.content).digest('hex'),
  }));
  return createHash('sha256')
    .update(JSON.stringify({ ...request, attachments }, sortKeys))
    .digest('hex');
}

function sortKeys(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
