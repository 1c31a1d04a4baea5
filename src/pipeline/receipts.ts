/**
 * What providers report later: stored before it is answered, then applied to its row. A row under a lease is left alone:
 * whoever settles it looks for receipts afterwards, and the scheduler does for both.
 */
import type { Clock } from '../domain/clock.ts';
import { DAY, HOUR, MINUTE, SECOND } from '../domain/clock.ts';
import { MAX_RECEIPTS_KEPT } from '../domain/notification.ts';
import type { Notification, NotificationSpec } from '../domain/notification.ts';
import type { ProviderReceipt, Receipt } from '../domain/receipt.ts';
import { MARKETING, normaliseAddress } from '../domain/suppression.ts';
import type { SuppressionReason } from '../domain/suppression.ts';
import { receive } from '../domain/transitions.ts';
import { CarillonError } from '../errors.ts';
import type { Events } from '../events.ts';
import type { SendResult } from '../providers/provider.ts';
import type { Storage } from '../storage/storage.ts';
import type { Rows } from './rows.ts';
import type { Suppressor } from './suppress.ts';

/** A receipt that fits no row waits, and an applied one is remembered, for so long. */
export const RECEIPT_LIFE = 7 * DAY;
/** The scheduler takes over a receipt that its taker has not applied by then. */
const APPLY_GRACE = 30 * SECOND;
/** A receipt that cannot be applied yet is looked at again after its own age, within these bounds. */
const MIN_WAIT = MINUTE;
const MAX_WAIT = 6 * HOUR;
/** Writers of one row that were faster, before it is left to the scheduler. */
const MAX_RACES = 10;

export interface ReceiptsOptions {
  readonly storage: Storage;
  readonly rows: Rows;
  readonly suppressor: Suppressor;
  readonly clock: Clock;
  readonly events: Events;
}

export class Receipts {
  readonly #options: ReceiptsOptions;
  readonly #running = new Set<Promise<void>>();

  constructor(options: ReceiptsOptions) {
    this.#options = options;
  }

  /** Resolves when they are durable; they are applied behind that. @throws CarillonError STORE_UNAVAILABLE */
  async take(provider: string, told: readonly ProviderReceipt[]): Promise<void> {
    if (told.length === 0) return;
    const receivedAt = this.#options.clock.now();
    const receipts = told.map((one) => ({ ...one, id: `${provider}:${one.eventId}`, provider, receivedAt }));
    const wakeAt = receivedAt + APPLY_GRACE;
    await this.#options.storage.saveReceipts(receipts.map((receipt) => ({ receipt, wakeAt })));
    this.applyTo(receipts.map((receipt) => receipt.notificationId));
  }

  /** Applies what waits for these notifications, in the background. */
  applyTo(notificationIds: readonly string[]): void {
    const work = this.#applyTo([...new Set(notificationIds)]);
    this.#running.add(work);
    void work.then(() => this.#running.delete(work));
  }

  /**
   * Remembers an address that a provider knows as dead or whose owner said STOP. Where that cannot be written, the next
   * notification to it hears the same.
   */
  async suppressFrom(row: Notification, provider: string, target: number, result: SendResult): Promise<void> {
    if (result.outcome !== 'invalid_recipient' || !result.suppress) return;
    const { suppressor, events } = this.#options;
    const { spec, state } = row;
    const address = state.targets[target]?.address;
    const device = spec.recipient.devices?.find((one) => one.token === address);
    // The app has registered it anew since the service last heard of it as dead.
    const isAnew = result.since !== undefined && (device?.registeredAt ?? 0) > result.since;
    if (address === undefined || isAnew) return;
    const { tenant, channel } = spec;
    const told = {
      ...(result.code === undefined ? {} : { detail: result.code }),
      ...(result.since === undefined ? {} : { saidAt: result.since }),
    };
    const input = { tenant, channel, address, reason: result.suppress, source: provider, ...told };
    await suppressor.add([input]).catch((thrown: unknown) => events.storeFailed('suppress', thrown));
  }

  /** For the scheduler: what was left behind. True when there may be more. */
  async applyDue(limit: number): Promise<boolean> {
    const { storage, clock, events } = this.#options;
    const now = clock.now();
    const due = await storage.dueReceipts(now, limit);
    const [tooOld, young] = [due.filter((r) => isTooOld(r, now)), due.filter((r) => !isTooOld(r, now))];
    for (const receipt of tooOld) events.receiptDropped(receipt);
    await storage.markReceipts(tooOld.map(({ id }) => ({ id })));
    // Moved on first, so that what cannot be applied does not stay at the head of the line.
    await storage.markReceipts(young.map((receipt) => ({ id: receipt.id, wakeAt: now + waitOf(receipt, now) })));
    await this.#apply(young);
    return due.length === limit;
  }

  /** Forgets those that are too old to be known as repeats. */
  async sweep(limit: number): Promise<number> {
    return await this.#options.storage.deleteReceipts(this.#options.clock.now() - RECEIPT_LIFE, limit);
  }

  async #applyTo(notificationIds: readonly string[]): Promise<void> {
    try {
      await this.#apply(await this.#options.storage.receiptsOf(notificationIds));
    } catch (thrown) {
      // They are stored; the scheduler comes back to them.
      this.#options.events.storeFailed('apply receipts', CarillonError.from(thrown));
    }
  }

