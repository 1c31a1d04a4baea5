import { expect } from 'chai';
import fc from 'fast-check';
import { DAY, HOUR, SECOND } from '../../src/domain/clock.ts';
import { OUTCOMES, isFinal } from '../../src/domain/notification.ts';
import type { Notification, Outcome, Target } from '../../src/domain/notification.ts';
import { claim, requestCancel } from '../../src/domain/transitions.ts';
import { lostLease, settle } from '../../src/pipeline/settle.ts';
import type { Report, SettleContext } from '../../src/pipeline/settle.ts';
import type { SendResult } from '../../src/providers/provider.ts';
import { DEFAULT_BACKOFF, aCallFor, SAMPLE_TIME, aNotification, withState } from '../support/sample.ts';

const outcomes = fc.constantFrom(...OUTCOMES);
const results: fc.Arbitrary<SendResult> = fc
  .tuple(outcomes, fc.boolean(), fc.option(fc.nat(3 * DAY), { nil: undefined }))
  .map(([outcome, providerDown, retryAfterMs]): SendResult => {
    if (outcome === 'temporary_failure') return { outcome, providerDown };
    if (outcome === 'rate_limited') return { outcome, ...(retryAfterMs !== undefined && { retryAfterMs }) };
    return { outcome };
  });

interface Attempt {
  readonly results: readonly SendResult[];
  readonly cancel: boolean;
  readonly after: number;
  /** The worker dies, and its answer comes in later. */
  readonly dies: boolean;
  readonly fraction: number;
}

const attempts: fc.Arbitrary<Attempt[]> = fc.array(
  fc.record({
    results: fc.array(results, { minLength: 4, maxLength: 4 }),
    cancel: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    after: fc.nat(HOUR),
    dies: fc.boolean(),
    fraction: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  }),
  { maxLength: 30 },
);

const isTaken = (target: Target | undefined): boolean => target?.outcome === 'sent';

function reportFor(row: Notification, provider: string, endedAt: number, told: readonly SendResult[]): Report {
  const open = row.state.attempts.at(-1)?.targets ?? [];
  return {
    leaseId: row.state.lease?.id ?? '',
    run: row.state.run,
    number: row.state.attempt,
    calls: [
      {
        provider,
        endedAt,
        results: open.flatMap((target) => {
          const result = told[target];
          return result ? [{ target, result }] : [];
        }),
      },
    ],
  };
}

/** What must hold of every answer that is settled, whoever holds the lease. */
function checkStep(before: Notification, after: Notification, report: Report, now: number): void {
  before.state.targets.forEach((target, index) => {
    if (isTaken(target)) expect(after.state.targets[index], 'a taken target stays').to.deep.equal(target);
  });
  if (isFinal(before.state.status)) expect(isFinal(after.state.status), 'a final row stays final').to.equal(true);
  const { status, targets, dueAt, heldSince } = after.state;
  if (status === 'sent') {
    expect(targets.some(isTaken)).to.equal(true);
    expect(targets.every((t) => t.outcome !== undefined)).to.equal(true);
  }
  if (status !== 'pending' || before.state.status === 'pending') return;
  expect(targets.some((t) => t.outcome === undefined)).to.equal(true);
  for (const { target, result } of report.calls.flatMap((call) => call.results)) {
    if (result.outcome !== 'rate_limited' || targets[target]?.outcome) continue;
    expect(dueAt, 'Retry-After is obeyed').to.be.at.least(now + (result.retryAfterMs ?? 0));
  }
  if (heldSince !== undefined) expect(dueAt - heldSince).to.be.at.most(DAY);
  if (after.spec.expiresAt !== undefined) expect(dueAt).to.be.below(after.spec.expiresAt);
}

