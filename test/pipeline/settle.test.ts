import { expect } from 'chai';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/domain/clock.ts';
import { OUTCOMES } from '../../src/domain/notification.ts';
import type { Notification, NotificationState, Outcome, Target } from '../../src/domain/notification.ts';
import { claim, failOver, failed } from '../../src/domain/transitions.ts';
import { MAX_HOLD, MAX_NAK, absorb, holdUntil, lostLease, settle } from '../../src/pipeline/settle.ts';
import type { Report, SettleContext, Told } from '../../src/pipeline/settle.ts';
import type { SendResult } from '../../src/providers/provider.ts';
import { DEFAULT_BACKOFF, aCall, aCallFor, SAMPLE_TIME, aNotification, withState } from '../support/sample.ts';

const NOW = SAMPLE_TIME + SECOND;
const CONTEXT: SettleContext = { now: NOW, fraction: 0, backoff: DEFAULT_BACKOFF, hasJob: true };

function resultOf(outcome: Outcome, more: { readonly retryAfterMs?: number } = {}): SendResult {
  if (outcome === 'temporary_failure') return { outcome, providerDown: false };
  if (outcome === 'rate_limited') return { outcome, ...more };
  return { outcome };
}

const TAKEN: Target = { address: 'b', outcome: 'sent', provider: 'smtp' };

interface Case {
  readonly outcome: Outcome;
  /** Besides the target that is told of: none, or one that was taken before. */
  readonly multi: boolean;
  readonly policy: 'retry' | 'hold';
  readonly cancelRequested: boolean;
  readonly attemptsLeft: boolean;
}

const bool = [false, true] as const;
const CASES: readonly Case[] = OUTCOMES.flatMap((outcome) =>
  bool.flatMap((multi) =>
    (['retry', 'hold'] as const).flatMap((policy) =>
      bool.flatMap((cancelRequested) =>
        bool.map((attemptsLeft) => ({ outcome, multi, policy, cancelRequested, attemptsLeft })),
      ),
    ),
  ),
);

const nameOf = (c: Case): string =>
  [
    c.outcome,
    c.multi ? 'beside a taken target' : 'alone',
    c.policy,
    ...(c.cancelRequested ? ['cancel requested'] : []),
    c.attemptsLeft ? 'attempts left' : 'last attempt',
  ].join(', ');

function claimedRow({ multi, policy, cancelRequested, attemptsLeft }: Omit<Case, 'outcome'>): Notification {
  const row = aNotification({
    spec: { unknownOutcome: policy },
    state: {
      attempt: attemptsLeft ? 0 : 4,
      cancelRequested,
      targets: [{ address: 'a' }, ...(multi ? [TAKEN] : [])],
    },
  });
  return claim(row, { id: 'mine', until: NOW + 75 * SECOND }, [aCall()], SAMPLE_TIME);
}

function reportOf(row: Notification, ...results: readonly (readonly [number, SendResult])[]): Report {
  return {
    leaseId: 'mine',
    run: row.state.run,
    number: row.state.attempt,
    calls: [toldBy('smtp', ...results)],
  };
}

function toldBy(provider: string, ...results: readonly (readonly [number, SendResult])[]): Told {
  return { provider, endedAt: NOW, results: results.map(([target, result]) => ({ target, result })) };
}

/** What DESIGN promises for an answer that comes while the lease is held: status and reason. */
function promised(c: Case): string {
  const closes =
    ['sent', 'permanent_failure', 'invalid_recipient'].includes(c.outcome) ||
    (c.outcome === 'unknown' && c.policy === 'hold');
  if (c.outcome === 'sent' || (c.multi && (closes || c.cancelRequested))) return 'sent';
  if (c.cancelRequested) return 'cancelled cancelled_by_caller';
  if (c.outcome === 'permanent_failure') return 'failed rejected';
  if (c.outcome === 'invalid_recipient') return 'failed invalid_recipient';
  if (closes) return 'failed outcome_unknown';
  if (c.outcome === 'rate_limited') return 'pending rate_limited';
  if (c.attemptsLeft) return 'pending retrying';
  return c.multi ? 'sent' : 'failed attempts_exhausted';
}

const said = ({ status, reason }: NotificationState): string => [status, reason].filter(Boolean).join(' ');

function settled(row: Notification, report: Report, context: SettleContext = CONTEXT): NotificationState {
  const next = settle(row, report, context);
  if (!next) throw new Error('nothing was said');
  return next.state;
}

