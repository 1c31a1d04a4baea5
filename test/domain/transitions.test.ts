import { expect } from 'chai';
import fc from 'fast-check';
import { MINUTE } from '../../src/domain/clock.ts';
import {
  CANCELLED_REASONS,
  FAILED_REASONS,
  MAX_ATTEMPTS_KEPT,
  MAX_HISTORY_KEPT,
  MAX_RECEIPTS_KEPT,
  STATUSES,
  isFinal,
} from '../../src/domain/notification.ts';
import type { Notification, Reason, Status, Target } from '../../src/domain/notification.ts';
import {
  NEXT,
  begin,
  cancelled,
  claim,
  closeTargets,
  countStart,
  enqueue,
  failOver,
  failed,
  needAt,
  receive,
  redrive,
  requestCancel,
  sent,
  wait,
} from '../../src/domain/transitions.ts';
import type { Beginning } from '../../src/domain/transitions.ts';
import { RECEIPT_KINDS } from '../../src/domain/receipt.ts';
import { SAMPLE_TIME, aCall, aNotification, aReceipt, withState } from '../support/sample.ts';

type Step = (row: Notification, now: number) => Notification;

/** Every step, and the statuses in which it may begin. */
const STEPS: Readonly<Record<string, { readonly from: readonly Status[]; readonly run: Step }>> = {
  enqueue: { from: ['pending', 'queued'], run: enqueue },
  claim: {
    from: ['pending', 'queued'],
    run: (row, now) => claim(row, { id: 'lease', until: now + 75_000 }, [aCall()], now),
  },
  failOver: {
    from: ['processing'],
    run: (row, now) => failOver(row, row.state, [aCall('second')], now),
  },
  requestCancel: { from: ['processing'], run: requestCancel },
  waitNaked: {
    from: ['pending', 'queued', 'processing'],
    run: (row, now) => wait(row, { reason: 'retrying', dueAt: now + 30_000, naked: true }, now),
  },
  waitLong: {
    from: ['pending', 'queued', 'processing'],
    run: (row, now) => wait(row, { reason: 'rate_limited', dueAt: now + 600_000, naked: false, free: true }, now),
  },
  countStart: { from: ['pending', 'queued'], run: countStart },
  sent: {
    from: ['pending', 'queued', 'processing', 'sent', 'failed', 'cancelled'],
    run: (row, now) => sent(row, { targets: closed(row), attempts: row.state.attempts }, now),
  },
  failed: { from: ['pending', 'queued', 'processing', 'failed'], run: (row, now) => failed(row, 'rejected', now) },
  cancelled: {
    from: ['pending', 'queued', 'processing', 'cancelled'],
    run: (row, now) => cancelled(row, 'cancelled_by_caller', now),
  },
  redrive: { from: ['failed'], run: redrive },
  closeTargets: {
    from: STATUSES,
    run: (row, now) => closeTargets(row, { targets: closed(row), attempts: row.state.attempts }, now),
  },
  ...Object.fromEntries(
    RECEIPT_KINDS.map((kind) => [
      `receive ${kind}`,
      {
        from: STATUSES.filter((status) => status !== 'processing'),
        run: (row: Notification, now: number) => receive(row, 0, aReceipt({ kind }), now),
      },
    ]),
  ),
};

const closed = (row: Notification): Target[] =>
  row.state.targets.map(({ address }): Target => ({ address, outcome: 'sent', provider: 'smtp' }));

const reasonsOf = (status: Status): boolean => status === 'pending' || status === 'failed' || status === 'cancelled';

function checkInvariants({ state }: Notification, now: number): void {
  expect(state.reason !== undefined, `a reason in ${state.status}`).to.equal(reasonsOf(state.status));
  expect(state.lease !== undefined, `a lease in ${state.status}`).to.equal(state.status === 'processing');
  expect(state.enqueuedAt !== undefined, `enqueuedAt in ${state.status}`).to.equal(state.status === 'queued');
  if (state.naked) expect(state.status).to.equal('pending');
  expect(state.wakeAt)
    .to.be.a('number')
    .and.at.most(now + MINUTE);
  expect(state.wakeAt).to.be.at.most(needAt(state) ?? Infinity);
  expect(state.attempts.length).to.be.at.most(MAX_ATTEMPTS_KEPT);
  const unpublished = state.version - state.published;
  expect(state.history.length).to.be.at.most(Math.max(MAX_HISTORY_KEPT, MAX_RECEIPTS_KEPT, unpublished));
  expect(state.history.filter((t) => t.version > state.published)).to.have.length(unpublished);
  const first = state.version - state.history.length + 1;
  expect(
    state.history.every((t, i) => t.version === first + i),
    'versions without a gap',
  ).to.equal(true);
  expect(state.history.at(-1)).to.include({ version: state.version, at: now, status: state.status });
  expect(state.history.at(-1)?.reason).to.equal(state.reason);
}