describe('settle, whatever is told', () => {
  it('loses no sent target, reopens no final row, obeys every wait, and says a thing once', () => {
    const rows = fc.record({
      targets: fc.integer({ min: 1, max: 4 }),
      policy: fc.constantFrom('retry' as const, 'hold' as const),
      priority: fc.constantFrom('urgent' as const, 'low' as const),
      expiresIn: fc.option(fc.nat(2 * DAY), { nil: undefined }),
    });
    fc.assert(
      fc.property(rows, attempts, (how, sequence) => {
        let now = SAMPLE_TIME;
        let row = aNotification({
          spec: {
            unknownOutcome: how.policy,
            priority: how.priority,
            ...(how.expiresIn !== undefined && { expiresAt: now + how.expiresIn }),
          },
          state: { targets: Array.from({ length: how.targets }, (_, i) => ({ address: `${i}` })) },
        });
        const take = (report: Report, context: SettleContext): void => {
          const next = settle(row, report, context);
          if (!next) return;
          checkStep(row, next, report, context.now);
          expect(settle(next, report, context), 'the same report once more says nothing').to.equal(undefined);
          row = next;
        };
        for (const [index, attempt] of sequence.entries()) {
          if (isFinal(row.state.status)) break;
          now = Math.max(now + attempt.after, row.state.dueAt);
          const context = { now, fraction: attempt.fraction, backoff: DEFAULT_BACKOFF, hasJob: true };
          row = claim(row, { id: `lease-${index}`, until: now + 75 * SECOND }, [aCallFor(row)], now);
          const report = reportFor(row, 'smtp', now, attempt.results);
          const lost = attempt.dies ? lostLease(row, now) : undefined;
          if (attempt.cancel) row = requestCancel(row, now);
          if (lost) take(lost, context);
          take(report, context);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('charges a rate limit no attempt and every other failure one', () => {
    fc.assert(
      fc.property(fc.array(outcomes, { minLength: 1, maxLength: 4 }), (told) => {
        const fresh = aNotification({ state: { targets: told.map((_, i) => ({ address: `${i}` })) } });
        const row = claim(fresh, { id: 'lease', until: SAMPLE_TIME }, [aCallFor(fresh)], SAMPLE_TIME);
        const toResult = (outcome: Outcome): SendResult =>
          outcome === 'temporary_failure' ? { outcome, providerDown: false } : { outcome };
        const report = reportFor(row, 'smtp', SAMPLE_TIME, told.map(toResult));
        const context = { now: SAMPLE_TIME, fraction: 0, backoff: DEFAULT_BACKOFF, hasJob: true };
        const next = settle(row, report, context);
        if (next?.state.status !== 'pending') return;
        const open = told.filter((outcome) => !['sent', 'permanent_failure', 'invalid_recipient'].includes(outcome));
        const free = open.every((outcome) => outcome === 'rate_limited');
        expect(next.state.attempt).to.equal(free ? 0 : 1);
        expect(next.state.reason).to.equal(free ? 'rate_limited' : 'retrying');
      }),
    );
  });

  it('ends every run within its attempts when nothing ever works', () => {
    for (const [priority, max] of [
      ['urgent', 10],
      ['high', 7],
      ['normal', 5],
      ['low', 3],
    ] as const) {
      let row = aNotification({ spec: { priority } });
      let tries = 0;
      while (!isFinal(row.state.status)) {
        row = claim(row, { id: `lease-${tries}`, until: SAMPLE_TIME }, [aCallFor(row)], SAMPLE_TIME);
        tries++;
        const report = reportFor(row, 'smtp', SAMPLE_TIME, [{ outcome: 'provider_error' }]);
        const next = settle(row, report, { now: SAMPLE_TIME, fraction: 0.5, backoff: DEFAULT_BACKOFF, hasJob: true });
        if (!next) throw new Error('nothing was said');
        row = withState(next, { published: next.state.version });
      }
      expect(tries, priority).to.equal(max);
      expect(row.state).to.include({ status: 'failed', reason: 'attempts_exhausted' });
    }
  });
});
