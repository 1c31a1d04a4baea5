/**
 * Addresses that get nothing more. Looked up when a notification is accepted and again right before it is sent; look-ups
 * that come in one turn of the event loop share one read of the store.
 */
import { createHmac } from 'node:crypto';
import type { Clock } from '../domain/clock.ts';
import type { Channel, Notification, NotificationSpec } from '../domain/notification.ts';
import { normaliseAddress } from '../domain/suppression.ts';
import type { Suppression, SuppressionReason } from '../domain/suppression.ts';
import type { Storage, SuppressionQuery } from '../storage/storage.ts';

/** Ignores what a recipient asked for; never what a provider knows of an address. */
const CRITICAL: ReadonlySet<string> = new Set(['security']);

export interface SuppressedPlace {
  readonly tenant: string;
  readonly channel: Channel;
  readonly address: string;
  /** Not given: all of the channel. */
  readonly category?: string;
}

export interface SuppressionInput extends SuppressedPlace {
  readonly reason: SuppressionReason;
  readonly source: string;
  readonly detail?: string;
  /** Default: now. */
  readonly saidAt?: number;
}

export interface SuppressorOptions {
  readonly storage: Pick<Storage, 'findSuppressions' | 'addSuppressions' | 'removeSuppressions' | 'listSuppressions'>;
  readonly clock: Clock;
  /** Made when the store was first opened, the same for every process; hex. */
  readonly secret: string;
}

interface Gathered {
  readonly hashes: Set<string>;
  readonly found: Promise<ReadonlyMap<string, readonly Suppression[]>>;
}

export class Suppressor {
  readonly #options: SuppressorOptions;
  #gathered: Gathered | undefined;

  constructor(options: SuppressorOptions) {
    this.#options = options;
  }

  /** Per address of the channel: what stands against sending to it, if anything. */
  async stops(spec: NotificationSpec, addresses: readonly string[]): Promise<(Suppression | undefined)[]> {
    const hashes = addresses.map((address) => this.#hash(spec.tenant, spec.channel, address));
    const found = await this.#find(hashes);
    return hashes.map((hash, index) => {
      const device = spec.recipient.devices?.find((one) => one.token === addresses[index]);
      return found
        .get(hash)
        ?.filter((suppression) => applies(suppression, spec, device?.registeredAt))
        .toSorted((a, b) => Number(a.category !== undefined) - Number(b.category !== undefined))[0];
    });
  }

  /** All that stand for one address, whatever their category. */
  async of(tenant: string, channel: Channel, address: string): Promise<readonly Suppression[]> {
    const hash = this.#hash(tenant, channel, address);
    return (await this.#find([hash])).get(hash) ?? [];
  }

  /** Of one that is there already, with the same category and reason, only `saidAt` moves on. */
  async add(inputs: readonly SuppressionInput[]): Promise<void> {
    if (inputs.length === 0) return;
    const { storage, clock } = this.#options;
    const now = clock.now();
    const list = inputs.map(({ address, saidAt = now, ...rest }): Suppression => {
      const addressHash = this.#hash(rest.tenant, rest.channel, address);
      return { ...rest, addressHash, createdAt: now, saidAt };
    });
    await storage.addSuppressions(list);
  }

  /** Takes away what stands against an address and category, whatever its reason; false when nothing did. */
  async remove({ tenant, channel, address, category = '' }: SuppressedPlace): Promise<boolean> {
    return await this.#options.storage.removeSuppressions({
      addressHash: this.#hash(tenant, channel, address),
      category,
    });
  }

  /** The recipient wants it again: what they asked for until then ends. A dead address does not come alive by it. */
  async resubscribe({ tenant, channel, address, category = '' }: SuppressedPlace, until: number): Promise<void> {
    const addressHash = this.#hash(tenant, channel, address);
    await this.#options.storage.removeSuppressions({ addressHash, category, reason: 'unsubscribed', until });
  }

  async list(query: SuppressionQuery): Promise<Suppression[]> {
    return await this.#options.storage.listSuppressions(query);
  }

  #hash(tenant: string, channel: Channel, address: string): string {
    return createHmac('sha256', this.#options.secret)
      .update(`${tenant}\n${channel}\n${normaliseAddress(channel, address)}`)
      .digest('hex');
  }

  async #find(hashes: readonly string[]): Promise<ReadonlyMap<string, readonly Suppression[]>> {
    this.#gathered ??= this.#gather();
    const { found } = this.#gathered;
    for (const hash of hashes) this.#gathered.hashes.add(hash);
    return await found;
  }

  #gather(): Gathered {
    const hashes = new Set<string>();
    const read = async (): Promise<ReadonlyMap<string, readonly Suppression[]>> => {
      // All that is asked for before the turn ends.
      await Promise.resolve();
      this.#gathered = undefined;
      const list = await this.#options.storage.findSuppressions([...hashes]);
      return Map.groupBy(list, (suppression) => suppression.addressHash);
    };
    return { hashes, found: read() };
  }
}

function applies(suppression: Suppression, spec: NotificationSpec, registeredAt: number | undefined): boolean {
  const { category, reason, saidAt } = suppression;
  // A dead token that the app has registered anew since is alive.
  if (reason === 'invalid_token' && registeredAt !== undefined && registeredAt > saidAt) return false;
  return category === undefined || (category === spec.category && !CRITICAL.has(spec.category));
}

/** The row with those of its targets closed that something stands against; not written yet. */
export function withStopped(
  row: Notification,
  targets: readonly number[],
  stops: readonly (Suppression | undefined)[],
): Notification {
  const stopped = new Set(targets.filter((_, index) => stops[index] !== undefined));
  if (stopped.size === 0) return row;
  const closed = row.state.targets.map((target, index) =>
    stopped.has(index) ? { ...target, outcome: 'suppressed' as const } : target,
  );
  return { ...row, state: { ...row.state, targets: closed } };
}

/** Why nothing is sent when every target is stopped: a category's opt-out says less than the address's own end. */
export function reasonToStop(stops: readonly (Suppression | undefined)[]): 'suppressed' | 'unsubscribed' {
  return stops.some((stop) => stop !== undefined && stop.category === undefined) ? 'suppressed' : 'unsubscribed';
}
