/**
 * Which provider is asked for which target: the configured order, weights, circuits, rates, quotas, and what an earlier
 * call has left behind. What is decided here, and what was passed over, stands in the attempts.
 */
import type { Clock } from '../domain/clock.ts';
import { HOUR, SECOND } from '../domain/clock.ts';
import type { Channel, Choice, Notification, NotificationSpec, SkipReason, Skipped } from '../domain/notification.ts';
import type { PlannedCall } from '../domain/transitions.ts';
import type { Events } from '../events.ts';
import type { Destination, Provider, Route, SendResult } from '../providers/provider.ts';
import { Circuit } from './circuit.ts';
import type { CircuitOptions } from './circuit.ts';
import type { Limiter } from './limit.ts';
import type { Quota } from './quota.ts';
import type { TargetResult, Waiting } from './settle.ts';
import { MAX_HOLD } from './settle.ts';

export interface RouterOptions {
  readonly routes: (channel: Channel) => readonly Route[];
  /** Knows each route's rate by `routeName`. */
  readonly limiter: Limiter;
  readonly quota: Quota;
  readonly circuit: CircuitOptions;
  /** All providers of an attempt together, milliseconds: a probe ends within it. */
  readonly attemptDeadline: number;
  readonly clock: Clock;
  readonly events: Events;
}

/** What makes an answer say nothing about the provider. */
export interface CallFacts {
  readonly startedAt: number;
  /** The call was broken off by us. */
  readonly aborted: boolean;
  /** The message has a sender of the caller's own, which may be what was refused. */
  readonly ownSender: boolean;
}

export interface Picked {
  readonly provider: Provider;
  readonly choice: Choice;
  readonly skipped: readonly Skipped[];
}

/** One provider, and the targets it is called for. */
export interface ProviderCall extends Picked {
  readonly targets: readonly number[];
}

/** Who is asked for which target. */
export interface Plan {
  readonly calls: readonly ProviderCall[];
  readonly waiting: readonly Waiting[];
  /** Targets that no provider is left for. */
  readonly unserved: readonly number[];
}

/** As it stands in the row. */
export const toPlanned = ({ provider, ...call }: ProviderCall): PlannedCall => ({ provider: provider.name, ...call });

/** Nobody can be asked before then. */
type AllBlocked = Pick<Waiting, 'until' | 'reason'>;

/** One provider cannot be asked before then. */
interface Blocked {
  readonly reason: SkipReason;
  readonly until: number;
}

interface Health {
  readonly circuit: Circuit;
  /** It asked to be left alone, or its own rate is used up, until then. */
  restUntil: number;
  /** Answers in a row that asked to slow down without saying how long. */
  slowDowns: number;
}

/** The rest after an answer that asks to slow down and does not say how long; doubled with each one in a row. */
const FIRST_REST = SECOND;
const MAX_REST = 30 * SECOND;

/** Rows that wait for a quota ask again after so long, as it may have been raised, or a provider added. */
const QUOTA_POLL = HOUR;

/** The name of a provider's rate and quota. */
export const routeName = (provider: Pick<Provider, 'channel' | 'name'>): string =>
  `${provider.channel}.${provider.name}`;

/** The target's address and, of a push, its device. */
export function destinationOf({ recipient }: NotificationSpec, address: string): Destination {
  const device = recipient.devices?.find((one) => one.token === address);
  return { address, ...(device && { device }) };
}

export class Router {
  readonly #options: RouterOptions;
  readonly #health = new Map<string, Health>();

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** True when the channel has a provider that can serve the target. */
  serves(spec: NotificationSpec, address: string): boolean {
    return this.#candidates(spec, address).length > 0;
  }

  /** The providers in the order in which they would be asked for the first call, whatever their state. */
  order(spec: NotificationSpec, address: string): readonly Provider[] {
    return byWeight(this.#candidates(spec, address), spec.id).map(({ route }) => route.provider);
  }

  /**
   * Picks a provider for each target. Those with the same one share a call.
   * @param tried names of those that were asked for a target within this attempt
   */
  async plan(
    row: Notification,
    targets: readonly number[],
    tried: (target: number) => ReadonlySet<string>,
  ): Promise<Plan> {
    const calls = new Map<string, ProviderCall>();
    const waiting: Waiting[] = [];
    const unserved: number[] = [];
    for (const target of targets) {
      const picked = await this.#pick(row, target, tried(target));
      if (!picked) unserved.push(target);
      else if ('until' in picked) waiting.push({ target, ...picked });
      else {
        const key = `${picked.choice} ${picked.provider.name}`;
        const shared = calls.get(key) ?? { ...picked, targets: [] };
        calls.set(key, { ...shared, targets: [...shared.targets, target] });
      }
    }
    return { calls: [...calls.values()], waiting, unserved };
  }

  /**
   * The provider to ask for a target, and takes its tokens; when it may be asked again where all are blocked; undefined
   * when none is left that serves it.
   */
  async #pick(row: Notification, target: number, tried: ReadonlySet<string>): Promise<Picked | AllBlocked | undefined> {
    const order = this.#ordered(row, target).filter(({ route }) => !tried.has(route.provider.name));
    const skipped: Skipped[] = [];
    let until = Infinity;
    for (const { route, choice } of order) {
      const blocked = await this.#blocked(route);
      if (!blocked) {
        return { provider: route.provider, choice: tried.size > 0 ? 'fail_over' : choice, skipped };
      }
      skipped.push({ provider: route.provider.name, reason: blocked.reason });
      until = Math.min(until, blocked.until);
      // The message may be there already, and nobody else knows.
      if (choice === 'repeat') break;
    }
    if (order.length === 0) return undefined;
    return { until, reason: skipped.every((s) => s.reason === 'circuit_open') ? 'route_down' : 'rate_limited' };
  }

