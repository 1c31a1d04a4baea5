/**
 * The life of a notification, as pure functions from a row to its next row. Each one raises the version by one, adds
 * the step to the history (which is also the outbox of its event) and says when the scheduler must look next. A step
 * that `NEXT` does not allow throws: it is a fault of the program and can never be written.
 */
import { MINUTE } from './clock.ts';
import { MAX_ATTEMPTS_KEPT, MAX_HISTORY_KEPT, MAX_RECEIPTS_KEPT, isFinal, openTargets } from './notification.ts';
import type {
  Attempt,
  CancelledReason,
  Choice,
  FailedReason,
  Lease,
  Notification,
  NotificationSpec,
  NotificationState,
  PendingReason,
  Reason,
  Skipped,
  Status,
  Target,
  Transition,
} from './notification.ts';
import type { Receipt, ReceiptKind } from './receipt.ts';

/**
 * Which status may follow which. A final one follows itself when a late answer closes one more of its targets; SENT,
 * DELIVERED and BOUNCED only move forward, in whatever order receipts arrive.
 */
export const NEXT: Readonly<Record<Status, readonly Status[]>> = {
  pending: ['pending', 'queued', 'processing', 'sent', 'failed', 'cancelled'],
  queued: ['pending', 'queued', 'processing', 'sent', 'failed', 'cancelled'],
  processing: ['pending', 'processing', 'sent', 'failed', 'cancelled'],
  sent: ['sent', 'delivered', 'bounced'],
  delivered: ['delivered', 'bounced'],
  bounced: ['bounced'],
  failed: ['failed', 'queued', 'sent'],
  cancelled: ['cancelled', 'sent'],
};

/** How long a hint may take to be picked up before the scheduler asks after it. */
const HINT_GRACE = MINUTE;
/** How long an event may stay unpublished before the scheduler takes it over. */
export const OUTBOX_GRACE = MINUTE;

interface Step {
  readonly to: Status;
  readonly reason?: Reason;
  readonly detail?: string;
  readonly dueAt?: number;
  readonly naked?: boolean;
  readonly enqueuedAt?: number;
  readonly run?: number;
  readonly attempt?: number;
  readonly starts?: number;
  /** null ends the hold. */
  readonly heldSince?: number | null;
  readonly cancelRequested?: boolean;
  readonly lease?: Lease;
  readonly targets?: readonly Target[];
  readonly attempts?: readonly Attempt[];
  /** The provider that the event tells. */
  readonly provider?: string;
  readonly receipt?: Receipt;
}

/** When the row itself next wants the scheduler; undefined when there is nothing left to do. */
export function needAt(state: NotificationState): number | undefined {
  switch (state.status) {
    case 'pending':
      return state.naked ? state.dueAt + HINT_GRACE : state.dueAt;
    case 'queued':
      return (state.enqueuedAt ?? state.dueAt) + HINT_GRACE;
    case 'processing':
      return state.lease?.until ?? state.updatedAt;
    case 'sent':
    case 'delivered':
    case 'bounced':
    case 'failed':
    case 'cancelled':
      return undefined;
  }
}

function trimHistory(history: readonly Transition[], published: number): readonly Transition[] {
  const spare = history.length - MAX_HISTORY_KEPT;
  if (spare <= 0) return history;
  const firstUnpublished = history.findIndex((t) => t.version > published);
  return history.slice(firstUnpublished < 0 ? spare : Math.min(spare, firstUnpublished));
}

/** An unknown call binds its target to its provider for the rest of the run, however many others follow. */
function trimAttempts(attempts: readonly Attempt[], run: number): readonly Attempt[] {
  const isBinding = (a: Attempt): boolean => a.run === run && a.results.some(({ outcome }) => outcome === 'unknown');
  return [...attempts.slice(0, -MAX_ATTEMPTS_KEPT).filter(isBinding), ...attempts.slice(-MAX_ATTEMPTS_KEPT)];
}