const beginnings: fc.Arbitrary<Beginning> = fc.oneof(
  fc.constant<Beginning>({ status: 'queued' }),
  fc.nat(10 * MINUTE).map((ms): Beginning => ({ status: 'pending', reason: 'scheduled', dueAt: SAMPLE_TIME + ms })),
  fc.constantFrom(...FAILED_REASONS).map((reason): Beginning => ({ status: 'failed', reason })),
  fc.constantFrom(...CANCELLED_REASONS).map((reason): Beginning => ({ status: 'cancelled', reason })),
);
const steps = fc.array(
  fc.record({
    name: fc.constantFrom(...Object.keys(STEPS)),
    after: fc.nat(90_000),
    /** How much of what is unpublished the feed acknowledges before the step. */
    acknowledged: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  { maxLength: 250, size: 'max' },
);

function acknowledge(row: Notification, share: number): Notification {
  const { version, published } = row.state;
  return withState(row, { published: published + Math.floor((version - published) * share) });
}

describe('transitions', () => {
  it('keep the invariants of a row over any sequence of steps, and throw for every illegal one', () => {
    fc.assert(
      fc.property(beginnings, fc.nat(3), steps, (how, targets, sequence) => {
        let now = SAMPLE_TIME;
        const addresses = Array.from({ length: targets + 1 }, (_, i) => `address-${i}`);
        let row = begin(
          aNotification().spec,
          addresses.map((address) => ({ address })),
          how,
          now,
        );
        checkInvariants(row, now);
        for (const { name, after, acknowledged } of sequence) {
          const step = STEPS[name];
          if (!step) throw new Error(`no step ${name}`);
          now += after;
          const before = acknowledge(row, acknowledged);
          if (!step.from.includes(row.state.status)) {
            expect(() => step.run(before, now), `${name} in ${row.state.status}`).to.throw();
            continue;
          }
          row = step.run(before, now);
          // A receipt of what nobody knew to be sent says two things at once.
          const most = name.startsWith('receive') ? 2 : 1;
          expect(row.state.version - before.state.version).to.be.within(1, most);
          expect(row.state.receipts.length).to.be.at.most(MAX_RECEIPTS_KEPT);
          expect(row.spec).to.equal(before.spec);
          checkInvariants(row, now);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('keep every unpublished step of a row that never gets to publish', () => {
    let row = aNotification();
    for (let i = 0; i < 3 * MAX_HISTORY_KEPT; i++) row = enqueue(row, SAMPLE_TIME + i);
    expect(row.state.history).to.have.length(3 * MAX_HISTORY_KEPT + 1);
    const trimmed = enqueue(withState(row, { published: row.state.version }), SAMPLE_TIME);
    expect(trimmed.state.history).to.have.length(MAX_HISTORY_KEPT);
  });

  it('keep the last attempts only', () => {
    let row = aNotification();
    for (let i = 0; i < MAX_ATTEMPTS_KEPT + 5; i++) {
      row = claim(row, { id: `lease-${i}`, until: SAMPLE_TIME }, [aCall()], SAMPLE_TIME);
      row = wait(row, { reason: 'retrying', dueAt: SAMPLE_TIME, naked: false }, SAMPLE_TIME);
    }
    expect(row.state.attempts).to.have.length(MAX_ATTEMPTS_KEPT);
    expect(row.state.attempts.at(-1)?.number).to.equal(MAX_ATTEMPTS_KEPT + 5);
  });

  it('have a table that names every status and only statuses', () => {
    expect(Object.keys(NEXT)).to.have.members([...STATUSES]);
    for (const next of Object.values(NEXT)) {
      expect(STATUSES).to.include.members([...next]);
      expect(new Set(next).size).to.equal(next.length);
    }
  });

  it('move a sent notification only forward to delivered and bounced', () => {
    const order: readonly Status[] = ['sent', 'delivered', 'bounced'];
    order.forEach((status, index) => {
      expect(NEXT[status]).to.have.members(order.slice(index));
    });
  });

  it('let no final status but FAILED be sent again', () => {
    for (const status of STATUSES.filter(isFinal)) {
      const again = NEXT[status].filter((next) => !isFinal(next));
      expect(again, status).to.deep.equal(status === 'failed' ? ['queued'] : []);
    }
  });

  it('count an attempt with the claim and give a free one back', () => {
    const claimed = claim(aNotification(), { id: 'lease', until: SAMPLE_TIME + 1 }, [aCall()], SAMPLE_TIME);
    expect(claimed.state).to.include({ status: 'processing', attempt: 1 });
    expect(claimed.state.attempts).to.have.length(1);
    const how = { reason: 'rate_limited', dueAt: SAMPLE_TIME, naked: false } as const;
    expect(wait(claimed, { ...how, free: true }, SAMPLE_TIME).state.attempt).to.equal(0);
    expect(wait(claimed, how, SAMPLE_TIME).state.attempt).to.equal(1);
  });

  it('go on with a hold over several waits and end it with an attempt that counts', () => {
    const limited = { reason: 'rate_limited', dueAt: SAMPLE_TIME, naked: false } as const;
    const once = wait(aNotification(), limited, SAMPLE_TIME);
    const twice = wait(once, { ...limited, reason: 'route_down' }, SAMPLE_TIME + 5);
    expect(twice.state.heldSince).to.equal(SAMPLE_TIME);
    expect(wait(twice, { ...limited, reason: 'retrying' }, SAMPLE_TIME + 9).state.heldSince).to.equal(undefined);
  });

  it('keep the provider of the attempt in its event', () => {
    const claimed = claim(aNotification(), { id: 'lease', until: SAMPLE_TIME + 1 }, [aCall()], SAMPLE_TIME);
    expect(claimed.state.history.at(-1)).to.include({ provider: 'smtp', attempt: 1 });
  });

  it('count starts until any other write', () => {
    const twice = countStart(countStart(aNotification(), SAMPLE_TIME), SAMPLE_TIME);
    expect(twice.state).to.include({ starts: 2, status: 'queued', enqueuedAt: SAMPLE_TIME });
    expect(enqueue(twice, SAMPLE_TIME).state.starts).to.equal(0);
  });

  it('begin a re-driven run at attempt zero with only the reached targets closed', () => {
    const row = aNotification({
      state: {
        targets: [
          { address: 'a', outcome: 'sent', provider: 'smtp', messageId: 'm' },
          { address: 'b', outcome: 'invalid_recipient', provider: 'smtp' },
        ],
        attempt: 5,
        cancelRequested: true,
        heldSince: SAMPLE_TIME,
      },
    });
    const { state } = redrive(failed(row, 'rejected', SAMPLE_TIME), SAMPLE_TIME + 1);
    expect(state).to.include({ status: 'queued', run: 2, attempt: 0, cancelRequested: false, dueAt: SAMPLE_TIME + 1 });
    expect(state.heldSince).to.equal(undefined);
    expect(state.targets).to.deep.equal([row.state.targets[0], { address: 'b' }]);
  });

  it('keep what led to a failure when a late answer closes one of its targets', () => {
    const row = failed(aNotification(), 'render_failed', SAMPLE_TIME, { detail: 'why' });
    const { state } = closeTargets(row, { targets: closed(row), attempts: [] }, SAMPLE_TIME + 1);
    expect(state).to.include({ status: 'failed', reason: 'render_failed' satisfies Reason, detail: 'why' });
  });

  it('ask for the scheduler when each status next needs it', () => {
    const at = (state: Partial<Notification['state']>): number | undefined => needAt(aNotification({ state }).state);
    const dueAt = SAMPLE_TIME + 5 * MINUTE;
    expect(at({ status: 'pending', dueAt })).to.equal(dueAt);
    expect(at({ status: 'pending', dueAt, naked: true })).to.equal(dueAt + MINUTE);
    expect(at({ status: 'queued', enqueuedAt: SAMPLE_TIME })).to.equal(SAMPLE_TIME + MINUTE);
    expect(at({ status: 'processing', lease: { id: 'l', until: SAMPLE_TIME + 75_000 } })).to.equal(
      SAMPLE_TIME + 75_000,
    );
    for (const status of STATUSES.filter(isFinal)) expect(at({ status }), status).to.equal(undefined);
  });
});
