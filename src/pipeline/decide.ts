/**
 * May this notification be sent now? Asked when it is accepted, again right before it is sent, and by ExplainNotification:
 * `assess` gathers the facts, `decide` is pure. The first rule that stands against sending decides.
 */
import type { CancelledReason, FailedReason, NotificationSpec, PendingReason } from '../domain/notification.ts';
import type { Suppression } from '../domain/suppression.ts';
import type { Router } from './route.ts';
import { reasonToStop } from './suppress.ts';
import type { Suppressor } from './suppress.ts';

export type DecisionLayer = 'expiry' | 'suppression' | 'route' | 'schedule' | 'content';

export type Verdict =
  | { readonly verdict: 'send' }
  | { readonly verdict: 'hold'; readonly reason: PendingReason; readonly until: number; readonly layer: DecisionLayer }
  | { readonly verdict: 'cancel'; readonly reason: CancelledReason; readonly layer: DecisionLayer }
  | { readonly verdict: 'fail'; readonly reason: FailedReason; readonly layer: DecisionLayer };

export interface DecisionFacts {
  readonly now: number;
  /** At least one of its targets has a provider that can serve it. */
  readonly hasProvider: boolean;
  /** Why none of its targets may be written to; not given: at least one may. */
  readonly stopped?: 'suppressed' | 'unsubscribed';
}

export interface Assessed {
  readonly verdict: Verdict;
  /** For each address what stands against sending to it, if anything. */
  readonly stops: readonly (Suppression | undefined)[];
  /** The addresses that nothing stands against. */
  readonly open: readonly string[];
}

/** The verdict for those addresses of a notification that have no outcome yet. */
export async function assess(
  spec: NotificationSpec,
  addresses: readonly string[],
  now: number,
  { suppressor, router }: { readonly suppressor: Suppressor; readonly router: Router },
): Promise<Assessed> {
  const stops = await suppressor.stops(spec, addresses);
  const open = addresses.filter((_, index) => !stops[index]);
  const hasProvider = open.some((address) => router.serves(spec, address));
  const stopped = open.length === 0 && stops.length > 0 ? reasonToStop(stops) : undefined;
  return { verdict: decide(spec, { now, hasProvider, ...(stopped && { stopped }) }), stops, open };
}

export function decide(spec: NotificationSpec, facts: DecisionFacts): Verdict {
  if (spec.expiresAt !== undefined && spec.expiresAt <= facts.now) {
    return { verdict: 'cancel', reason: 'expired', layer: 'expiry' };
  }
  if (facts.stopped) return { verdict: 'cancel', reason: facts.stopped, layer: 'suppression' };
  if (!facts.hasProvider) return { verdict: 'fail', reason: 'no_provider', layer: 'route' };
  if (spec.scheduledFor !== undefined && spec.scheduledFor > facts.now) {
    return { verdict: 'hold', reason: 'scheduled', until: spec.scheduledFor, layer: 'schedule' };
  }
  return { verdict: 'send' };
}
