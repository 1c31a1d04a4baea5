/** What is read differently in a row that an earlier release wrote. */
import type { Attempt, Device, NotificationSpec, NotificationState } from '../domain/notification.ts';

interface EarlierRecipient {
  /** Before devices had kinds: FCM registration tokens. */
  readonly deviceTokens?: readonly string[];
}

/** Before routes: no reason for the choice, nothing skipped, no receipts. */
interface EarlierState {
  readonly attempts: readonly (Omit<Attempt, 'choice' | 'skipped'> & Partial<Attempt>)[];
  readonly receipts?: NotificationState['receipts'];
}

/** Reads a spec that an adapter stored as JSON text. */
export function parseSpec(text: string): NotificationSpec {
  // The adapters write it from this very type, and an earlier release did so from one that differs in the recipient only.
  const spec = JSON.parse(text) as NotificationSpec & { readonly recipient: EarlierRecipient };
  if (spec.recipient.deviceTokens === undefined) return spec;
  const { deviceTokens, ...recipient } = spec.recipient;
  const devices = deviceTokens.map((token): Device => ({ kind: 'fcm_token', token }));
  return { ...spec, recipient: { ...recipient, devices } };
}

/** The parts of a stored state that an earlier release wrote in another form or not at all. */
export function currentParts(stored: EarlierState): Pick<NotificationState, 'attempts' | 'receipts'> {
  return {
    attempts: stored.attempts.map((attempt) => ({ choice: 'first', skipped: [], ...attempt })),
    receipts: stored.receipts ?? [],
  };
}