describe('settle with the lease', () => {
  for (const c of CASES) {
    it(`${nameOf(c)}: ${promised(c)}`, () => {
      const row = claimedRow(c);
      const state = settled(row, reportOf(row, [0, resultOf(c.outcome)]));
      expect(said(state)).to.equal(promised(c));
      expect(state.attempt).to.equal(row.state.attempt - (said(state) === 'pending rate_limited' ? 1 : 0));
      expect(state.attempts.at(-1)).to.deep.include({ endedAt: NOW, results: [{ target: 0, outcome: c.outcome }] });
      if (c.multi) expect(state.targets[1]).to.deep.equal(TAKEN);
      if (state.status === 'sent')
        expect(state.targets.map((t) => t.outcome)).to.deep.equal([c.outcome, ...(c.multi ? ['sent'] : [])]);
    });
  }
});

describe('settle after the lease was lost', () => {
  const statuses: Readonly<Record<string, (row: Notification) => Notification>> = {
    pending: (row) => settleWith(row, { outcome: 'unknown' }),
    queued: (row) => withState(settleWith(row, { outcome: 'unknown' }), { status: 'queued', enqueuedAt: NOW }),
    processing: (row) =>
      claim(settleWith(row, { outcome: 'unknown' }), { id: 'other', until: NOW + 1 }, [aCall()], NOW),
    failed: (row) => failed(row, 'poisoned', NOW),
    cancelled: (row) => settleWith(withState(row, { cancelRequested: true }), { outcome: 'unknown' }),
    sent: (row) => settleWith(row, { outcome: 'sent' }),
  };
  function settleWith(row: Notification, result: SendResult): Notification {
    const next = settle(row, reportOf(row, [0, result]), CONTEXT);
    if (!next) throw new Error('nothing was said');
    return next;
  }

  for (const [status, reach] of Object.entries(statuses)) {
    for (const outcome of OUTCOMES) {
      const news = outcome === 'sent' && status !== 'sent';
      it(`${outcome} for a row that is ${status} by now ${news ? 'closes its target as sent' : 'changes nothing'}`, () => {
        const claimed = claimedRow({ multi: false, policy: 'retry', cancelRequested: false, attemptsLeft: true });
        const now = reach(claimed);
        const next = settle(now, reportOf(claimed, [0, resultOf(outcome)]), CONTEXT);
        if (!news) {
          expect(next).to.equal(undefined);
          return;
        }
        expect(next?.state.targets[0]).to.include({ outcome: 'sent', provider: 'smtp' });
        expect(next?.state.status).to.equal(status === 'processing' ? 'processing' : 'sent');
        expect(next?.state.lease?.id).to.equal(status === 'processing' ? 'other' : undefined);
      });
    }
  }

  it('leaves a failed row failed while another of its targets is open', () => {
    const row = claim(
      aNotification({ state: { targets: [{ address: 'a' }, { address: 'b' }] } }),
      { id: 'mine', until: NOW },
      [aCall('smtp', [0, 1])],
      NOW,
    );
    const given = failed(row, 'attempts_exhausted', NOW);
    const once = settle(given, reportOf(row, [0, { outcome: 'sent' }]), CONTEXT);
    expect(once?.state).to.include({ status: 'failed', reason: 'attempts_exhausted' });
    expect(once && settle(once, reportOf(row, [1, { outcome: 'sent' }]), CONTEXT)?.state.status).to.equal('sent');
  });

  it('turns an outcome that was held as unknown into sent', () => {
    const row = claimedRow({ multi: false, policy: 'hold', cancelRequested: false, attemptsLeft: true });
    const held = settleWith(row, { outcome: 'unknown' });
    expect(held.state).to.include({ status: 'failed', reason: 'outcome_unknown' });
    expect(settleWith(held, { outcome: 'sent', messageId: 'm' }).state.targets[0]).to.include({ messageId: 'm' });
  });

  it('adds what came late to what was said before in that attempt', () => {
    const both = aNotification({ state: { targets: [{ address: 'a' }, { address: 'b' }] } });
    const row = claim(both, { id: 'mine', until: NOW }, [aCallFor(both)], NOW);
    const waiting = settle(row, reportOf(row, [0, { outcome: 'unknown' }], [1, { outcome: 'unknown' }]), CONTEXT);
    const next = waiting && settle(waiting, reportOf(row, [1, { outcome: 'sent' }]), CONTEXT);
    expect(next?.state.attempts.at(-1)?.results).to.deep.equal([
      { target: 0, outcome: 'unknown' },
      { target: 1, outcome: 'unknown' },
      { target: 1, outcome: 'sent' },
    ]);
  });
});