  /** Until when no provider of the channel can be asked; undefined when one can. */
  blockedUntil(channel: Channel): number | undefined {
    const now = this.#options.clock.now();
    const times = this.#options.routes(channel).map(({ provider }) => {
      const { circuit, restUntil } = this.#healthOf(provider);
      return circuit.blockedUntil(now) ?? (restUntil > now ? restUntil : undefined);
    });
    if (times.length === 0) return undefined;
    return times.reduce((first, at) => (first === undefined || at === undefined ? undefined : Math.min(first, at)));
  }

  /** What a provider answered. */
  told(provider: Provider, results: readonly TargetResult[], call: CallFacts): void {
    if (provider.perRecipient) return;
    const { events, clock } = this.#options;
    const health = this.#healthOf(provider);
    if (results.every(({ result }) => result.notAsked)) health.circuit.released();
    for (const { result } of results) {
      if (result.notAsked) continue;
      if (isFault(result)) {
        if (call.aborted || (call.ownSender && result.outcome === 'provider_error')) continue;
        const openUntil = health.circuit.failed(clock.now(), call.startedAt);
        if (openUntil !== undefined) events.circuitOpened(provider, openUntil - clock.now());
      } else if (health.circuit.worked()) {
        events.circuitClosed(provider);
      }
      this.#rest(health, result);
    }
  }

  #rest(health: Health, result: SendResult): void {
    if (result.outcome === 'sent') health.slowDowns = 0;
    if (result.outcome !== 'rate_limited' || result.recipientOnly) return;
    const guess = Math.min(MAX_REST, FIRST_REST * 2 ** health.slowDowns++);
    const rest = Math.min(MAX_HOLD, result.retryAfterMs ?? guess);
    health.restUntil = Math.max(health.restUntil, this.#options.clock.now() + rest);
  }

  #candidates(spec: NotificationSpec, address: string): readonly Route[] {
    const destination = destinationOf(spec, address);
    return this.#options.routes(spec.channel).filter(({ provider }) => provider.serves?.(destination) ?? true);
  }

  /** After an unknown outcome the provider that may have taken the message goes first: it knows the key of the call. */
  #ordered({ spec, state }: Notification, target: number): readonly Ordered[] {
    const address = state.targets[target]?.address ?? '';
    const order = byWeight(this.#candidates(spec, address), spec.id);
    const asked = state.attempts.findLast(
      (a) => a.run === state.run && a.results.some((r) => r.target === target && r.outcome === 'unknown'),
    );
    const repeat = asked && order.find(({ route }) => route.provider.name === asked.provider);
    return repeat ? [{ ...repeat, choice: 'repeat' }, ...order.filter((one) => one !== repeat)] : order;
  }

  async #blocked({ provider, maxPerDay }: Route): Promise<Blocked | undefined> {
    const { clock, limiter, quota } = this.#options;
    const now = clock.now();
    const health = this.#healthOf(provider);
    const openUntil = health.circuit.blockedUntil(now);
    if (openUntil !== undefined) return { reason: 'circuit_open', until: openUntil };
    if (health.restUntil > now) return { reason: 'rate_limited', until: health.restUntil };
    const name = routeName(provider);
    const rateUntil = await limiter.take(name);
    if (rateUntil !== undefined) {
      // The others need not ask the store again, nor be rendered, before then.
      health.restUntil = Math.max(health.restUntil, rateUntil);
      return { reason: 'rate_limited', until: limiter.lineUp(name, rateUntil) };
    }
    const quotaUntil = maxPerDay === undefined ? undefined : await quota.take(name, maxPerDay);
    if (quotaUntil !== undefined) return { reason: 'quota_used', until: Math.min(quotaUntil, now + QUOTA_POLL) };
    // Another may have begun to probe while the store was asked.
    const probedUntil = health.circuit.blockedUntil(clock.now());
    if (probedUntil !== undefined) return { reason: 'circuit_open', until: probedUntil };
    health.circuit.began(clock.now());
    return undefined;
  }

  #healthOf(provider: Provider): Health {
    const name = routeName(provider);
    const known = this.#health.get(name);
    if (known) return known;
    const { circuit, attemptDeadline } = this.#options;
    const health: Health = { circuit: new Circuit(circuit, attemptDeadline), restUntil: 0, slowDowns: 0 };
    this.#health.set(name, health);
    return health;
  }
}

interface Ordered {
  readonly route: Route;
  readonly choice: Choice;
}

/**
 * One of those with a weight goes first, by its share; the others keep the order of the list. The notification's id
 * decides, so that a retry finds the same order.
 */
function byWeight(routes: readonly Route[], id: string): readonly Ordered[] {
  const listed = routes.map((route): Ordered => ({ route, choice: 'first' }));
  const weighted = listed.filter(({ route }) => route.weight > 0);
  if (weighted.length === 0) return listed;
  const sum = weighted.reduce((all, { route }) => all + route.weight, 0);
  let left = (Number.parseInt(id.slice(-8), 16) / 2 ** 32) * sum;
  const first = weighted.find(({ route }) => (left -= route.weight) < 0) ?? weighted[0];
  return first ? [{ ...first, choice: 'weight' }, ...listed.filter((one) => one !== first)] : listed;
}

/** The provider's own fault, or silence. */
function isFault(result: SendResult): boolean {
  if (result.outcome === 'temporary_failure') return result.providerDown;
  return result.outcome === 'provider_error' || result.outcome === 'unknown';
}