  async #apply(receipts: readonly Receipt[]): Promise<void> {
    const groups = [...Map.groupBy(receipts, (receipt) => receipt.notificationId)];
    const rows = new Map<string, Notification>();
    if (groups.length > 0) {
      for (const row of await this.#options.storage.find(groups.map(([id]) => id))) rows.set(row.spec.id, row);
    }
    await Promise.all(groups.map(([id, group]) => this.#applyGroup(rows.get(id), group)));
  }

  /** The receipts of one notification, in the order of what happened, as one write; no more than the row remembers. */
  async #applyGroup(found: Notification | undefined, receipts: readonly Receipt[]): Promise<void> {
    const { rows, storage, events, clock } = this.#options;
    const inOrder = receipts.toSorted((a, b) => a.at - b.at).slice(0, MAX_RECEIPTS_KEPT);
    let current = found;
    for (let race = 0; race < MAX_RACES; race++) {
      const row = current;
      // Not there yet, or being sent: the settle, or else the scheduler, comes back to it.
      if (!row || row.state.status === 'processing') return;
      const ordered = inOrder.filter((receipt) => wasAsked(row, receipt.provider));
      const fresh = ordered.filter((receipt) => !knows(row, receipt));
      const next = fresh.reduce((so, receipt) => applied(so, receipt, clock.now()), row);
      // First: who sees the bounce and sends again must find the address on the list.
      for (const receipt of fresh) await this.#suppress(row, receipt);
      if (next === row || (await rows.writeOne(row, next))) {
        await storage.markReceipts(inOrder.map(({ id }) => ({ id })));
        for (const foreign of inOrder.filter((receipt) => !ordered.includes(receipt))) events.receiptDropped(foreign);
        for (const receipt of fresh) events.receiptApplied(row.spec, next.state, receipt);
        return;
      }
      current = await rows.get(row.spec.id);
    }
  }

  /** What the receipt says of an address, in the order of what happened. */
  async #suppress(row: Notification, receipt: Receipt): Promise<void> {
    const { suppressor } = this.#options;
    const address = addressOf(row, receipt);
    if (address === undefined) return;
    const { tenant, channel } = row.spec;
    const place = { tenant, channel, address };
    const scope = receipt.wholeChannel ? {} : { category: MARKETING };
    if (receipt.kind === 'resubscribed') return await suppressor.resubscribe({ ...place, ...scope }, receipt.at);
    const reason = reasonOf(row, receipt);
    if (reason === undefined) return;
    await suppressor.add([
      {
        ...place,
        ...(reason === 'hard_bounce' ? {} : scope),
        reason,
        source: receipt.provider,
        saidAt: receipt.at,
        ...(receipt.code && { detail: receipt.code }),
      },
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running);
  }
}

const isTooOld = (receipt: Receipt, now: number): boolean => now - receipt.receivedAt >= RECEIPT_LIFE;
const waitOf = (receipt: Receipt, now: number): number =>
  Math.min(MAX_WAIT, Math.max(MIN_WAIT, now - receipt.receivedAt));

/**
 * A provider speaks for what it was given only, and what it was given stands in the row before it is called: no account of
 * one vendor can say anything of the messages of another.
 */
function wasAsked({ state }: Notification, provider: string): boolean {
  return [...state.attempts, ...state.targets].some((one) => one.provider === provider);
}

const knows = ({ state }: Notification, { id }: Receipt): boolean => state.receipts.some((known) => known.id === id);

/** The target that a receipt is about; undefined for a copy's. */
function targetOf({ spec, state }: Notification, { address }: Receipt): number | undefined {
  if (address === undefined) return 0;
  const wanted = normaliseAddress(spec.channel, address);
  const index = state.targets.findIndex((target) => normaliseAddress(spec.channel, target.address) === wanted);
  return index < 0 ? undefined : index;
}

/** Unchanged when the receipt says nothing of the notification itself. */
function applied(row: Notification, receipt: Receipt, now: number): Notification {
  const target = targetOf(row, receipt);
  if (target === undefined) return row;
  // That the provider has it is news only where its answer was lost.
  if (receipt.kind === 'sent' && row.state.targets[target]?.outcome === 'sent') return row;
  return receive(row, target, receipt, now);
}

/** Where several people got it, one of them may be meant. */
const hasCopies = ({ email }: NotificationSpec): boolean =>
  email !== undefined && email.cc.length + email.bcc.length > 0;

/** Whose address it is about; undefined where it may be that of a copy. */
function addressOf({ spec, state }: Notification, { address }: Receipt): string | undefined {
  return address ?? (hasCopies(spec) ? undefined : state.targets[0]?.address);
}

/** An unsubscribe that came late, after the recipient wanted it again. */
function isTakenBack(row: Notification, receipt: Receipt): boolean {
  const { channel } = row.spec;
  const normalised = (one: Receipt): string => normaliseAddress(channel, addressOf(row, one) ?? '');
  return row.state.receipts.some(
    (known) => known.kind === 'resubscribed' && known.at > receipt.at && normalised(known) === normalised(receipt),
  );
}

/** A hard bounce ends the address; a complaint and an unsubscribe end marketing, or the channel where the recipient said so. */
function reasonOf(row: Notification, receipt: Receipt): SuppressionReason | undefined {
  switch (receipt.kind) {
    case 'bounced':
      return receipt.hard ? 'hard_bounce' : undefined;
    case 'complained':
      return 'complaint';
    case 'unsubscribed':
      return isTakenBack(row, receipt) ? undefined : 'unsubscribed';
    case 'sent':
    case 'delivered':
    case 'failed':
    case 'opened':
    case 'clicked':
    case 'resubscribed':
      return undefined;
  }
}
