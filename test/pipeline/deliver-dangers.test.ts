import { expect } from 'chai';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/domain/clock.ts';
import { systemRandom } from '../../src/domain/id.ts';
import { MAX_ATTEMPTS_KEPT } from '../../src/domain/notification.ts';
import type { Notification, NotificationState } from '../../src/domain/notification.ts';
import { claim, closeTargets } from '../../src/domain/transitions.ts';
import { Retention } from '../../src/pipeline/retention.ts';
import { Scheduler } from '../../src/pipeline/scheduler.ts';
import { absorb, lostLease, settle } from '../../src/pipeline/settle.ts';
import type { SendResult } from '../../src/providers/provider.ts';
import { openDelivery } from '../support/fake-delivery.ts';
import type { Delivery } from '../support/fake-delivery.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import { Outage } from '../support/fake-faults.ts';
import { BUSY, DOWN, FakeProvider, SENT, UNKNOWN } from '../support/fake-provider.ts';
import { CIRCUIT, aRoute, openRouter } from '../support/fake-router.ts';
import { DEFAULT_BACKOFF, SAMPLE_TIME, aCall, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;
const stateOf = async (delivery: Delivery, row: Notification): Promise<NotificationState> =>
  (await delivery.stored(row.spec.id)).state;
const twoTargets = (): Notification => aNotification({ state: { targets: [{ address: 'a' }, { address: 'b' }] } });

describe('a fail-over', () => {
  it('that cannot be planned, as the store is away, does not lose what the providers have said', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'readLimit');
    const first = new FakeProvider('first', ({ message }) => {
      outage.on = true;
      return message.to === 'a' ? SENT : DOWN;
    });
    const second = aRoute(new FakeProvider('second', SENT), { limit: { perMinute: 60, burst: 1 } });
    await using delivery = await openDelivery({ providers: [first, second], storage: outage.fault });
    const row = await delivery.insert(twoTargets());
    await delivery.deliver(row).catch(() => undefined);
    outage.on = false;
    const { status, targets } = await stateOf(delivery, row);
    expect([status, targets.map((t) => t.outcome)]).to.deep.equal(['pending', ['sent', undefined]]);
  });

  it('does not call a further provider for a target that a late answer has closed as sent meanwhile', async () => {
    const first = new FakeProvider('first', async (): Promise<SendResult> => {
      const row = await delivery.stored(id);
      const targets = [{ address: 'ana@example.com', outcome: 'sent', provider: 'first' } as const];
      // The late answer of an earlier attempt, as Attempter settles it.
      await delivery.rows.writeOne(row, closeTargets(row, { targets, attempts: row.state.attempts }, NOW));
      return DOWN;
    });
    const second = new FakeProvider('second', SENT);
    const delivery: Delivery = await openDelivery({ providers: [first, second] });
    await using _ = delivery;
    const row = await delivery.insert(aNotification());
    const { id } = row.spec;
    await delivery.deliver(row);
    expect(second.calls).to.have.length(0);
    expect((await stateOf(delivery, row)).status).to.equal('sent');
  });
});

