/**
 * One job, from its row to the answer of a provider and back into the row:
 * decide → render → rate token → route → claim → send (with fail-over) → settle.
 * Until the claim nothing is written, so a crash before it costs nothing. From the claim on the row is under a lease.
 */
import { SECOND } from '../domain/clock.ts';
import type { Random } from '../domain/id.ts';
import { isFinal, openTargets } from '../domain/notification.ts';
import type { Notification, RenderedContent, RetryPolicy } from '../domain/notification.ts';
import type { BackoffOptions } from '../domain/retry.ts';
import { cancelled, claim, countStart, failed, wait } from '../domain/transitions.ts';
import { isUnavailable } from '../errors.ts';
import type { Message } from '../providers/provider.ts';
import type { Answer, Job } from '../queue/queue.ts';
import { Attempter, SKEW } from './attempt.ts';
import type { AttempterOptions, AttemptPlan } from './attempt.ts';
import { assess } from './decide.ts';
import type { Limiter } from './limit.ts';
import { RenderError } from './render-error.ts';
import { toPlanned } from './route.ts';
import type { Plan } from './route.ts';
import { MAX_NAK, giveUp, holdUntil, holdsLease } from './settle.ts';
import type { SettleContext } from './settle.ts';
import { withStopped } from './suppress.ts';
import type { Suppressor } from './suppress.ts';
import { SUSPICIOUS_DELIVERIES } from './worker.ts';

/** Starts of a suspicious job, each ended by the death of its worker, before the row is POISONED. */
const MAX_STARTS = 5;
/** From this delivery on a retry is left to the row, so that retries alone never make a job look suspicious. */
const MAX_NAKED_DELIVERIES = 15;
const STUCK_POLL = SECOND / 10;
/** A channel whose providers are all blocked is asked again after this long. */
const MAX_PAUSE = 30 * SECOND;

export interface DelivererOptions extends AttempterOptions {
  /** Of the channels. */
  readonly limiter: Limiter;
  readonly suppressor: Suppressor;
  readonly render: (row: Notification, now: number) => RenderedContent;
  readonly compose: (row: Notification, rendered: RenderedContent, target: number) => Promise<Message>;
  readonly random: Random;
  readonly backoff: BackoffOptions;
  readonly webhookRetry?: RetryPolicy;
  /** Longer than `attemptDeadline` + SKEW, milliseconds. */
  readonly lease: number;
  /** Told each row that a provider call has settled. Must not throw. */
  readonly onSettled: (row: Notification) => void;
}

export interface Delivered {
  readonly answer: Answer;
  /** Nothing of the channel can be sent before then. */
  readonly pauseUntil?: number;
}

/** All that is needed to send, made before the claim. */
interface Prepared extends Pick<AttemptPlan, 'calls' | 'waiting' | 'messages'> {
  /** With the targets closed that are not to be called; not written yet. */
  readonly row: Notification;
  readonly rendered: RenderedContent;
}

const DONE: Delivered = { answer: 'done' };

export class Deliverer {
  readonly #options: DelivererOptions;
  readonly #attempter: Attempter;

  constructor(options: DelivererOptions) {
    this.#options = options;
    this.#attempter = new Attempter(options);
  }

