/**
 * One job, from its row to the answer of a provider and back into the row:
 * decide → render → rate token → claim → send (with fail-over) → settle.
 * Until the claim nothing is written, so a crash before it costs nothing. From the claim on the row is under a lease.
 */
import type { Clock } from '../domain/clock.ts';
import { SECOND } from '../domain/clock.ts';
import { providerKey } from '../domain/id.ts';
import type { Random } from '../domain/id.ts';
import { isFinal, openTargets } from '../domain/notification.ts';
import type { Channel, Notification, RenderedContent, RetryPolicy } from '../domain/notification.ts';
import type { BackoffOptions } from '../domain/retry.ts';
import { cancelled, claim, countStart, failOver, failed, wait } from '../domain/transitions.ts';
import { CarillonError, isUnavailable } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Message, Provider, SendResult } from '../providers/provider.ts';
import type { Answer, Job } from '../queue/queue.ts';
import { ABORT_GRACE, callProvider } from './call.ts';
import { decide } from './decide.ts';
import type { Limiter } from './limit.ts';
import { RenderError } from './render-error.ts';
import type { Rows } from './rows.ts';
import { MAX_NAK, absorb, holdUntil, holdsLease, retryAfter, settle } from './settle.ts';
import type { Report, SettleContext, TargetResult } from './settle.ts';
import { SUSPICIOUS_DELIVERIES } from './worker.ts';

/** Starts of a suspicious job, each ended by the death of its worker, before the row is POISONED. */
const MAX_STARTS = 5;
/** From this delivery on a retry is left to the row, so that retries alone never make a job look suspicious. */
const MAX_NAKED_DELIVERIES = 15;
/** How far clocks may differ, and how long an aborted call may take to end. The lease outlives the attempt by more. */
export const SKEW = 15 * SECOND;
const STORE_RETRY = SECOND;

export interface DelivererOptions {
  readonly rows: Rows;
  readonly limiter: Limiter;
  readonly providers: (channel: Channel) => readonly Provider[];
  readonly render: (row: Notification, now: number) => RenderedContent;
  readonly compose: (row: Notification, rendered: RenderedContent, target: number) => Promise<Message>;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: Events;
  readonly backoff: BackoffOptions;
  readonly webhookRetry?: RetryPolicy;
  /** All providers of an attempt together, milliseconds. */
  readonly attemptDeadline: number;
  /** Longer than `attemptDeadline` + SKEW. */
  readonly lease: number;
  /** Aborts the calls under way when the process cannot wait for them any longer. */
  readonly signal: AbortSignal;
}

export interface Delivered {
  readonly answer: Answer;
  /** The channel has no rate token before then. */
  readonly pauseUntil?: number;
}

/** All that is needed to send, made before the claim. */
interface Prepared {
  readonly rendered: RenderedContent;
  readonly messages: ReadonlyMap<number, Message>;
  readonly providers: readonly [Provider, ...Provider[]];
}

const DONE: Delivered = { answer: 'done' };

export class Deliverer {
  readonly #options: DelivererOptions;
  /** Settles that could not be written yet. While there are any, nothing is claimed. */
  #stuck = 0;
  /** Calls that outlived their attempt; a late `sent` still counts. */
  readonly #late = new Set<Promise<void>>();

  readonly #attempts = new Set<AbortController>();