describe('what a provider has said', () => {
  it('of an unknown call binds its target to it for the whole run, however many attempts follow', async () => {
    const slow: SendResult = { outcome: 'rate_limited', retryAfterMs: SECOND };
    const first = new FakeProvider('first', (_call, n) => (n === 1 ? UNKNOWN : slow));
    const second = new FakeProvider('second', SENT);
    await using delivery = await openDelivery({ providers: [first, second] });
    const row = await delivery.insert(aNotification());
    for (let i = 0; i < MAX_ATTEMPTS_KEPT + 5; i++) {
      await delivery.deliver(row);
      await delivery.clock.advance(Math.max(0, (await stateOf(delivery, row)).dueAt - delivery.clock.now()));
    }
    // Another one meets the limit, so that `first` rests.
    await delivery.deliver(await delivery.insert(aNotification()));
    await delivery.deliver(row);
    expect(second.calls).to.have.length(0);
  });

  for (const notAsked of [
    { outcome: 'temporary_failure', providerDown: false, notAsked: true },
    { outcome: 'permanent_failure', code: 'too_long', notAsked: true },
  ] as const) {
    it(`without having been asked (${notAsked.outcome}) does not close its circuit`, async () => {
      let next: SendResult = DOWN;
      const only = new FakeProvider('only', () => next);
      await using delivery = await openDelivery({ providers: [only] });
      const send = async () => delivery.deliver(await delivery.insert(aNotification()));
      for (let i = 0; i < CIRCUIT.failures; i++) await send();
      await delivery.clock.advance(CIRCUIT.openMs);
      next = notAsked;
      await send();
      next = DOWN;
      await send();
      await send();
      expect(only.calls, 'two probes').to.have.length(CIRCUIT.failures + 2);
    });
  }

  it('is asked with a signal that is aborted already when patience ended while the claim was written', async () => {
    const patience = new AbortController();
    const only = new FakeProvider('only', BUSY);
    await using delivery = await openDelivery({
      providers: [only],
      signal: patience.signal,
      storage: (method) => void (method === 'update' && patience.abort()),
    });
    await delivery.deliver(await delivery.insert(aNotification()));
    expect(only.calls.map(({ signal }) => signal.aborted)).to.deep.equal([true]);
  });
});

describe('a circuit that reopens', () => {
  it('is probed by one call, also when many come in the same turn', async () => {
    await using pipeline = await openPipeline();
    const only = new FakeProvider('only', SENT);
    const router = openRouter(pipeline, [aRoute(only)]);
    const faults = Array.from({ length: CIRCUIT.failures }, () => ({ target: 0, result: DOWN }));
    router.told(only, faults, { startedAt: NOW, aborted: false, ownSender: false });
    await pipeline.clock.advance(CIRCUIT.openMs);
    const plans = await Promise.all(
      Array.from({ length: 20 }, () => router.plan(aNotification(), [0], () => new Set())),
    );
    expect(plans.filter(({ calls }) => calls.length > 0)).to.have.length(1);
  });
});

describe('a channel that cannot send', () => {
  it('a route whose rate is used up pauses its channel, instead of writing off every row', async () => {
    const route = aRoute(new FakeProvider('only', SENT), { limit: { perMinute: 1, burst: 1 } });
    await using delivery = await openDelivery({ providers: [route] });
    await delivery.deliver(await delivery.insert(aNotification()));
    const { pauseUntil } = await delivery.deliver(await delivery.insert(aNotification()));
    expect(pauseUntil).not.to.equal(undefined);
  });

  it('a pause is never long, as a circuit may close and rows may expire meanwhile', async () => {
    const only = new FakeProvider('only', { outcome: 'rate_limited', retryAfterMs: 23 * HOUR });
    await using delivery = await openDelivery({ providers: [only] });
    await delivery.deliver(await delivery.insert(aNotification()));
    const { pauseUntil = 0 } = await delivery.deliver(await delivery.insert(aNotification()));
    expect(pauseUntil - NOW).to.be.at.most(MINUTE);
  });
});

describe('a notification that was sent in part', () => {
  it('what some target took is never called expired before sending', async () => {
    await using delivery = await openDelivery({ providers: [new FakeProvider('only', SENT)] });
    const row = await delivery.insert(
      aNotification({
        spec: { expiresAt: NOW },
        state: { targets: [{ address: 'a', outcome: 'sent', provider: 'only' }, { address: 'b' }] },
      }),
    );
    await delivery.deliver(row);
    expect((await stateOf(delivery, row)).status).to.equal('sent');
  });

  it('a target whose quota is used up until tomorrow does not make another one wait or fail', () => {
    const row = aNotification({
      state: { targets: [{ address: 'a' }, { address: 'b' }], heldSince: NOW - 5 * SECOND },
    });
    const claimed = claim(row, { id: 'l', until: NOW + MINUTE }, [aCall('first', [0])], NOW);
    const report = {
      leaseId: 'l',
      run: 1,
      number: 1,
      calls: [
        {
          provider: 'first',
          endedAt: NOW,
          results: [{ target: 0, result: { outcome: 'rate_limited', retryAfterMs: SECOND } as const }],
        },
      ],
      waiting: [{ target: 1, until: NOW + 10 * HOUR, reason: 'rate_limited' as const }],
    };
    const after = settle(claimed, report, { now: NOW, fraction: 0, backoff: DEFAULT_BACKOFF, hasJob: true });
    expect([after?.state.status, after?.state.dueAt]).to.deep.equal(['pending', NOW + SECOND]);
  });
});

