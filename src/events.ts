/**
 * The business events: one function for each holds what the log says of it. Fields are ids and words of closed lists;
 * functions that are given a notification take from it what is neither an address nor content.
 */
import type { Channel, NotificationSpec, NotificationState } from './domain/notification.ts';
import type { Receipt, ReceiptKind } from './domain/receipt.ts';
import type { CarillonError } from './errors.ts';
import { describeError } from './log.ts';
import type { SendResult } from './providers/provider.ts';
import type { Log } from './log.ts';

/** A call, as the log knows it. */
export interface CallFacts {
  /** Full name, such as carillon.v1.NotificationService/SendNotification. */
  readonly method: string;
  readonly protocol: string;
  readonly tenant?: string;
}

export interface StartFacts {
  readonly version: string;
  readonly roles: readonly string[];
  readonly backend: string;
  /** host:port. */
  readonly grpc: string;
  readonly http: string;
}

export interface ProviderFacts {
  readonly channel: Channel;
  readonly name: string;
}

/** None of these throws. */
export interface Events {
  started(facts: StartFacts): void;
  accepted(spec: NotificationSpec, state: NotificationState): void;
  settled(spec: NotificationSpec, state: NotificationState): void;
  attemptEnded(
    spec: NotificationSpec,
    provider: string,
    results: readonly { readonly target: number; readonly result: Pick<SendResult, 'outcome' | 'code'> }[],
    durationMs: number,
  ): void;
  /** Too many faults in a row: the provider is left alone for a while. */
  circuitOpened(provider: ProviderFacts, openMs: number): void;
  circuitClosed(provider: ProviderFacts): void;
  /** What a provider may be given on this day is used up. Told once per process and day. */
  quotaUsed(route: string, until: number): void;
  /** A provider reported what became of a notification, and the row says so now. */
  receiptApplied(spec: NotificationSpec, state: NotificationState, receipt: Receipt): void;
  /** A receipt found no notification that it fits, for as long as receipts wait. */
  receiptDropped(receipt: { readonly id: string; readonly kind: ReceiptKind; readonly provider: string }): void;
  /** Somebody called that is not the provider, or not now. Nothing was changed. */
  callbackRefused(provider: string, why: string): void;
  callbackFailed(provider: string, error: unknown): void;
  /** A worker went away between claim and settle: whether the message left is unknown. */
  workerLost(spec: NotificationSpec, state: NotificationState): void;
  /** A step of the delivery of one notification threw what nobody expected. */
  deliveryFailed(id: string, error: unknown): void;
  /** A hint that cannot be read was dropped; its row brings itself back. */
  invalidJob(error: unknown): void;
  /** A read or write failed; `step` says what it was for. */
  storeFailed(step: string, error: unknown): void;
  feedAppendFailed(error: unknown): void;
  /** Work of queue, feed or store behind the pipeline failed; it is repeated. */
  backgroundFailed(error: unknown): void;
  /** To be called once when it happens, not for every try. */
  queueUnreachable(error: unknown): void;
  queueBack(): void;
  schedulerFailed(error: unknown): void;
  schedulerLeads(leads: boolean): void;
  /** A call ended by a fault of the service's own; the caller was not told the cause. */
  callFailed(call: CallFacts, error: CarillonError): void;
  /** A changed template cannot be used; the last good ones stay in use. */
  templatesFailed(error: unknown): void;
  shutdownStarted(signal: string): void;
  shutdownEnded(durationMs: number): void;
}

/** A failure that comes back with every retry is logged this often, with the number of those left out. */
const REPEATED_EVERY_MS = 10_000;