/** Retention counts from the last change of a final row's status: an open a month later would put it off again and again. */
const changedAt = ({ status, updatedAt }: NotificationState, to: Status, now: number): number =>
  isFinal(status) && to === status ? updatedAt : now;

function step(row: Notification, now: number, change: Step): Notification {
  const { spec, state } = row;
  if (!NEXT[state.status].includes(change.to)) {
    throw new Error(`notification ${spec.id}: ${state.status} cannot become ${change.to}`);
  }
  const version = state.version + 1;
  const heldSince = change.heldSince === undefined ? state.heldSince : (change.heldSince ?? undefined);
  const lease = change.to === 'processing' ? (change.lease ?? state.lease) : undefined;
  const enqueuedAt = change.to === 'queued' ? (change.enqueuedAt ?? state.enqueuedAt) : undefined;
  const attempt = change.attempt ?? state.attempt;
  const run = change.run ?? state.run;
  const transition: Transition = {
    version,
    at: now,
    status: change.to,
    ...(change.reason && { reason: change.reason }),
    ...(attempt > 0 && { attempt }),
    ...(change.provider && { provider: change.provider }),
    ...(change.receipt && { receipt: change.receipt.kind }),
  };
  const receipts = change.receipt ? [...state.receipts, change.receipt].slice(-MAX_RECEIPTS_KEPT) : state.receipts;
  const next: NotificationState = {
    version,
    published: state.published,
    status: change.to,
    ...(change.reason && { reason: change.reason }),
    ...(change.detail && { detail: change.detail }),
    dueAt: change.dueAt ?? state.dueAt,
    ...(enqueuedAt !== undefined && { enqueuedAt }),
    ...(change.to === 'pending' && change.naked && { naked: true }),
    run,
    attempt,
    starts: change.starts ?? 0,
    ...(heldSince !== undefined && { heldSince }),
    cancelRequested: change.cancelRequested ?? state.cancelRequested,
    ...(lease && { lease }),
    targets: change.targets ?? state.targets,
    attempts: trimAttempts(change.attempts ?? state.attempts, run),
    receipts,
    history: trimHistory([...state.history, transition], state.published),
    updatedAt: changedAt(state, change.to, now),
  };
  // The event of this very step is not published yet, so the row never sleeps longer than that may take.
  const wakeAt = Math.min(needAt(next) ?? Infinity, now + OUTBOX_GRACE);
  return { ...row, state: { ...next, wakeAt } };
}

/**
 * `NEXT` says what may follow a status; some steps may begin in fewer than it allows. Without this a row that is being
 * sent could be claimed once more, or one be PROCESSING without a lease.
 */
function begins(row: Notification, name: string, ...from: readonly Status[]): void {
  const { status } = row.state;
  if (!from.includes(status)) throw new Error(`notification ${row.spec.id}: no ${name} in ${status}`);
}

/** How a notification begins: queued at once, held until a time, or ended before it was queued. */
export type Beginning =
  | { readonly status: 'queued' }
  | { readonly status: 'pending'; readonly reason: PendingReason; readonly dueAt: number }
  | { readonly status: 'failed'; readonly reason: FailedReason }
  | { readonly status: 'cancelled'; readonly reason: CancelledReason };

/** The first row, version 1. A target that is not to be called has its outcome from the beginning. */
export function begin(spec: NotificationSpec, targets: readonly Target[], how: Beginning, now: number): Notification {
  const reason = 'reason' in how ? how.reason : undefined;
  const state: NotificationState = {
    version: 1,
    published: 0,
    status: how.status,
    ...(reason && { reason }),
    dueAt: how.status === 'pending' ? how.dueAt : now,
    ...(how.status === 'queued' && { enqueuedAt: now }),
    run: 1,
    attempt: 0,
    starts: 0,
    cancelRequested: false,
    targets,
    attempts: [],
    receipts: [],
    history: [{ version: 1, at: now, status: how.status, ...(reason && { reason }) }],
    updatedAt: now,
  };
  return { spec, state: { ...state, wakeAt: Math.min(needAt(state) ?? Infinity, now + OUTBOX_GRACE) } };
}

