/**
 * May this notification be sent now? One pure function, asked when it is accepted, again right before it is sent, and by
 * ExplainNotification. The first rule that stands against sending decides.
 */
import type { CancelledReason, FailedReason, NotificationSpec, PendingReason } from '../domain/notification.ts';

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