describe('settle and waiting', () => {
  const left = { multi: false, policy: 'retry', cancelRequested: false, attemptsLeft: true } as const;

  it('obeys Retry-After, and waits 30 s after a rate limit that does not say how long', () => {
    const row = claimedRow(left);
    const wait = (retryAfterMs?: number): number =>
      settled(row, reportOf(row, [0, resultOf('rate_limited', retryAfterMs === undefined ? {} : { retryAfterMs })]))
        .dueAt - NOW;
    expect(wait()).to.equal(30 * SECOND);
    expect(wait(7 * SECOND)).to.equal(7 * SECOND);
    expect(wait(2 * HOUR)).to.equal(2 * HOUR);
  });

  it('waits for the longer of back-off and Retry-After when only some targets were rate limited', () => {
    const both = aNotification({ state: { targets: [{ address: 'a' }, { address: 'b' }] } });
    const row = claim(both, { id: 'mine', until: NOW }, [aCallFor(both)], NOW);
    const wait = (retryAfterMs: number): NotificationState =>
      settled(row, reportOf(row, [0, { outcome: 'rate_limited', retryAfterMs }], [1, { outcome: 'unknown' }]));
    expect(wait(HOUR)).to.include({ reason: 'retrying', attempt: 1, dueAt: NOW + HOUR });
    expect(wait(1).dueAt).to.equal(NOW + 15 * SECOND);
  });

  it('obeys a Retry-After of a provider that a later one took over from', () => {
    const row = claimedRow(left);
    const report = { ...reportOf(row, [0, resultOf('rate_limited')]), retryAfterMs: HOUR };
    expect(settled(row, report).dueAt).to.equal(NOW + HOUR);
  });

  it('gives up what a provider that is down wants to have back after more than a day', () => {
    const row = claimedRow(left);
    const after = (ms: number): NotificationState =>
      settled(row, reportOf(row, [0, { outcome: 'temporary_failure', providerDown: true, retryAfterMs: ms }]));
    expect(after(24 * HOUR)).to.include({ status: 'pending', dueAt: NOW + 24 * HOUR });
    expect(after(24 * HOUR + 1)).to.include({ status: 'failed', reason: 'held_too_long' });
  });

  it('goes on with the others when only a provider that handed over wants to be left for more than a day', () => {
    const row = claimedRow(left);
    const report = { ...reportOf(row, [0, resultOf('temporary_failure')]), retryAfterMs: 48 * HOUR };
    expect(settled(row, report)).to.include({ status: 'pending', reason: 'retrying', dueAt: NOW + 24 * HOUR });
  });

  it('does not outwait its expiry by a wait of its own guess', () => {
    const held = aNotification({ spec: { expiresAt: NOW + 20 * SECOND } });
    const row = claim(held, { id: 'mine', until: NOW + MINUTE }, [aCallFor(held)], NOW);
    const state = settled(row, reportOf(row, [0, resultOf('rate_limited')]));
    expect(state).to.include({ status: 'pending', dueAt: NOW + 20 * SECOND - 1 });
  });

  it('does not outwait its expiry by being patient', () => {
    const expiresAt = NOW + 30 * MINUTE;
    const held = aNotification({ spec: { expiresAt }, state: { heldSince: NOW - 10 * HOUR } });
    const row = claim(held, { id: 'mine', until: NOW + MINUTE }, [aCallFor(held)], NOW);
    const state = settled(row, reportOf(row, [0, resultOf('rate_limited', { retryAfterMs: SECOND })]));
    expect(state).to.include({ status: 'pending', dueAt: expiresAt - 1 });
  });

  it('rides on the job for at most 60 s, and never without a job', () => {
    const row = claimedRow(left);
    const after = (retryAfterMs: number, context = CONTEXT): NotificationState =>
      settled(row, reportOf(row, [0, resultOf('rate_limited', { retryAfterMs })]), context);
    expect(after(MAX_NAK).naked).to.equal(true);
    expect(after(MAX_NAK + 1).naked).to.equal(undefined);
    expect(after(MAX_NAK, { ...CONTEXT, hasJob: false }).naked).to.equal(undefined);
  });

  it('cancels as expired what could only be tried again past its expiry', () => {
    for (const outcome of ['temporary_failure', 'rate_limited'] as const) {
      const row = claimedRow(left);
      const expiring = { ...row, spec: { ...row.spec, expiresAt: NOW + 15 * SECOND } };
      const state = settled(expiring, reportOf(expiring, [0, resultOf(outcome, { retryAfterMs: 15 * SECOND })]));
      expect(state, outcome).to.include({ status: 'cancelled', reason: 'expired' });
      const longer = { ...row, spec: { ...row.spec, expiresAt: NOW + 15 * SECOND + 1 } };
      const waits = settled(longer, reportOf(longer, [0, resultOf(outcome, { retryAfterMs: 15 * SECOND })]));
      expect(waits.status, outcome).to.equal('pending');
    }
  });

  it('holds for at most 24 h, the very first wait included', () => {
    const row = claimedRow(left);
    const after = (heldSince: number | undefined, retryAfterMs: number): NotificationState =>
      settled(
        heldSince === undefined ? row : withState(row, { heldSince }),
        reportOf(row, [0, resultOf('rate_limited', { retryAfterMs })]),
      );
    expect(after(undefined, DAY).status).to.equal('pending');
    expect(after(undefined, DAY + 1)).to.include({ status: 'failed', reason: 'held_too_long' });
    expect(after(NOW - DAY + MINUTE, MINUTE)).to.include({ status: 'pending', heldSince: NOW - DAY + MINUTE });
    expect(after(NOW - DAY + MINUTE, MINUTE + 1)).to.include({ status: 'failed', reason: 'held_too_long' });
  });

  it('counts a target that was taken as sent when the others run out of time or attempts', () => {
    const row = claimedRow({ ...left, multi: true });
    const expiring = { ...row, spec: { ...row.spec, expiresAt: NOW + 1 } };
    const state = settled(expiring, reportOf(expiring, [0, resultOf('rate_limited')]));
    expect(state.status).to.equal('sent');
    expect(state.targets.map((t) => t.outcome)).to.deep.equal(['rate_limited', 'sent']);
  });

  it('gives the attempt back when the process is stopping, the last one included', () => {
    for (const outcome of ['temporary_failure', 'unknown', 'provider_error'] as const) {
      for (const attemptsLeft of [true, false]) {
        const row = claimedRow({ ...left, attemptsLeft });
        const state = settled(row, reportOf(row, [0, resultOf(outcome)]), { ...CONTEXT, stopping: true });
        expect(state).to.include({ status: 'pending', reason: 'retrying', attempt: row.state.attempt - 1 });
      }
    }
  });

  it('holds without a call as it holds after one, and costs no attempt', () => {
    const row = aNotification({ state: { attempt: 2 } });
    for (const reason of ['rate_limited', 'route_down'] as const) {
      const { state } = holdUntil(row, reason, NOW + SECOND, CONTEXT);
      expect(state).to.include({ status: 'pending', reason, attempt: 2, heldSince: NOW, dueAt: NOW + SECOND });
    }
    const expiring = { ...row, spec: { ...row.spec, expiresAt: NOW + SECOND } };
    expect(holdUntil(expiring, 'route_down', NOW + SECOND, CONTEXT).state.reason).to.equal('expired');
    expect(holdUntil(row, 'route_down', NOW + MAX_HOLD + 1, CONTEXT).state.reason).to.equal('held_too_long');
  });
});

