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
/** Who asks to wait a moment, and again, is asked after this part of the time that it has taken so far. */
const PATIENCE = 0.1;
const MAX_DETAIL = 500;

export interface TargetResult {
  readonly target: number;
  readonly result: SendResult;
}

/** What one provider told. */
export interface Told {
  readonly provider: string;
  readonly endedAt: number;
  readonly results: readonly TargetResult[];
}

/** A target that no provider could be asked for now. */
export interface Waiting {
  readonly target: number;
  readonly until: number;
  readonly reason: 'rate_limited' | 'route_down';
}

/** What the providers called last told, and for which lease they were called. */
export interface Report {
  readonly leaseId: string;
  readonly run: number;
  readonly number: number;
  readonly calls: readonly Told[];
  readonly waiting?: readonly Waiting[];
  /** The longest wait that a provider called earlier in the attempt asked for, milliseconds. */
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

/** Writes the results into the targets and into the attempts that the provider calls belong to. */
export function absorb(row: Notification, report: Report): Attempted {
  const before: Attempted = { targets: row.state.targets, attempts: row.state.attempts };
  const after = report.calls.reduce((so, call) => absorbCall(row, so, call, report), before);
  const [call, ...others] = report.calls;
  return call && others.length === 0 ? { ...after, provider: call.provider } : after;
}

function absorbCall(row: Notification, before: Attempted, call: Told, { run, number }: Report): Attempted {
  const byTarget = new Map(call.results.map((r) => [r.target, r.result]));
  const targets = before.targets.map((target, index) => {
    const result = byTarget.get(index);
    if (!result || target.outcome === 'sent') return target;
    const late = target.outcome !== undefined;
    if (late && result.outcome !== 'sent') return target;
    return closes(result, row) ? closed(target, result, call.provider) : target;
  });
  // An attempt that was given back shares its number with the next one.
  const at = before.attempts.findLastIndex(
    (a) =>
      a.run === run &&
      a.number === number &&
      a.provider === call.provider &&
      call.results.every(({ target }) => a.targets.includes(target)),
  );
  const attempts = before.attempts.map((attempt, index) => {
    if (index !== at) return attempt;
    // A late answer stands beside what was said before: that it was unknown for a while may explain a second call.
    return { ...attempt, endedAt: call.endedAt, results: [...attempt.results, ...call.results.map(toResult)] };
  });
  return { targets, attempts };
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
  const waits = new Set(report.waiting?.map(({ target }) => target));
  const free = open.every((i) => waits.has(i) || latest.get(i)?.outcome === 'rate_limited');
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
export function giveUp(
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
    ...report.calls
      .flatMap((call) => call.results)
      .map(({ result }) => ('retryAfterMs' in result ? (result.retryAfterMs ?? 0) : 0)),
  );
}

function retry(row: Notification, after: Attempted, report: Report, context: SettleContext): Notification {
  const { now, stopping: free = false } = context;
  if (!free && row.state.attempt >= maxAttempts(row, context.webhookRetry)) {
    return giveUp(row, after, now, (closedAfter) => failed(row, 'attempts_exhausted', now, { after: closedAfter }));
  }
  const backoff = backoffMs(row, context.fraction, context.backoff, context.webhookRetry);
  const dueAt = now + Math.max(backoff, Math.min(retryAfter(report), MAX_HOLD));
  if (expiredBy(row, dueAt)) return giveUp(row, after, now, (c) => cancelled(row, 'expired', now, c));
  // Of a provider that another took over from, the next attempt may find it again; not of the last one.
  if (retryAfter({ ...report, retryAfterMs: 0 }) > MAX_HOLD) {
    return giveUp(row, after, now, (c) => failed(row, 'held_too_long', now, { after: c }));
  }
  return wait(row, { reason: 'retrying', dueAt, naked: naks(dueAt, context), free }, now, after);
}

function hold(row: Notification, after: Attempted, report: Report, context: SettleContext): Notification {
  const { now } = context;
  const { waiting = [] } = report;
  const onlyWaiting = openTargets(after.targets).length === waiting.length;
  const held = heldFor(row, now);
  // What is guessed leaves a last try before the expiry.
  const left = (row.spec.expiresAt ?? Infinity) - 1 - now;
  const patience = Math.min(held * PATIENCE, MAX_HOLD - held, left);
  const asked = Math.max(retryAfter(report) || Math.min(DEFAULT_RATE_LIMIT_WAIT, Math.max(left, SECOND)), patience);
  // Those that wait do not hold up one another: who still has to is left out again.
  const dueAt = onlyWaiting ? Math.min(...waiting.map(({ until }) => until)) : now + asked;
  const reason = onlyWaiting && waiting.every((w) => w.reason === 'route_down') ? 'route_down' : 'rate_limited';
  if (expiredBy(row, dueAt)) return giveUp(row, after, now, (c) => cancelled(row, 'expired', now, c));
  if (heldTooLong(row, dueAt, now)) {
    return giveUp(row, after, now, (c) => failed(row, 'held_too_long', now, { after: c }));
  }
  return wait(row, { reason, dueAt, naked: naks(dueAt, context), free: true }, now, after);
}

/** The reason and time of a hold that no provider call led to: a rate limit of our own, or a route that is down. */
export function holdUntil(
  row: Notification,
  reason: 'rate_limited' | 'route_down',
  dueAt: number,
  context: SettleContext,
): Notification {
  const { now } = context;
  if (expiredBy(row, dueAt)) return giveUp(row, row.state, now, () => cancelled(row, 'expired', now));
  if (heldTooLong(row, dueAt, now)) return giveUp(row, row.state, now, () => failed(row, 'held_too_long', now));
  return wait(row, { reason, dueAt, naked: naks(dueAt, context) }, now);
}

function expiredBy(row: Notification, at: number): boolean {
  return row.spec.expiresAt !== undefined && at >= row.spec.expiresAt;
}

function heldTooLong(row: Notification, until: number, now: number): boolean {
  return until - (row.state.heldSince ?? now) > MAX_HOLD;
}

const heldFor = (row: Notification, now: number): number => now - (row.state.heldSince ?? now);

function naks(dueAt: number, context: SettleContext): boolean {
  return context.hasJob && dueAt - context.now <= MAX_NAK;
}

/** The report of a worker that died while it held the row: what the calls under way came to is unknown. */
export function lostLease(row: Notification, now: number): Report | undefined {
  const { lease, attempts, targets, run, attempt: number, status } = row.state;
  const underWay = attempts.filter((a) => a.run === run && a.number === number && a.endedAt === undefined);
  if (status !== 'processing' || !lease) return undefined;
  return {
    leaseId: lease.id,
    run,
    number,
    calls: underWay.map((attempt) => ({
      provider: attempt.provider,
      endedAt: now,
      results: attempt.targets
        .filter((target) => targets[target]?.outcome === undefined)
        .map((target) => ({ target, result: { outcome: 'unknown', code: 'worker_lost' } })),
    })),
  };
}
