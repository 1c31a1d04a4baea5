/**
 * One attempt of a claimed row: calls the planned providers, moves targets on to the next ones where that may be done, and
 * settles. Whatever comes of a call is written before anything else is done with the row.
 */
import type { Clock } from '../domain/clock.ts';
import { SECOND } from '../domain/clock.ts';
import { providerKey } from '../domain/id.ts';
import { openTargets } from '../domain/notification.ts';
import type { Notification } from '../domain/notification.ts';
import { failOver } from '../domain/transitions.ts';
import { CarillonError, isUnavailable } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Message, Provider, SendResult } from '../providers/provider.ts';
import { ABORT_GRACE, callProvider } from './call.ts';
import { toPlanned } from './route.ts';
import type { ProviderCall, Router } from './route.ts';
import type { Rows } from './rows.ts';
import { absorb, holdsLease, retryAfter, settle } from './settle.ts';
import type { Report, SettleContext, TargetResult, Told, Waiting } from './settle.ts';

/** How far clocks may differ, and how long an aborted call may take to end. The lease outlives the attempt by more. */
export const SKEW = 15 * SECOND;
const STORE_RETRY = SECOND;

export interface AttempterOptions {
  readonly rows: Rows;
  readonly router: Router;
  readonly clock: Clock;
  readonly events: Events;
  /** All providers of an attempt together, milliseconds. */
  readonly attemptDeadline: number;
  /** Remembers what a provider said of an address for good. Never throws. */
  readonly suppressFrom: (row: Notification, provider: string, target: number, result: SendResult) => Promise<void>;
  /** Aborts the calls under way when the process cannot wait for them any longer. */
  readonly signal: AbortSignal;
}

export interface AttemptPlan {
  readonly calls: readonly ProviderCall[];
  readonly waiting: readonly Waiting[];
  /** One for each target of the calls. */
  readonly messages: ReadonlyMap<number, Message>;
  /** Asked for at each settle: the time it has taken counts. */
  readonly context: () => SettleContext;
}

interface Running extends AttemptPlan {
  readonly signal: AbortSignal;
  /** Resolves when the attempt has settled. */
  readonly ended: Promise<void>;
}

/** Why a call was broken off; its code stands in the attempt. */
const broken = (code: 'shutdown' | 'attempt_deadline', message: string): Error =>
  Object.assign(new Error(message), { code });
const stopping = (): Error => broken('shutdown', 'the process is stopping');
const overdue = (): Error => broken('attempt_deadline', 'the time for all providers of an attempt was over');

export class Attempter {
  readonly #options: AttempterOptions;
  /** Settles that could not be written yet. While there are any, nothing is to be claimed. */
  #stuck = 0;
  /** Calls that outlived their attempt; a late `sent` still counts. */
  readonly #late = new Set<Promise<void>>();
  readonly #attempts = new Set<AbortController>();

