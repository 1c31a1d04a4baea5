/**
 * What the answers of providers mean for a notification: pure functions from a row and what was told to the next row.
 * Nothing here decides by the text of a message, and a failure never becomes a success.
 */
import { DAY, SECOND } from '../domain/clock.ts';
import { openTargets } from '../domain/notification.ts';
import type {
  Attempt,
  AttemptResult,
  FailedReason,
  Notification,
  Outcome,
  RetryPolicy,
  Target,
} from '../domain/notification.ts';
import { backoffMs, maxAttempts } from '../domain/retry.ts';
import type { BackoffOptions } from '../domain/retry.ts';
import { cancelled, closeTargets, failed, sent, wait } from '../domain/transitions.ts';
import type { Attempted } from '../domain/transitions.ts';
import type { SendResult } from '../providers/provider.ts';

/** Rate limits and routes that are down hold a notification for this long at most. */
export const MAX_HOLD = DAY;
/** A delay up to this long rides on the job in hand; a longer one is left to the row. */
export const MAX_NAK = 60 * SECOND;
/** The wait after a rate limit that does not say how long. */
const DEFAULT_RATE_LIMIT_WAIT = 30 * SECOND;
const MAX_DETAIL = 500;

export interface TargetResult {
  readonly target: number;
  readonly result: SendResult;
}

/** What one provider call told, and for which lease it was made. */
export interface Report {
  readonly leaseId: string;
  readonly run: number;
  readonly number: number;
  readonly provider: string;
  readonly endedAt: number;
  readonly results: readonly TargetResult[];
  /** The longest wait that a provider asked for which this one took over from, milliseconds. */
  readonly retryAfterMs?: number;
}

export interface SettleContext {
  readonly now: number;
  /** Uniform in [0, 1). */
  readonly fraction: number;
  readonly backoff: BackoffOptions;
  readonly webhookRetry?: RetryPolicy;
  /** A job is in hand that can bring the row back after a short delay. */
  readonly hasJob: boolean;
  /** The process is stopping and has aborted its calls, which costs no attempt. */
  readonly stopping?: boolean;
}

/** True when this very attempt still owns the row. */
export function holdsLease(row: Notification, leaseId: string): boolean {
  return row.state.status === 'processing' && row.state.lease?.id === leaseId;
}

function closes(result: SendResult, row: Notification): boolean {
  switch (result.outcome) {
    case 'sent':
    case 'permanent_failure':
    case 'invalid_recipient':
      return true;
    case 'unknown':
      return row.spec.unknownOutcome === 'hold';
    case 'temporary_failure':
    case 'rate_limited':
    case 'provider_error':
      return false;
  }
}

function closed(target: Target, result: SendResult, provider: string): Target {
  return {
    address: target.address,
    outcome: result.outcome,
    provider,
    ...(result.outcome === 'sent' && result.messageId && { messageId: result.messageId }),
  };
}

/** Writes the results into the targets and into the attempt that the provider call belongs to. */
export function absorb(row: Notification, report: Report): Attempted {
  const byTarget = new Map(report.results.map((r) => [r.target, r.result]));
  const targets = row.state.targets.map((target, index) => {
    const result = byTarget.get(index);
    if (!result || target.outcome === 'sent') return target;
    const late = target.outcome !== undefined;
    if (late && result.outcome !== 'sent') return target;
    return closes(result, row) ? closed(target, result, report.provider) : target;
  });
  // An attempt that was given back shares its number with the next one.
  const at = row.state.attempts.findLastIndex(
    (a) =>
      a.run === report.run &&
      a.number === report.number &&
      a.provider === report.provider &&
      report.results.every(({ target }) => a.targets.includes(target)),
  );
  const attempts = row.state.attempts.map((attempt, index) => {
    if (index !== at) return attempt;
    // A late answer stands beside what was said before: that it was unknown for a while may explain a second call.
    return { ...attempt, endedAt: report.endedAt, results: [...attempt.results, ...report.results.map(toResult)] };
  });
  return { targets, attempts, provider: report.provider };
}

function toResult({ target, result }: TargetResult): AttemptResult {
  return {
    target,
    outcome: result.outcome,
    ...(result.code && { code: result.code.slice(0, 100) }),
    ...(result.detail && { detail: result.detail.slice(0, MAX_DETAIL) }),
  };
}

/**
 * The next row after a provider call, or undefined when nothing is left to say (a late answer that changes nothing).
 * An attempt that still owns the row decides everything; one that lost it can only close targets as sent.
 */
export function settle(row: Notification, report: Report, context: SettleContext): Notification | undefined {
  const after = absorb(row, report);
  return holdsLease(row, report.leaseId)
    ? conclude(row, after, report, context)
    : concludeLate(row, after, context.now);
}

function concludeLate(row: Notification, after: Attempted, now: number): Notification | undefined {
  const news = after.targets.some((t, i) => t.outcome === 'sent' && row.state.targets[i]?.outcome !== 'sent');
  if (!news) return undefined;
  const open = after.targets.some((t) => t.outcome === undefined);
  const canBeSent = ['pending', 'queued', 'failed', 'cancelled'].includes(row.state.status);
  return !open && canBeSent ? sent(row, after, now) : closeTargets(row, after, now);
}