describe('a lost lease', () => {
  it('leaves what the last provider was asked for unknown, and nothing else', () => {
    const targets: readonly Target[] = [{ address: 'a' }, { address: 'b' }, { address: 'c' }];
    const row = claim(
      aNotification({ state: { targets } }),
      { id: 'mine', until: NOW },
      [aCall('first', [0, 1, 2])],
      SAMPLE_TIME,
    );
    const told = toldBy(
      'first',
      [0, { outcome: 'sent' }],
      [1, { outcome: 'provider_error' }],
      [2, { outcome: 'invalid_recipient' }],
    );
    const first = { ...reportOf(row), calls: [told] };
    const moved = failOver(row, absorb(row, first), [aCall('second', [1])], NOW);
    const report = lostLease(moved, NOW + SECOND);
    expect(report).to.deep.include({ leaseId: 'mine', number: 1, run: 1 });
    expect(report?.calls.map(({ provider }) => provider)).to.deep.equal(['second']);
    expect(report?.calls[0]?.results.map((r) => [r.target, r.result.outcome])).to.deep.equal([[1, 'unknown']]);
  });

  it('leaves what each of several providers was asked for unknown', () => {
    const targets: readonly Target[] = [{ address: 'a' }, { address: 'b' }];
    const calls = [aCall('fcm', [0]), aCall('apns', [1])];
    const row = claim(aNotification({ state: { targets } }), { id: 'mine', until: NOW }, calls, SAMPLE_TIME);
    const report = lostLease(row, NOW + SECOND);
    expect(report?.calls.map(({ provider, results }) => [provider, results.map((r) => r.target)])).to.deep.equal([
      ['fcm', [0]],
      ['apns', [1]],
    ]);
  });

  for (const [policy, end] of [
    ['retry', 'pending retrying'],
    ['hold', 'failed outcome_unknown'],
  ] as const) {
    it(`ends by the policy: ${policy} as ${end}`, () => {
      const row = claimedRow({ multi: false, policy, cancelRequested: false, attemptsLeft: true });
      const report = lostLease(row, NOW);
      expect(report && said(settled(row, report))).to.equal(end);
    });
  }

  it('is nothing to a row that is not being sent', () => {
    expect(lostLease(aNotification(), NOW)).to.equal(undefined);
  });
});
