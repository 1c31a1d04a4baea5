import type { Notification, Priority, RetryPolicy } from './notification.ts';

/** Attempts in one run, by priority. */
export const MAX_ATTEMPTS: Readonly<Record<Priority, number>> = { urgent: 10, high: 7, normal: 5, low: 3 };

/** How delays grow; the defaults are those of `[retry]` in carillon.default.toml. */
export interface BackoffOptions {
  readonly baseMs: number;
  readonly urgentBaseMs: number;
  readonly factor: number;
  readonly capMs: number;
}

export function maxAttempts(row: Notification, webhookDefault?: RetryPolicy): number {
  return policyOf(row, webhookDefault)?.maxAttempts ?? MAX_ATTEMPTS[row.spec.priority];
}

/**
 * Milliseconds to wait after the n-th attempt failed (n from 1). Equal jitter: half of it fixed, half by chance, so that
 * the messages an outage has piled up do not come back in step. A webhook's own policy is followed to the letter.
 * @param fraction uniform in [0, 1)
 */
export function backoffMs(
  row: Notification,
  fraction: number,
  options: BackoffOptions,
  webhookDefault?: RetryPolicy,
): number {
  const n = Math.max(1, row.state.attempt);
  const policy = policyOf(row, webhookDefault);
  if (policy) {
    const grown = policy.backoff === 'linear' ? policy.initialDelayMs * n : policy.initialDelayMs * 2 ** (n - 1);
    return Math.min(grown, policy.maxDelayMs);
  }
  const base = row.spec.priority === 'urgent' ? options.urgentBaseMs : options.baseMs;
  const full = Math.min(base * options.factor ** (n - 1), options.capMs);
  return Math.round(full / 2 + (full / 2) * fraction);
}

function policyOf(row: Notification, webhookDefault?: RetryPolicy): RetryPolicy | undefined {
  return row.spec.channel === 'webhook' ? (row.spec.webhook?.retryPolicy ?? webhookDefault) : undefined;
}