describe('a worker that died', () => {
  it('a lease always ends, also when a late answer has taken the place of the attempt that died', () => {
    const lease = { id: 'l1', until: NOW + MINUTE };
    const row = twoTargets();
    // Attempt 1 is given back, as the process stops; then attempt 1 again, by another process.
    const one = claim(row, lease, [aCall('p', [0, 1])], NOW);
    const stopping = { now: NOW, fraction: 0, backoff: DEFAULT_BACKOFF, hasJob: false, stopping: true };
    const unknown = { outcome: 'unknown' } as const;
    const results = [0, 1].map((target) => ({ target, result: unknown }));
    const report = { leaseId: 'l1', run: 1, number: 1, calls: [{ provider: 'p', endedAt: NOW, results }] };
    const given = settle(one, report, stopping);
    if (!given) throw new Error('it settles');
    const two = claim(given, { id: 'l2', until: NOW + MINUTE }, [aCall('p', [0, 1])], NOW);
    const late = { ...report, calls: [{ provider: 'p', endedAt: NOW, results: [{ target: 0, result: SENT }] }] };
    const closed = settle(two, late, stopping);
    if (!closed) throw new Error('news');
    expect(closed.state.status).to.equal('processing');
    const lost = lostLease(closed, NOW + HOUR);
    expect(lost, 'the scheduler would leave it PROCESSING for ever').not.to.equal(undefined);
    expect(absorb(closed, lost ?? report).targets[0]?.outcome).to.equal('sent');
  });

  it('that ended does not lead to a second call of what a stored receipt proves as taken', async () => {
    const provider = new FakeProvider('only', SENT);
    await using delivery = await openDelivery({ providers: [provider] });
    const lease = { id: 'l', until: NOW + MINUTE };
    const row = claim(aNotification({ spec: { priority: 'normal' } }), lease, [aCall('only')], NOW);
    await delivery.insert(row);
    // The worker died after its call; the receipt comes while its lease still runs.
    await delivery.clock.advance(5 * SECOND);
    const told = { eventId: 'e', kind: 'delivered', notificationId: row.spec.id, at: NOW } as const;
    await delivery.receipts.take('only', [told]);
    const retention = new Retention({ ...delivery, settledMs: 90 * DAY, contentMs: 30 * DAY });
    await using _ = new Scheduler({ ...delivery, retention, random: systemRandom, backoff: DEFAULT_BACKOFF });
    const again = await delivery.clock.until(
      'it is queued again or known as delivered',
      async () => {
        const { status } = await stateOf(delivery, row);
        return status === 'queued' || status === 'delivered' ? status : undefined;
      },
      SECOND / 4,
    );
    expect(again).to.equal('delivered');
  });
});

describe('an unknown outcome', () => {
  it('goes to the same provider or waits for it, and never to another one', async () => {
    const first = new FakeProvider('first', (_call, n) => (n === 1 ? { outcome: 'unknown' } : DOWN));
    const second = new FakeProvider('second', SENT);
    await using delivery = await openDelivery({ providers: [first, second] });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    await delivery.clock.advance(HOUR);
    await delivery.deliver(row);
    expect([first.calls.length, second.calls.length]).to.deep.equal([2, 0]);
  });
});