  async deliver(job: Job, found: Notification | undefined): Promise<Delivered> {
    const { clock, signal, onSettled } = this.#options;
    const now = clock.now();
    // A row under a live lease comes back by its own `wakeAt`.
    if (!found || isFinal(found.state.status) || found.state.status === 'processing') return DONE;
    const early = found.state.dueAt - now;
    if (early > 0) return early <= MAX_NAK ? { answer: { later: early } } : DONE;
    const row = job.deliveries >= SUSPICIOUS_DELIVERIES ? await this.#countStart(found, now) : found;
    if (!row) return DONE;

    const prepared = await this.#prepare(row, job, now);
    if ('answer' in prepared) return prepared;
    const claimed = await this.#claim(prepared);
    // A job that this process has no time left for goes back; a row that another has won, or that is lost, is not ours.
    if (!claimed) return signal.aborted ? { answer: { later: 0 } } : DONE;
    const settled = await this.#attempter.run(claimed, { ...prepared, context: () => this.#context(job) });
    onSettled(settled);
    return { answer: this.#answerFor(settled) };
  }

  async drained(): Promise<void> {
    await this.#attempter.drained();
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

  async #prepare(found: Notification, job: Job, now: number): Promise<Prepared | Delivered> {
    const asked = openTargets(found.state.targets);
    const addresses = asked.map((target) => found.state.targets[target]?.address ?? '');
    const { verdict, stops } = await assess(found.spec, addresses, now, this.#options);
    const row = withStopped(found, asked, stops);
    const open = openTargets(row.state.targets);
    const end = (otherwise: () => Notification): Promise<Delivered> =>
      this.#end(row, giveUp(row, row.state, now, otherwise));
    if (verdict.verdict === 'cancel') return end(() => cancelled(row, verdict.reason, now));
    if (verdict.verdict === 'fail') return end(() => failed(row, verdict.reason, now));
    if (verdict.verdict === 'hold') {
      const { reason, until } = verdict;
      return this.#end(row, wait(row, { reason, dueAt: until, naked: false }, now));
    }
    const content = await this.#content(row, open, now);
    if (typeof content === 'string') return end(() => failed(row, 'render_failed', now, { detail: content }));
    return (await this.#limited(row, open, job)) ?? (await this.#routed(row, open, content, job));
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

  /** Takes the channel's tokens; where there are none, the row waits for its turn. */
  async #limited(row: Notification, open: readonly number[], job: Job): Promise<Delivered | undefined> {
    const { limiter } = this.#options;
    const { channel } = row.spec;
    const retryAt = await limiter.take(channel, open.length);
    if (retryAt === undefined) return undefined;
    const held = holdUntil(row, 'rate_limited', limiter.lineUp(channel, retryAt), this.#context(job));
    return { ...(await this.#end(row, held)), pauseUntil: retryAt };
  }

  async #routed(
    row: Notification,
    open: readonly number[],
    content: Pick<Prepared, 'rendered' | 'messages'>,
    job: Job,
  ): Promise<Prepared | Delivered> {
    const { router } = this.#options;
    const plan = await router.plan(row, open, () => new Set());
    if (plan.calls.length > 0) return { ...content, ...plan, row: withoutProvider(row, plan) };
    const { waiting } = plan;
    const reason = waiting.every((w) => w.reason === 'route_down') ? 'route_down' : 'rate_limited';
    const until = Math.min(...waiting.map((w) => w.until));
    const held = holdUntil(row, reason, until, this.#context(job));
    const blockedUntil = router.blockedUntil(row.spec.channel);
    // Not for long: a late answer may show that the provider works, and what expires wants to be ended.
    const pauseUntil = blockedUntil && Math.min(blockedUntil, this.#options.clock.now() + MAX_PAUSE);
    return { ...(await this.#end(row, held)), ...(pauseUntil !== undefined && { pauseUntil }) };
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

  async #claim({ row, rendered, calls }: Prepared): Promise<Notification | undefined> {
    const { clock, random, rows, events, signal } = this.#options;
    while (this.#attempter.isStuck && !signal.aborted) await clock.sleep(STUCK_POLL, signal);
    if (signal.aborted) return undefined;
    const now = clock.now();
    const lease = { id: random.lease(), until: now + this.#options.lease };
    const claimed = claim(row, lease, calls.map(toPlanned), now);
    try {
      if (await rows.writeOne(row, claimed, rendered)) return claimed;
    } catch (thrown) {
      if (!isUnavailable(thrown)) throw thrown;
      events.storeFailed('claim', thrown);
    }
    // Another was faster, or the write took place and its answer was lost: the lease in the row tells.
    const current = await this.#attempter.read(row.spec.id, lease.until - SKEW);
    if (!current || !holdsLease(current, lease.id)) return undefined;
    rows.adopt(current);
    return current;
  }
}

/** A target that none of the channel's providers can serve, such as another kind of device, is given up. */
function withoutProvider(row: Notification, { unserved }: Plan): Notification {
  if (unserved.length === 0) return row;
  const targets = row.state.targets.map((target, index) =>
    unserved.includes(index) ? { ...target, outcome: 'permanent_failure' as const } : target,
  );
  return { ...row, state: { ...row.state, targets } };
}
