import { expect } from 'chai';
import { MINUTE, SECOND } from '../../src/domain/clock.ts';
import { providerKey } from '../../src/domain/id.ts';
import type { Notification, NotificationState } from '../../src/domain/notification.ts';
import { claim, failed, redrive } from '../../src/domain/transitions.ts';
import { RenderError } from '../../src/pipeline/render-error.ts';
import { openDelivery } from '../support/fake-delivery.ts';
import type { Delivery } from '../support/fake-delivery.ts';
import { BUSY, DOWN, FakeProvider, SENT, UNKNOWN } from '../support/fake-provider.ts';
import { aCall, SAMPLE_TIME, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;

async function stateOf(delivery: Delivery, row: Notification): Promise<NotificationState> {
  return (await delivery.stored(row.spec.id)).state;
}

const providersOf = (state: NotificationState): string[] => state.attempts.map((attempt) => attempt.provider);

/** Delivers again and again, each time when the row is due, `times` in all. */
async function deliverDue(delivery: Delivery, row: Notification, times: number): Promise<NotificationState> {
  for (let i = 0; i < times; i++) {
    const { dueAt } = await stateOf(delivery, row);
    await delivery.clock.advance(Math.max(0, dueAt - delivery.clock.now()));
    await delivery.deliver(row);
  }
  return stateOf(delivery, row);
}

describe('deliver', () => {
  it('sends a queued row once, with its content, its key and one attempt', async () => {
    const provider = new FakeProvider('smtp', SENT);
    await using delivery = await openDelivery({ providers: [provider] });
    const row = await delivery.insert(aNotification());
    expect(await delivery.deliver(row)).to.deep.equal({ answer: 'done' });
    const stored = await delivery.stored(row.spec.id);
    expect(stored.state).to.include({ status: 'sent', version: 3, attempt: 1 });
    expect(stored.state.targets[0]).to.include({ outcome: 'sent', provider: 'smtp', messageId: 'm-1' });
    expect(stored.rendered?.content).to.have.property('subject');
    expect(provider.calls.map((call) => [call.message.to, call.key])).to.deep.equal([
      ['ana@example.com', providerKey(row.spec.id, 1, 0)],
    ]);
  });

  it('does nothing for a hint whose row is gone, final, or under a lease', async () => {
    const provider = new FakeProvider('smtp', SENT);
    await using delivery = await openDelivery({ providers: [provider] });
    const ended = await delivery.insert(failed(aNotification(), 'rejected', NOW));
    const leased = await delivery.insert(claim(aNotification(), { id: 'other', until: NOW + 1 }, [aCall()], NOW));
    for (const row of [ended, leased]) {
      expect(await delivery.deliver(row)).to.deep.equal({ answer: 'done' });
      expect(await stateOf(delivery, row)).to.deep.equal(row.state);
    }
    const job = {
      hint: { id: 'gone', version: 1, lane: { channel: 'email', priority: 'low' }, enqueuedAt: 0 },
      deliveries: 1,
      answer: () => {},
    } as const;
    expect(await delivery.deliverer.deliver(job, undefined)).to.deep.equal({ answer: 'done' });
    expect(provider.calls).to.have.length(0);
  });

  it('sends a hint that comes early back for up to 60 s, and leaves a longer wait to the row', async () => {
    await using delivery = await openDelivery({ providers: [new FakeProvider('smtp', SENT)] });
    for (const [early, answer] of [
      [1, { later: 1 }],
      [MINUTE, { later: MINUTE }],
      [MINUTE + 1, 'done'],
    ] as const) {
      const row = await delivery.insert(
        aNotification({ state: { status: 'pending', reason: 'scheduled', dueAt: NOW + early } }),
      );
      expect(await delivery.deliver(row)).to.deep.equal({ answer });
      expect((await stateOf(delivery, row)).version).to.equal(1);
    }
  });

  it('brings a retry back with the job when it is due within 60 s, and by the row when later', async () => {
    await using delivery = await openDelivery({
      providers: [
        new FakeProvider('smtp', ({ message }) => ({
          outcome: 'rate_limited',
          retryAfterMs: Number(message.to),
          recipientOnly: true,
        })),
      ],
    });
    const short = await delivery.insert(aNotification({ state: { targets: [{ address: '60000' }] } }));
    expect(await delivery.deliver(short)).to.deep.equal({ answer: { later: 60_000 } });
    expect(await stateOf(delivery, short)).to.include({ naked: true, attempt: 0, dueAt: NOW + MINUTE });
    const long = await delivery.insert(aNotification({ state: { targets: [{ address: '60001' }] } }));
    expect(await delivery.deliver(long)).to.deep.equal({ answer: 'done' });
    const worn = await delivery.insert(aNotification({ state: { targets: [{ address: '1000' }] } }));
    expect(await delivery.deliver(worn, 15), 'a job that came back often').to.deep.equal({ answer: 'done' });
  });

  it('ends without a call what is expired or has no provider, and waits for what is scheduled', async () => {
    const provider = new FakeProvider('smtp', SENT);
    const providers: FakeProvider[] = [provider];
    await using delivery = await openDelivery({ providers });
    const expired = await delivery.insert(aNotification({ spec: { expiresAt: NOW } }));
    await delivery.deliver(expired);
    expect(await stateOf(delivery, expired)).to.include({ status: 'cancelled', reason: 'expired', attempt: 0 });
    const scheduled = await delivery.insert(aNotification({ spec: { scheduledFor: NOW + 5 } }));
    await delivery.deliver(scheduled);
    expect(await stateOf(delivery, scheduled)).to.include({ status: 'pending', reason: 'scheduled', dueAt: NOW + 5 });
    providers.pop();
    const orphan = await delivery.insert(aNotification());
    await delivery.deliver(orphan);
    expect(await stateOf(delivery, orphan)).to.include({ status: 'failed', reason: 'no_provider' });
    expect(provider.calls).to.have.length(0);
  });

  it('fails what cannot be rendered, and says why; any other fault is left to a later try', async () => {
    const provider = new FakeProvider('smtp', SENT);
    let fault: Error = new RenderError('no such variable');
    await using delivery = await openDelivery({
      providers: [provider],
      render: () => {
        throw fault;
      },
    });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    expect(await stateOf(delivery, row)).to.include({ status: 'failed', reason: 'render_failed', attempt: 0 });
    expect((await stateOf(delivery, row)).detail).to.be.a('string');
    fault = new TypeError('a fault of the program');
    const other = await delivery.insert(aNotification());
    const thrown = await delivery.deliver(other).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(thrown).to.equal(fault);
    expect(await stateOf(delivery, other)).to.deep.equal(other.state);
  });

  it('waits for its own rate limit without a claim or an attempt, and tells the channel to pause', async () => {
    const provider = new FakeProvider('smtp', SENT);
    await using delivery = await openDelivery({ providers: [provider], limit: { perMinute: 60, burst: 1 } });
    const [first, second] = [await delivery.insert(aNotification()), await delivery.insert(aNotification())];
    await delivery.deliver(first);
    const { answer, pauseUntil } = await delivery.deliver(second);
    expect(pauseUntil).to.be.above(NOW);
    expect(answer).to.deep.equal({ later: (pauseUntil ?? 0) - NOW });
    expect(await stateOf(delivery, second)).to.include({ status: 'pending', reason: 'rate_limited', attempt: 0 });
    expect(provider.calls).to.have.length(1);
    expect((await deliverDue(delivery, second, 1)).status).to.equal('sent');
  });

  it('gives every target its own outcome and calls for the open ones only', async () => {
    const provider = new FakeProvider('smtp', ({ message }) =>
      message.to === 'b' ? { outcome: 'invalid_recipient' } : SENT,
    );
    await using delivery = await openDelivery({ providers: [provider] });
    const targets = [{ address: 'a' }, { address: 'b' }, { address: 'c', outcome: 'sent' as const, provider: 'smtp' }];
    const row = await delivery.insert(aNotification({ state: { targets } }));
    await delivery.deliver(row);
    const state = await stateOf(delivery, row);
    expect(state.status).to.equal('sent');
    expect(state.targets.map((t) => t.outcome)).to.deep.equal(['sent', 'invalid_recipient', 'sent']);
    expect(provider.calls.map((call) => call.message.to)).to.have.members(['a', 'b']);
  });

  it('uses a new key in a new run and the same one for every try within a run', async () => {
    const provider = new FakeProvider('smtp', (_call, n) => (n < 3 ? UNKNOWN : SENT));
    await using delivery = await openDelivery({ providers: [provider] });
    const row = await delivery.insert(aNotification());
    await deliverDue(delivery, row, 2);
    const before = await delivery.stored(row.spec.id);
    const again = redrive(failed(before, 'attempts_exhausted', delivery.clock.now()), delivery.clock.now());
    await delivery.storage.update([{ from: before.state.version, row: again }]);
    await deliverDue(delivery, row, 1);
    expect(provider.calls.map((call) => call.key)).to.deep.equal([
      providerKey(row.spec.id, 1, 0),
      providerKey(row.spec.id, 1, 0),
      providerKey(row.spec.id, 2, 0),
    ]);
  });
});

describe('deliver with several providers', () => {
  const conditions = [
    { said: DOWN, moves: true },
    { said: { outcome: 'provider_error' }, moves: true },
    { said: BUSY, moves: false },
    { said: UNKNOWN, moves: false },
    { said: { outcome: 'rate_limited' }, moves: false },
    { said: { outcome: 'permanent_failure' }, moves: false },
    { said: { outcome: 'invalid_recipient' }, moves: false },
    { said: SENT, moves: false },
  ] as const;
  for (const { said, moves } of conditions) {
    const down = 'providerDown' in said ? `, provider ${said.providerDown ? 'down' : 'up'}` : '';
    it(`${moves ? 'goes on to the next' : 'stays'} after ${said.outcome}${down}`, async () => {
      const [first, second] = [new FakeProvider('first', said), new FakeProvider('second', SENT)];
      await using delivery = await openDelivery({ providers: [first, second] });
      const row = await delivery.insert(aNotification());
      await delivery.deliver(row);
      expect([first.calls.length, second.calls.length]).to.deep.equal([1, moves ? 1 : 0]);
      const state = await stateOf(delivery, row);
      expect(state.attempts.map((a) => a.number)).to.deep.equal(moves ? [1, 1] : [1]);
      if (moves) expect(state.targets[0]).to.include({ outcome: 'sent', provider: 'second' });
    });
  }

  it('writes each next provider before it is called, and counts all of them as one attempt', async () => {
    const seen: string[][] = [];
    const look = async (): Promise<typeof DOWN> => {
      seen.push(providersOf(await stateOf(delivery, row)));
      return DOWN;
    };
    await using delivery = await openDelivery({
      providers: [new FakeProvider('a', look), new FakeProvider('b', look), new FakeProvider('c', look)],
    });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    expect(seen).to.deep.equal([['a'], ['a', 'b'], ['a', 'b', 'c']]);
    expect(await stateOf(delivery, row)).to.include({ status: 'pending', reason: 'retrying', attempt: 1, version: 5 });
  });

  it('moves only those targets on that the provider could not serve, and obeys what it asked of the others', async () => {
    const first = new FakeProvider('first', ({ message }) => {
      if (message.to === 'a') return SENT;
      return message.to === 'b' ? DOWN : { outcome: 'rate_limited', retryAfterMs: 300 * SECOND };
    });
    const second = new FakeProvider('second', SENT);
    await using delivery = await openDelivery({ providers: [first, second] });
    const row = await delivery.insert(
      aNotification({ state: { targets: [{ address: 'a' }, { address: 'b' }, { address: 'c' }] } }),
    );
    await delivery.deliver(row);
    expect(second.calls.map((call) => call.message.to)).to.deep.equal(['b']);
    const state = await stateOf(delivery, row);
    expect(state.targets.map((t) => t.provider)).to.deep.equal(['first', 'second', undefined]);
    expect(state).to.include({ reason: 'rate_limited', attempt: 0, dueAt: NOW + 300 * SECOND });
  });

  it('asks the provider that may have taken it first, for as long as that is not known', async () => {
    const first = new FakeProvider('first', (_call, n) => (n === 1 ? DOWN : SENT));
    const second = new FakeProvider(
      'second',
      (_call, n) => [UNKNOWN, BUSY, { outcome: 'rate_limited' as const }, SENT][n - 1] ?? SENT,
    );
    await using delivery = await openDelivery({ providers: [first, second] });
    const row = await delivery.insert(aNotification());
    const state = await deliverDue(delivery, row, 4);
    expect(state.status).to.equal('sent');
    expect(providersOf(state)).to.deep.equal(['first', 'second', 'second', 'second', 'second']);
    expect(first.calls).to.have.length(1);
  });

  it('begins with the first provider again in a new run', async () => {
    const first = new FakeProvider('first', (_call, n) => (n === 1 ? DOWN : SENT));
    const second = new FakeProvider('second', UNKNOWN);
    await using delivery = await openDelivery({ providers: [first, second] });
    const row = await delivery.insert(aNotification({ spec: { unknownOutcome: 'hold' } }));
    await delivery.deliver(row);
    const held = await delivery.stored(row.spec.id);
    expect(held.state).to.include({ status: 'failed', reason: 'outcome_unknown' });
    await delivery.storage.update([{ from: held.state.version, row: redrive(held, NOW) }]);
    await delivery.deliver(row);
    expect((await stateOf(delivery, row)).targets[0]).to.include({ outcome: 'sent', provider: 'first' });
  });
});