function conclude(row: Notification, after: Attempted, report: Report, context: SettleContext): Notification {
  const { now } = context;
  const open = openTargets(after.targets);
  if (open.length === 0) {
    if (after.targets.some((t) => t.outcome === 'sent')) return sent(row, after, now);
    if (row.state.cancelRequested) return cancelled(row, 'cancelled_by_caller', now, after);
    return failed(row, reasonOf(after.targets), now, { after });
  }
  if (row.state.cancelRequested) {
    return giveUp(row, after, now, (closedAfter) => cancelled(row, 'cancelled_by_caller', now, closedAfter));
  }
  const latest = latestResults(row, after.attempts);
  const free = open.every((i) => latest.get(i)?.outcome === 'rate_limited');
  return free ? hold(row, after, report, context) : retry(row, after, report, context);
}

/** The last answer per target within the attempt at hand, fail-overs included. */
function latestResults(row: Notification, attempts: readonly Attempt[]): Map<number, AttemptResult> {
  const { run, attempt: number } = row.state;
  const results = attempts.filter((a) => a.run === run && a.number === number).flatMap((a) => a.results);
  return new Map(results.map((r) => [r.target, r]));
}

function reasonOf(targets: readonly Target[]): FailedReason {
  const outcomes = new Set(targets.map((t) => t.outcome));
  if (outcomes.has('unknown')) return 'outcome_unknown';
  return outcomes.has('permanent_failure') ? 'rejected' : 'invalid_recipient';
}

/** Nothing more will be tried: open targets keep their last answer, and what some target took counts as sent. */
function giveUp(
  row: Notification,
  after: Attempted,
  now: number,
  otherwise: (after: Attempted) => Notification,
): Notification {
  if (!after.targets.some((t) => t.outcome === 'sent')) return otherwise(after);
  const latest = latestResults(row, after.attempts);
  const lastWord = (i: number): Outcome => latest.get(i)?.outcome ?? 'temporary_failure';
  const targets = after.targets.map((t, i) => (t.outcome === undefined ? { ...t, outcome: lastWord(i) } : t));
  return sent(row, { ...after, targets }, now);
}

/** How long the providers of this attempt ask to wait, milliseconds. */
export function retryAfter(report: Report): number {
  return Math.max(
    report.retryAfterMs ?? 0,
    ...report.results.map(({ result }) => (result.outcome === 'rate_limited' ? (result.retryAfterMs ?? 0) : 0)),
  );
}

function retry(row: Notification, after: Attempted, report: Report, context: SettleContext): Notification {
  const { now, stopping: free = false } = context;
  if (!free && row.state.attempt >= maxAttempts(row, context.webhookRetry)) {
    return giveUp(row, after, now, (closedAfter) => failed(row, 'attempts_exhausted', now, { after: closedAfter }));
  }
  const backoff = backoffMs(row, context.fraction, context.backoff, context.webhookRetry);
  const dueAt = now + Math.max(backoff, retryAfter(report));
  if (expiredBy(row, dueAt)) return giveUp(row, after, now, (c) => cancelled(row, 'expired', now, c));
  return wait(row, { reason: 'retrying', dueAt, naked: naks(dueAt, context), free }, now, after);
}

function hold(row: Notification, after: Attempted, report: Report, context: SettleContext): Notification {
  const { now } = context;
  const dueAt = now + (retryAfter(report) || DEFAULT_RATE_LIMIT_WAIT);
  if (expiredBy(row, dueAt)) return giveUp(row, after, now, (c) => cancelled(row, 'expired', now, c));
  if (heldTooLong(row, dueAt, now)) {
    return giveUp(row, after, now, (c) => failed(row, 'held_too_long', now, { after: c }));
  }
  return wait(row, { reason: 'rate_limited', dueAt, naked: naks(dueAt, context), free: true }, now, after);
}

/** The reason and time of a hold that no provider call led to: a rate limit of our own, or a route that is down. */
export function holdUntil(
  row: Notification,
  reason: 'rate_limited' | 'route_down',
  dueAt: number,
  context: SettleContext,
): Notification {
  const { now } = context;
  if (expiredBy(row, dueAt)) return cancelled(row, 'expired', now);
  if (heldTooLong(row, dueAt, now)) return failed(row, 'held_too_long', now);
  return wait(row, { reason, dueAt, naked: naks(dueAt, context) }, now);
}

function expiredBy(row: Notification, at: number): boolean {
  return row.spec.expiresAt !== undefined && at >= row.spec.expiresAt;
}

function heldTooLong(row: Notification, until: number, now: number): boolean {
  return until - (row.state.heldSince ?? now) > MAX_HOLD;
}

function naks(dueAt: number, context: SettleContext): boolean {
  return context.hasJob && dueAt - context.now <= MAX_NAK;
}

/** The report of a worker that died while it held the row: what its last provider call came to is unknown. */
export function lostLease(row: Notification, now: number): Report | undefined {
  const { lease, attempts, targets } = row.state;
  const last = attempts.at(-1);
  if (row.state.status !== 'processing' || !lease || !last) return undefined;
  return {
    leaseId: lease.id,
    run: last.run,
    number: last.number,
    provider: last.provider,
    endedAt: now,
    results: last.targets
      .filter((target) => targets[target]?.outcome === undefined)
      .map((target) => ({ target, result: { outcome: 'unknown', code: 'worker_lost' } })),
  };
}