  constructor(options: AttempterOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => this.#attempts.forEach((attempt) => attempt.abort(stopping())), {
      once: true,
    });
  }

  get isStuck(): boolean {
    return this.#stuck > 0;
  }

  /** Waits for calls that outlived their attempts, but not for ever: one that never ends must not keep the process. */
  async drained(): Promise<void> {
    const waited = new AbortController();
    await Promise.race([Promise.all(this.#late), this.#options.clock.sleep(ABORT_GRACE, waited.signal)]);
    waited.abort();
  }

  /** Calls the providers until no open target can be moved on to another one; answers the row as it was settled. */
  async run(claimed: Notification, plan: AttemptPlan): Promise<Notification> {
    const { attemptDeadline, clock } = this.#options;
    const attempt = new AbortController();
    const ended = Promise.withResolvers<void>();
    // The claim may have taken long: whatever is left of the lease, the calls end before it does.
    const left = (claimed.state.lease?.until ?? 0) - SKEW - clock.now();
    const timer = setTimeout(() => attempt.abort(overdue()), Math.max(0, Math.min(attemptDeadline, left)));
    this.#attempts.add(attempt);
    // While the claim was written, the process may have lost its patience.
    if (this.#options.signal.aborted) attempt.abort(stopping());
    try {
      return await this.#rounds(claimed, { ...plan, signal: attempt.signal, ended: ended.promise });
    } finally {
      clearTimeout(timer);
      this.#attempts.delete(attempt);
      ended.resolve();
    }
  }

  async #rounds(claimed: Notification, attempt: Running): Promise<Notification> {
    const { waiting, signal } = attempt;
    const tried = new Map<number, Set<string>>();
    let row = claimed;
    let { calls } = attempt;
    let retryAfterMs = 0;
    for (;;) {
      for (const { provider, targets } of calls) {
        for (const target of targets) tried.set(target, (tried.get(target) ?? new Set()).add(provider.name));
      }
      const report = { ...(await this.#call(row, calls, attempt)), waiting, retryAfterMs };
      retryAfterMs = retryAfter(report);
      const movable = signal.aborted ? [] : movableTargets(calls, report);
      const next = await this.#nextCalls(row, movable, tried);
      const moved = next.length > 0 ? await this.#moveOn(row, report, next) : undefined;
      if (!moved) return this.#settle(row, report, attempt);
      row = moved;
      calls = next;
    }
  }

  /** Who is asked next; nobody when that cannot be found out: what was told so far must not be lost for it. */
  async #nextCalls(
    row: Notification,
    targets: readonly number[],
    tried: ReadonlyMap<number, ReadonlySet<string>>,
  ): Promise<readonly ProviderCall[]> {
    try {
      const plan = await this.#options.router.plan(row, targets, (target) => tried.get(target) ?? new Set());
      return plan.calls;
    } catch (thrown) {
      this.#options.events.storeFailed('plan', CarillonError.from(thrown));
      return [];
    }
  }

  /** Writes the next providers before they are called; undefined when the attempt must end here. */
  async #moveOn(
    before: Notification,
    report: Report,
    calls: readonly ProviderCall[],
  ): Promise<Notification | undefined> {
    const { clock, rows, events } = this.#options;
    let row: Notification | undefined = before;
    const targets = calls.flatMap((call) => call.targets);
    while (row && holdsLease(row, report.leaseId) && !row.state.cancelRequested) {
      // A late answer of an earlier attempt may have closed one of them meanwhile.
      const open = openTargets(row.state.targets);
      if (!targets.every((target) => open.includes(target))) return undefined;
      const after = failOver(row, absorb(row, report), calls.map(toPlanned), clock.now());
      try {
        if (await rows.writeOne(row, after)) return after;
        row = await rows.get(row.spec.id);
      } catch (thrown) {
        // The settle that follows repeats until the store is back.
        events.storeFailed('fail over', CarillonError.from(thrown));
        return undefined;
      }
    }
    return undefined;
  }

  async #call(row: Notification, calls: readonly ProviderCall[], attempt: Running): Promise<Report> {
    const told = await Promise.all(calls.map((call) => this.#callOne(row, call, attempt)));
    return reportOf(row, told);
  }

  async #callOne(row: Notification, { provider, targets }: ProviderCall, attempt: Running): Promise<Told> {
    const { clock, events, router, suppressFrom } = this.#options;
    const startedAt = clock.now();
    const toldOf = (results: readonly TargetResult[]): Told => ({
      provider: provider.name,
      endedAt: clock.now(),
      results,
    });
    const results = await Promise.all(
      targets.map(async (target) => {
        const late = (result: SendResult): Promise<unknown> =>
          this.#settle(row, reportOf(row, [toldOf([{ target, result }])]), attempt);
        return { target, result: await this.#send(row, provider, target, attempt, late) };
      }),
    );
    events.attemptEnded(row.spec, provider.name, results, clock.now() - startedAt);
    router.told(provider, results, {
      startedAt,
      aborted: this.#options.signal.aborted,
      // A sender that the caller chose may be what the provider refuses.
      ownSender: row.spec.email?.from !== undefined || row.spec.sms?.from !== undefined,
    });
    await Promise.all(results.map((r) => suppressFrom(row, provider.name, r.target, r.result)));
    return toldOf(results);
  }

  async #send(
    { spec, state }: Notification,
    provider: Provider,
    target: number,
    { messages, signal, ended }: Running,
    settleLate: (result: SendResult) => Promise<unknown>,
  ): Promise<SendResult> {
    const { clock } = this.#options;
    const message = messages.get(target);
    if (!message || !state.lease) throw new Error('a claimed row has a lease and a message per open target');
    // The process may have been stopped since the claim; near the lease's end another may soon call.
    if (clock.now() >= state.lease.until - SKEW) return notCalled('lease_ended');
    if (spec.expiresAt !== undefined && spec.expiresAt <= clock.now()) return notCalled('expired');
    const call = { key: providerKey(spec.id, state.run, target), signal };
    return callProvider(provider, message, call, clock, (answer) => {
      // The attempt settles first: alone, a late answer for one target would decide for all of them.
      const both = Promise.all([answer, ended]);
      const settled: Promise<void> = both
        .then(([result]) => settleLate(result))
        .then(() => void this.#late.delete(settled));
      this.#late.add(settled);
    });
  }

  /** Writes what the providers said, however often it takes: a settle that is lost is an unknown outcome. */
  async #settle(before: Notification, report: Report, { context }: Running): Promise<Notification> {
    const { rows, events, clock, signal } = this.#options;
    let row = before;
    let stuck = false;
    try {
      for (;;) {
        const next = settle(row, report, context());
        if (!next) return row;
        try {
          if (await rows.writeOne(row, next)) {
            events.settled(next.spec, next.state);
            return next;
          }
          const current = await rows.get(row.spec.id);
          if (!current) return row;
          row = current;
        } catch (thrown) {
          events.storeFailed('settle', CarillonError.from(thrown));
          // What the store refuses for good must not stop every other notification: past the lease it counts as unknown.
          const hopeless = !isUnavailable(thrown) && clock.now() >= (before.state.lease?.until ?? 0);
          if (signal.aborted || hopeless) return row;
          if (!stuck) this.#stuck++;
          stuck = true;
          await clock.sleep(STORE_RETRY, signal);
          row = (await this.read(row.spec.id, Infinity)) ?? row;
        }
      }
    } finally {
      if (stuck) this.#stuck--;
    }
  }

  /** Reads a row however long the store is away, until a time; undefined past it. */
  async read(id: string, until: number): Promise<Notification | undefined> {
    const { clock, rows, events, signal } = this.#options;
    while (clock.now() < until) {
      try {
        return await rows.get(id);
      } catch (thrown) {
        events.storeFailed('find', CarillonError.from(thrown));
        if (signal.aborted) return undefined;
        await clock.sleep(STORE_RETRY, signal);
      }
    }
    return undefined;
  }
}

const reportOf = ({ state }: Notification, calls: readonly Told[]): Report => ({
  leaseId: state.lease?.id ?? '',
  run: state.run,
  number: state.attempt,
  calls,
});

const notCalled = (code: 'lease_ended' | 'expired'): SendResult => ({
  outcome: 'temporary_failure',
  providerDown: false,
  code,
  notAsked: true,
});

/** Not those of a repeat: their earlier call may have been taken, and this provider alone knows its key. */
function movableTargets(calls: readonly ProviderCall[], report: Report): readonly number[] {
  const repeated = new Set(calls.filter(({ choice }) => choice === 'repeat').flatMap(({ targets }) => targets));
  const movable = report.calls.flatMap((call) => call.results.filter(canFailOver).map(({ target }) => target));
  return movable.filter((target) => !repeated.has(target));
}

/** The fault is the provider's own, and it has not taken the message for sure. */
function canFailOver({ result }: TargetResult): boolean {
  return result.outcome === 'provider_error' || (result.outcome === 'temporary_failure' && result.providerDown);
}