/** @param now milliseconds; monotonic or not does not matter */
export function createEvents(log: Log, now: () => number = Date.now): Events {
  const seldom = createThrottle(log, now);
  return {
    started: (facts) => log.info({ event: 'started', ...facts }, 'carillon is ready'),
    accepted: (spec, state) => log.debug({ event: 'accepted', ...about(spec), ...where(state) }, 'accepted'),
    settled: (spec, state) => {
      const fields = { event: 'settled', ...about(spec), ...where(state), run: state.run, attempt: state.attempt };
      if (state.status === 'failed') log.warn(fields, 'failed for good');
      else log.debug(fields, 'settled');
    },
    attemptEnded: (spec, provider, results, durationMs) => {
      const outcomes = results.map(({ result }) => result.outcome);
      const codes = results.map(({ result }) => result.code ?? '');
      const fields = { event: 'attempt_ended', ...about(spec), provider, outcomes, codes, durationMs };
      if (outcomes.every((outcome) => outcome === 'sent')) log.debug(fields, 'a provider took it');
      else if (outcomes.includes('provider_error')) log.warn(fields, 'a provider refuses this service');
      else log.info(fields, 'an attempt did not reach every target');
    },
    circuitOpened: ({ channel, name }, openMs) =>
      log.warn({ event: 'circuit_opened', channel, provider: name, openMs }, 'a provider is left alone for a while'),
    circuitClosed: ({ channel, name }) =>
      log.info({ event: 'circuit_closed', channel, provider: name }, 'a provider works again'),
    quotaUsed: (route, until) =>
      log.warn({ event: 'quota_used', route, until: new Date(until).toISOString() }, 'a quota is used up for today'),
    receiptApplied: (spec, state, { kind, provider }) =>
      log.debug({ event: 'receipt_applied', ...about(spec), ...where(state), kind, provider }, 'a provider reported'),
    receiptDropped: ({ id, kind, provider }) =>
      log.warn({ event: 'receipt_dropped', receipt: id, kind, provider }, 'a report fits no notification'),
    // Anybody can call, as often as they like.
    callbackRefused: (provider, why) =>
      seldom(
        `callback_refused ${provider}`,
        { event: 'callback_refused', provider, why },
        undefined,
        'a callback was refused; it changed nothing',
      ),
    callbackFailed: (provider, error) =>
      log.error({ event: 'callback_failed', provider, err: describeError(error) }, 'a callback could not be taken'),
    workerLost: (spec, state) =>
      log.warn(
        { event: 'worker_lost', ...about(spec), ...where(state) },
        'a worker went away while it sent: the outcome is unknown',
      ),
    deliveryFailed: (id, error) =>
      log.error({ event: 'delivery_failed', id, err: describeError(error) }, 'a delivery broke off'),
    invalidJob: (error) =>
      log.error({ event: 'invalid_job', err: describeError(error) }, 'dropped a job that cannot be read'),
    storeFailed: (step, error) =>
      seldom(`store_failed ${step}`, { event: 'store_failed', step }, error, 'the store failed'),
    feedAppendFailed: (error) => seldom('feed_failed', { event: 'feed_failed' }, error, 'the status feed failed'),
    backgroundFailed: (error) =>
      seldom(
        'background_failed',
        { event: 'background_failed' },
        error,
        'work in the background failed; it is repeated',
      ),
    queueUnreachable: (error) =>
      log.warn(
        { event: 'queue_unreachable', err: describeError(error) },
        'the queue is unreachable; accepting goes on',
      ),
    queueBack: () => log.info({ event: 'queue_back' }, 'the queue is back'),
    schedulerFailed: (error) =>
      seldom('scheduler_failed', { event: 'scheduler_failed' }, error, 'the scheduler failed'),
    schedulerLeads: (leads) =>
      log.info({ event: 'scheduler_leads', leads }, leads ? 'this process schedules' : 'another process schedules'),
    callFailed: (call, error) => {
      const { method, protocol, tenant } = call;
      const fields = { event: 'call_failed', method, protocol, tenant };
      const message = 'a call failed inside the service';
      if (error.reason === 'INTERNAL') log.error({ ...fields, err: describeError(error) }, message);
      // What is away is away for every call.
      else seldom(`call_failed ${error.reason}`, fields, error, message);
    },
    templatesFailed: (error) =>
      log.error({ event: 'templates_failed', err: describeError(error) }, 'the changed templates cannot be used'),
    shutdownStarted: (signal) => log.info({ event: 'shutdown_started', signal }, 'stopping'),
    shutdownEnded: (durationMs) => log.info({ event: 'shutdown_ended', durationMs }, 'stopped'),
  };
}

function about(spec: NotificationSpec): Record<string, unknown> {
  const { id, tenant, groupId, channel, priority, type } = spec;
  return { id, tenant, groupId, channel, priority, type };
}

function where(state: NotificationState): Record<string, unknown> {
  return { status: state.status, ...(state.reason ? { reason: state.reason } : {}) };
}

function createThrottle(
  log: Log,
  now: () => number,
): (name: string, fields: Record<string, unknown>, error: unknown, message: string) => void {
  const last = new Map<string, { at: number; leftOut: number }>();
  return (name, fields, error, message) => {
    const before = last.get(name);
    if (before && now() - before.at < REPEATED_EVERY_MS) {
      before.leftOut += 1;
      return;
    }
    last.set(name, { at: now(), leftOut: 0 });
    const err = error === undefined ? {} : { err: describeError(error) };
    log.warn({ ...fields, leftOut: before?.leftOut ?? 0, ...err }, message);
  };
}