  constructor(options: DelivererOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => this.#attempts.forEach((attempt) => attempt.abort()), {
      once: true,
    });
  }

  async deliver(job: Job, found: Notification | undefined): Promise<Delivered> {
    const now = this.#options.clock.now();
    // A row under a live lease comes back by its own `wakeAt`.
    if (!found || isFinal(found.state.status) || found.state.status === 'processing') return DONE;
    const early = found.state.dueAt - now;
    if (early > 0) return early <= MAX_NAK ? { answer: { later: early } } : DONE;
    const row = job.deliveries >= SUSPICIOUS_DELIVERIES ? await this.#countStart(found, now) : found;
    if (!row) return DONE;

    const prepared = await this.#prepare(row, job, now);
    if ('answer' in prepared) return prepared;
    const claimed = await this.#claim(row, prepared);
    // A job that this process has no time left for goes back; a row that another has won, or that is lost, is not ours.
    if (!claimed) return this.#options.signal.aborted ? { answer: { later: 0 } } : DONE;
    const settled = await this.#attempt(claimed, prepared, job);
    return { answer: this.#answerFor(settled) };
  }

  /** Waits for calls that outlived their attempts, but not for ever: one that never ends must not keep the process. */
  async drained(): Promise<void> {
    const waited = new AbortController();
    await Promise.race([Promise.all(this.#late), this.#options.clock.sleep(ABORT_GRACE, waited.signal)]);
    waited.abort();
  }

  #context(job: Job): SettleContext {
    const { clock, random, backoff, webhookRetry, signal } = this.#options;
    return {
      now: clock.now(),
      fraction: random.fraction(),
      backoff,
      ...(webhookRetry && { webhookRetry }),
      hasJob: job.deliveries < MAX_NAKED_DELIVERIES,
      stopping: signal.aborted,
    };
  }

  /** The count is written before anything else is tried: if this kills the process too, the row knows. */
  async #countStart(row: Notification, now: number): Promise<Notification | undefined> {
    const poisoned = row.state.starts + 1 >= MAX_STARTS;
    const next = poisoned ? failed(row, 'poisoned', now) : countStart(row, now);
    const won = await this.#options.rows.writeOne(row, next);
    if (won && poisoned) this.#options.events.settled(next.spec, next.state);
    return won && !poisoned ? next : undefined;
  }

  async #prepare(row: Notification, job: Job, now: number): Promise<Prepared | Delivered> {
    const [first, ...others] = this.#providersFor(row);
    const verdict = decide(row.spec, { now, hasProvider: first !== undefined });
    if (verdict.verdict === 'cancel') return this.#end(row, cancelled(row, verdict.reason, now));
    if (verdict.verdict === 'fail') return this.#end(row, failed(row, verdict.reason, now));
    if (verdict.verdict === 'hold') {
      const { reason, until } = verdict;
      return this.#end(row, wait(row, { reason, dueAt: until, naked: false }, now));
    }
    if (!first) return this.#end(row, failed(row, 'no_provider', now));

    const open = openTargets(row.state.targets);
    const content = await this.#content(row, open, now);
    if (typeof content === 'string') return this.#end(row, failed(row, 'render_failed', now, { detail: content }));

    const retryAt = await this.#options.limiter.take(row.spec.channel, open.length);
    if (retryAt === undefined) return { ...content, providers: [first, ...others] };
    const dueAt = this.#options.limiter.lineUp(row.spec.channel, retryAt);
    const held = holdUntil(row, 'rate_limited', dueAt, this.#context(job));
    return { ...(await this.#end(row, held)), pauseUntil: retryAt };
  }

  /** What is sent to each open target, or what is wrong with the template and its data. */
  async #content(
    row: Notification,
    open: readonly number[],
    now: number,
  ): Promise<Pick<Prepared, 'rendered' | 'messages'> | string> {
    const { render, compose } = this.#options;
    try {
      const rendered = render(row, now);
      const messages = new Map<number, Message>();
      for (const target of open) messages.set(target, await compose(row, rendered, target));
      return { rendered, messages };
    } catch (thrown) {
      if (thrown instanceof RenderError) return thrown.message;
      throw thrown;
    }
  }

  /** In the configured order; after an unknown outcome the provider that may have taken the message goes first. */
  #providersFor(row: Notification): readonly Provider[] {
    const providers = this.#options.providers(row.spec.channel);
    const { run, targets } = row.state;
    // Whatever was answered since, that call may still have been taken.
    const sticky = row.state.attempts.findLast(
      (a) =>
        a.run === run && a.results.some((r) => r.outcome === 'unknown' && targets[r.target]?.outcome === undefined),
    );
    if (!sticky) return providers;
    const same = providers.filter((p) => p.name === sticky.provider);
    return [...same, ...providers.filter((p) => p.name !== sticky.provider)];
  }

  /** Writes an end, or a wait, that needs no provider call. Who lost the race leaves the row to the winner. */
  async #end(row: Notification, next: Notification): Promise<Delivered> {
    if (!(await this.#options.rows.writeOne(row, next))) return DONE;
    if (isFinal(next.state.status)) this.#options.events.settled(next.spec, next.state);
    return { answer: this.#answerFor(next) };
  }

  #answerFor(row: Notification): Answer {
    const { status, naked, dueAt } = row.state;
    if (status !== 'pending' || !naked) return 'done';
    return { later: Math.min(MAX_NAK, Math.max(0, dueAt - this.#options.clock.now())) };
  }

  async #claim(row: Notification, { rendered, providers }: Prepared): Promise<Notification | undefined> {
    const { clock, random, rows, events } = this.#options;
    while (this.#stuck > 0 && !this.#options.signal.aborted) await clock.sleep(STORE_RETRY / 10, this.#options.signal);
    if (this.#options.signal.aborted) return undefined;
    const now = clock.now();
    const lease = { id: random.lease(), until: now + this.#options.lease };
    const claimed = claim(row, lease, providers[0].name, now);
    try {
      if (await rows.writeOne(row, claimed, rendered)) return claimed;
    } catch (thrown) {
      if (!isUnavailable(thrown)) throw thrown;
      events.storeFailed('claim', thrown);
    }
    // Another was faster, or the write took place and its answer was lost: the lease in the row tells.
    const current = await this.#read(row.spec.id, lease.until - SKEW);
    if (!current || !holdsLease(current, lease.id)) return undefined;
    rows.adopt(current);
    return current;
  }

  /** Reads a row however long the store is away, until a time; undefined past it. */
  async #read(id: string, until: number): Promise<Notification | undefined> {
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

  /** Calls the providers in order until none of the open targets can be moved on to the next one. */
  async #attempt(claimed: Notification, prepared: Prepared, job: Job): Promise<Notification> {
    const { attemptDeadline, clock } = this.#options;
    const attempt = new AbortController();
    const ended = Promise.withResolvers<void>();
    // The claim may have taken long: whatever is left of the lease, the calls end before it does.
    const left = (claimed.state.lease?.until ?? 0) - SKEW - clock.now();
    const timer = setTimeout(() => attempt.abort(), Math.max(0, Math.min(attemptDeadline, left)));
    this.#attempts.add(attempt);
    try {
      const { signal } = attempt;
      return await this.#tryProviders(claimed, { prepared, job, signal, ended: ended.promise });
    } finally {
      clearTimeout(timer);
      this.#attempts.delete(attempt);
      ended.resolve();
    }
  }

  async #tryProviders(claimed: Notification, attempt: AttemptCall): Promise<Notification> {
    const { prepared, job, signal } = attempt;
    let row = claimed;
    let targets: readonly number[] = openTargets(row.state.targets);
    let retryAfterMs = 0;
    for (const [index, provider] of prepared.providers.entries()) {
      const report = { ...(await this.#call(row, provider, targets, attempt)), retryAfterMs };
      retryAfterMs = retryAfter(report);
      const next = prepared.providers[index + 1];
      const movable = signal.aborted ? [] : report.results.filter(canFailOver).map((r) => r.target);
      const moved =
        next && movable.length > 0
          ? await this.#moveOn(row, report, { provider: next.name, targets: movable })
          : undefined;
      if (!moved) return this.#settle(row, report, job);
      row = moved;
      targets = movable;
    }
    throw new Error('the last provider has no next one to move on to');
  }

  /** Writes the next provider before it is called; undefined when the attempt must end here. */
  async #moveOn(
    before: Notification,
    report: Report,
    next: { readonly provider: string; readonly targets: readonly number[] },
  ): Promise<Notification | undefined> {
    const { clock, rows, events } = this.#options;
    let row: Notification | undefined = before;
    while (row && holdsLease(row, report.leaseId) && !row.state.cancelRequested) {
      const after = failOver(row, absorb(row, report), next, clock.now());
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

  async #call(
    row: Notification,
    provider: Provider,
    targets: readonly number[],
    attempt: AttemptCall,
  ): Promise<Report> {
    const { clock, events } = this.#options;
    const startedAt = clock.now();
    const reportOf = (results: readonly TargetResult[]): Report => ({
      leaseId: row.state.lease?.id ?? '',
      run: row.state.run,
      number: row.state.attempt,
      provider: provider.name,
      endedAt: clock.now(),
      results,
    });
    const results = await Promise.all(
      targets.map(async (target) => {
        const late = (result: SendResult): Promise<unknown> =>
          this.#settle(row, reportOf([{ target, result }]), attempt.job);
        return { target, result: await this.#send(row, provider, target, attempt, late) };
      }),
    );
    events.attemptEnded(row.spec, provider.name, results, clock.now() - startedAt);
    return reportOf(results);
  }

  async #send(
    { spec, state }: Notification,
    provider: Provider,
    target: number,
    { prepared, signal, ended }: AttemptCall,
    settleLate: (result: SendResult) => Promise<unknown>,
  ): Promise<SendResult> {
    const { clock } = this.#options;
    const message = prepared.messages.get(target);
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
  async #settle(before: Notification, report: Report, job: Job): Promise<Notification> {
    const { rows, events, clock, signal } = this.#options;
    let row = before;
    let stuck = false;
    try {
      for (;;) {
        const next = settle(row, report, this.#context(job));
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
          row = (await this.#read(row.spec.id, Infinity)) ?? row;
        }
      }
    } finally {
      if (stuck) this.#stuck--;
    }
  }
}

interface AttemptCall {
  readonly prepared: Prepared;
  readonly job: Job;
  readonly signal: AbortSignal;
  /** Resolves when the attempt has settled. */
  readonly ended: Promise<void>;
}

const notCalled = (code: string): SendResult => ({ outcome: 'temporary_failure', providerDown: false, code });

/** The fault is the provider's own, and it has not taken the message for sure. */
function canFailOver({ result }: TargetResult): boolean {
  return result.outcome === 'provider_error' || (result.outcome === 'temporary_failure' && result.providerDown);
}