/** Its time has come, or its hint was lost: it goes (again) into its lane. */
export function enqueue(row: Notification, now: number): Notification {
  begins(row, 'enqueue', 'pending', 'queued');
  return step(row, now, { to: 'queued', enqueuedAt: now });
}

/** One provider, and the targets it is to be called for. */
export interface PlannedCall {
  readonly provider: string;
  readonly choice: Choice;
  readonly skipped: readonly Skipped[];
  readonly targets: readonly number[];
}

/** A worker takes it, writes the attempt it starts and the providers it will call. Counts one attempt. */
export function claim(row: Notification, lease: Lease, calls: readonly PlannedCall[], now: number): Notification {
  begins(row, 'claim', 'pending', 'queued');
  const number = row.state.attempt + 1;
  return step(row, now, {
    to: 'processing',
    lease,
    attempt: number,
    targets: row.state.targets,
    attempts: [...row.state.attempts, ...calls.map((call) => started(call, row.state.run, number, now))],
    ...theOnlyProvider(calls),
  });
}

/** The attempt goes on with other providers, for those targets that the ones before could not serve. */
export function failOver(
  row: Notification,
  after: Attempted,
  calls: readonly PlannedCall[],
  now: number,
): Notification {
  begins(row, 'fail-over', 'processing');
  const { run, attempt: number } = row.state;
  return step(row, now, {
    to: 'processing',
    targets: after.targets,
    attempts: [...after.attempts, ...calls.map((call) => started(call, run, number, now))],
    ...theOnlyProvider(calls),
  });
}

const started = (call: PlannedCall, run: number, number: number, now: number): Attempt => ({
  run,
  number,
  ...call,
  startedAt: now,
  results: [],
});

/** An event names one provider; where several are called at the same time the attempts tell. */
function theOnlyProvider([first, ...others]: readonly { readonly provider: string }[]): { readonly provider?: string } {
  return first && others.length === 0 ? { provider: first.provider } : {};
}

/** What the answers of providers make of the targets and the list of attempts. */
export interface Attempted {
  readonly targets: readonly Target[];
  readonly attempts: readonly Attempt[];
  readonly provider?: string;
}

const told = (after: Attempted | undefined): Partial<Step> =>
  after
    ? { targets: after.targets, attempts: after.attempts, ...(after.provider && { provider: after.provider }) }
    : {};

/** A provider took it, and no target is open. */
export function sent(row: Notification, after: Attempted, now: number, receipt?: Receipt): Notification {
  return step(row, now, { to: 'sent', heldSince: null, ...(receipt && { receipt }), ...told(after) });
}

/** Given up, with the reason. */
export function failed(
  row: Notification,
  reason: FailedReason,
  now: number,
  more: { readonly after?: Attempted; readonly detail?: string } = {},
): Notification {
  return step(row, now, { to: 'failed', reason, ...(more.detail && { detail: more.detail }), ...told(more.after) });
}

/** Not sent, on purpose. */
export function cancelled(row: Notification, reason: CancelledReason, now: number, after?: Attempted): Notification {
  return step(row, now, { to: 'cancelled', reason, ...told(after) });
}

export interface Wait {
  readonly reason: PendingReason;
  readonly dueAt: number;
  /** The job in hand will come back at that time by itself. */
  readonly naked: boolean;
  /** Gives the attempt back: what happened costs none. */
  readonly free?: boolean;
}

/** Waits for a later time. Reasons that cost no attempt start, or go on with, a hold; an attempt that counts ends it. */
export function wait(row: Notification, how: Wait, now: number, after?: Attempted): Notification {
  const held = how.reason === 'rate_limited' || how.reason === 'route_down';
  return step(row, now, {
    to: 'pending',
    reason: how.reason,
    dueAt: how.dueAt,
    naked: how.naked,
    heldSince: held ? (row.state.heldSince ?? now) : null,
    ...(how.free && { attempt: Math.max(0, row.state.attempt - 1) }),
    ...told(after),
  });
}

/** A cancel came while a provider is being called; the worker honours it when it settles. */
export function requestCancel(row: Notification, now: number): Notification {
  begins(row, 'cancel request', 'processing');
  return step(row, now, { to: 'processing', cancelRequested: true });
}

/** A job that was delivered suspiciously often is taken up once more. */
export function countStart(row: Notification, now: number): Notification {
  begins(row, 'start', 'pending', 'queued');
  const { status, reason, naked } = row.state;
  return step(row, now, {
    to: status,
    ...(reason && { reason }),
    ...(naked && { naked }),
    starts: row.state.starts + 1,
  });
}

/** FAILED is driven again: a new run, attempts from zero; targets that were reached stay closed. */
export function redrive(row: Notification, now: number): Notification {
  begins(row, 're-drive', 'failed');
  return step(row, now, {
    to: 'queued',
    enqueuedAt: now,
    dueAt: now,
    run: row.state.run + 1,
    attempt: 0,
    heldSince: null,
    cancelRequested: false,
    targets: row.state.targets.map((t) => (t.outcome === 'sent' ? t : { address: t.address })),
  });
}

/** A late answer closes targets without changing where the row stands. */
export function closeTargets(row: Notification, after: Attempted, now: number, receipt?: Receipt): Notification {
  const { status, reason, detail, naked } = row.state;
  return step(row, now, {
    to: status,
    ...(reason && { reason }),
    ...(detail && { detail }),
    ...(naked && { naked }),
    ...(receipt && { receipt }),
    ...told(after),
  });
}

/** Kinds that prove that it arrived. */
const ARRIVED: ReadonlySet<ReceiptKind> = new Set(['delivered', 'opened', 'clicked', 'complained', 'unsubscribed']);
/** Kinds that say that it came back, or never will arrive. */
const CAME_BACK: ReadonlySet<ReceiptKind> = new Set(['bounced', 'failed']);

/**
 * A provider's report about one target. It moves a row only forward, SENT → DELIVERED → BOUNCED. What nobody knew to be
 * sent is known now: the open target is closed, so that no second call is made. A failure behind an unknown call proves
 * nothing that a further try could not mend, so it closes nothing.
 */
export function receive(row: Notification, target: number, receipt: Receipt, now: number): Notification {
  begins(row, 'receipt', 'pending', 'queued', 'sent', 'delivered', 'bounced', 'failed', 'cancelled');
  const { provider } = receipt;
  const targets = row.state.targets.map((one, index) =>
    index === target && one.outcome !== 'sent' && receipt.kind !== 'failed'
      ? { address: one.address, outcome: 'sent' as const, provider }
      : one,
  );
  const after: Attempted = { targets, attempts: row.state.attempts, provider };
  const isSent = ['sent', 'delivered', 'bounced'].includes(row.state.status);
  if (!isSent && (openTargets(targets).length > 0 || targets[target]?.outcome !== 'sent')) {
    return closeTargets(row, after, now, receipt);
  }
  if (!isSent) {
    if (receipt.kind === 'sent') return sent(row, after, now, receipt);
    return receive(sent(row, after, now), target, receipt, now);
  }
  // One of another provider, asked in vain or with an unknown outcome, cannot say that this one's has not arrived.
  const by = row.state.targets[target]?.provider;
  const isOthers = by !== undefined && by !== provider;
  return step(row, now, { to: statusAfter(row.state.status, receipt.kind, isOthers), receipt, ...told(after) });
}

function statusAfter(status: Status, kind: ReceiptKind, isOthers: boolean): Status {
  if (CAME_BACK.has(kind)) return isOthers ? status : 'bounced';
  return status === 'sent' && ARRIVED.has(kind) ? 'delivered' : status;
}
