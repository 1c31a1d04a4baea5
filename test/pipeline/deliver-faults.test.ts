import { expect } from 'chai';
import { SECOND } from '../../src/domain/clock.ts';
import type { Notification, NotificationState } from '../../src/domain/notification.ts';
import { ABORT_GRACE } from '../../src/pipeline/call.ts';
import { cancelNotification } from '../../src/pipeline/cancel.ts';
import { SKEW } from '../../src/pipeline/attempt.ts';
import { RenderError } from '../../src/pipeline/render-error.ts';
import type { SendResult } from '../../src/providers/provider.ts';
import { eventually } from '../support/eventually.ts';
import { LEASE, openDelivery } from '../support/fake-delivery.ts';
import type { Delivery } from '../support/fake-delivery.ts';
import { Outage } from '../support/fake-faults.ts';
import type { Failure } from '../support/fake-faults.ts';
import { DOWN, FakeProvider, SENT } from '../support/fake-provider.ts';
import { SAMPLE_TIME, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;

async function stateOf(delivery: Delivery, row: Notification): Promise<NotificationState> {
  return (await delivery.stored(row.spec.id)).state;
}

/** Fails the n-th write of rows. */
function failUpdate(n: number, failure: Failure): (method: string) => Failure | undefined {
  let updates = 0;
  return (method) => (method === 'update' && ++updates === n ? failure : undefined);
}

async function openHanging(
  attemptDeadline: number,
): Promise<{ delivery: Delivery; late: PromiseWithResolvers<SendResult>; provider: FakeProvider }> {
  const late = Promise.withResolvers<SendResult>();
  const provider = new FakeProvider('smtp', () => late.promise);
  const delivery = await openDelivery({ providers: [provider], attemptDeadline });
  return { delivery, late, provider };
}

describe('a claim', () => {
  it('that another worker wins sends nothing', async () => {
    const provider = new FakeProvider('smtp', SENT);
    await using delivery = await openDelivery({ providers: [provider] });
    const row = await delivery.insert(aNotification());
    const answers = await Promise.all(Array.from({ length: 5 }, () => delivery.deliver(row)));
    expect(answers).to.deep.equal(answers.map(() => ({ answer: 'done' })));
    expect(provider.calls).to.have.length(1);
    expect(await stateOf(delivery, row)).to.include({ status: 'sent', attempt: 1, version: 3 });
  });

  it('that took place without its answer sends once', async () => {
    const provider = new FakeProvider('smtp', SENT);
    const storage = failUpdate(1, { reason: 'STORE_UNAVAILABLE', after: true });
    await using delivery = await openDelivery({ providers: [provider], storage });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    expect(provider.calls).to.have.length(1);
    expect(await stateOf(delivery, row)).to.include({ status: 'sent', attempt: 1 });
    await delivery.clock.until('all three events', async () => (await delivery.fed()).length === 3);
  });

  it('that did not take place sends nothing and leaves the row to its hint', async () => {
    const provider = new FakeProvider('smtp', SENT);
    const storage = failUpdate(1, { reason: 'STORE_UNAVAILABLE' });
    await using delivery = await openDelivery({ providers: [provider], storage });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    expect(provider.calls).to.have.length(0);
    expect(await stateOf(delivery, row)).to.deep.equal(row.state);
  });

  it('is not made when the process cannot wait for its outcome any longer: the job goes back', async () => {
    const provider = new FakeProvider('smtp', SENT);
    await using delivery = await openDelivery({ providers: [provider], signal: AbortSignal.abort() });
    const row = await delivery.insert(aNotification());
    expect(await delivery.deliver(row)).to.deep.equal({ answer: { later: 0 } });
    expect(await stateOf(delivery, row)).to.deep.equal(row.state);
  });

  for (const [what, passed, spec] of [
    ['its lease has nearly ended', LEASE - SKEW, {}],
    ['it has expired', 10, { expiresAt: NOW + 10 }],
  ] as const) {
    it(`is not followed by a call when ${what} by the time it is written`, async () => {
      const provider = new FakeProvider('smtp', SENT);
      let updates = 0;
      const storage = async (method: string): Promise<undefined> => {
        if (method === 'update' && ++updates === 1) await delivery.clock.advance(passed);
      };
      const delivery: Delivery = await openDelivery({ providers: [provider], storage });
      await using _ = delivery;
      const row = await delivery.insert(aNotification({ spec }));
      await delivery.deliver(row);
      expect(provider.calls).to.have.length(0);
      const end = 'expiresAt' in spec ? 'cancelled expired' : 'pending retrying';
      const { status, reason } = await stateOf(delivery, row);
      expect(`${status} ${reason}`).to.equal(end);
    });
  }
});

describe('a cancel request', () => {
  async function cancelDuring(
    said: SendResult,
  ): Promise<{ state: NotificationState; result: string; second: FakeProvider }> {
    const cancelling = async (): Promise<SendResult> => {
      const where = { tenant: 'default', id: row.spec.id };
      result = (await cancelNotification(where, delivery)).result;
      return said;
    };
    let result = '';
    const second = new FakeProvider('second', SENT);
    const delivery = await openDelivery({ providers: [new FakeProvider('first', cancelling), second] });
    await using _ = delivery;
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    return { state: await stateOf(delivery, row), result, second };
  }

  it('during a call that fails is honoured: no further provider is called', async () => {
    const { state, result, second } = await cancelDuring(DOWN);
    expect(result).to.equal('requested');
    expect(second.calls).to.have.length(0);
    expect(state).to.include({ status: 'cancelled', reason: 'cancelled_by_caller' });
  });

  it('during a call that succeeds comes too late', async () => {
    const { state } = await cancelDuring(SENT);
    expect(state).to.include({ status: 'sent', cancelRequested: true });
  });
});

describe('a settle', () => {
  it('is repeated while the store is away, and nothing is claimed meanwhile', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'update', 'find');
    const provider = new FakeProvider('smtp', (_call, n) => {
      if (n === 1) outage.on = true;
      return SENT;
    });
    await using delivery = await openDelivery({ providers: [provider], storage: outage.fault });
    const [first, second] = [await delivery.insert(aNotification()), await delivery.insert(aNotification())];
    const done = delivery.deliver(first);
    await delivery.clock.until('the settle fails', () => delivery.lines.some((l) => l.fields['step'] === 'settle'), 0);
    const waiting = delivery.deliver(second);
    await delivery.clock.advance(20 * SECOND);
    expect(provider.calls).to.have.length(1);
    expect(await stateOf(delivery, second)).to.deep.equal(second.state);
    outage.on = false;
    let ended = false;
    const both = Promise.all([done, waiting]).then(() => (ended = true));
    await delivery.clock.until('both are done', () => ended);
    await both;
    expect(provider.calls).to.have.length(2);
    for (const row of [first, second]) expect(await stateOf(delivery, row)).to.include({ status: 'sent', attempt: 1 });
  });

  it('that took place without its answer is not written twice', async () => {
    const storage = failUpdate(2, { reason: 'STORE_UNAVAILABLE', after: true });
    await using delivery = await openDelivery({ providers: [new FakeProvider('smtp', SENT)], storage });
    const row = await delivery.insert(aNotification());
    let ended = false;
    const done = delivery.deliver(row).then(() => (ended = true));
    await delivery.clock.until('it is done', () => ended);
    await done;
    expect(await stateOf(delivery, row)).to.include({ status: 'sent', version: 3 });
  });

  it('that the store refuses for good is given up past the lease', async () => {
    let updates = 0;
    const storage = (method: string): Failure | undefined =>
      method === 'update' && ++updates > 1 ? { reason: 'INTERNAL' } : undefined;
    await using delivery = await openDelivery({ providers: [new FakeProvider('smtp', SENT)], storage });
    const row = await delivery.insert(aNotification());
    let ended = false;
    const done = delivery.deliver(row).then(() => (ended = true));
    await delivery.clock.until('it is given up', () => ended, SECOND);
    await done;
    expect(delivery.clock.now() - NOW).to.be.at.least(LEASE);
    expect((await stateOf(delivery, row)).status).to.equal('processing');
  });

  it('follows a fail-over whose write failed, without a call of the next provider', async () => {
    const second = new FakeProvider('second', SENT);
    for (const after of [false, true]) {
      const storage = failUpdate(2, { reason: 'STORE_UNAVAILABLE', after });
      await using delivery = await openDelivery({ providers: [new FakeProvider('first', DOWN), second], storage });
      const row = await delivery.insert(aNotification());
      await delivery.deliver(row);
      expect(await stateOf(delivery, row)).to.include({ status: 'pending', reason: 'retrying', attempt: 1 });
    }
    expect(second.calls).to.have.length(0);
  });
});

describe('a provider', () => {
  it('that throws leaves the outcome unknown', async () => {
    const provider = new FakeProvider('smtp', () => {
      throw new TypeError('a fault of the program');
    });
    await using delivery = await openDelivery({ providers: [provider, new FakeProvider('second', SENT)] });
    const row = await delivery.insert(aNotification({ spec: { unknownOutcome: 'hold' } }));
    await delivery.deliver(row);
    const state = await stateOf(delivery, row);
    expect(state).to.include({ status: 'failed', reason: 'outcome_unknown' });
    expect(state.attempts.map((a) => a.provider)).to.deep.equal(['smtp']);
  });

  it('is told to stop at the deadline; the next one is not called after it', async () => {
    const first = new FakeProvider('first', ({ signal }) => {
      const { promise, resolve } = Promise.withResolvers<SendResult>();
      signal.addEventListener('abort', () => resolve(DOWN), { once: true });
      return promise;
    });
    const second = new FakeProvider('second', SENT);
    await using delivery = await openDelivery({ providers: [first, second], attemptDeadline: 20 });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    expect(second.calls).to.have.length(0);
    expect(await stateOf(delivery, row)).to.include({ status: 'pending', reason: 'retrying' });
  });

  it('is told to stop before the lease ends, however long the claim took', async () => {
    const late = Promise.withResolvers<SendResult>();
    const provider = new FakeProvider('smtp', () => late.promise);
    let updates = 0;
    const storage = async (method: string): Promise<undefined> => {
      if (method === 'update' && ++updates === 1) await delivery.clock.advance(LEASE - SKEW - 20);
    };
    const delivery: Delivery = await openDelivery({ providers: [provider], storage });
    await using _ = delivery;
    const row = await delivery.insert(aNotification());
    const done = delivery.deliver(row);
    await eventually('the abort', () => provider.calls[0]?.signal.aborted === true);
    late.resolve(SENT);
    await done;
    expect((await stateOf(delivery, row)).status).to.equal('sent');
  });

  it('that ignores its signal leaves the outcome unknown some seconds later; a late sent still counts', async () => {
    const { delivery, late, provider } = await openHanging(10);
    await using _ = delivery;
    const row = await delivery.insert(aNotification());
    const done = delivery.deliver(row);
    await eventually('the abort', () => provider.calls[0]?.signal.aborted === true);
    await delivery.clock.advance(ABORT_GRACE);
    await done;
    expect(await stateOf(delivery, row)).to.include({ status: 'pending', reason: 'retrying', attempt: 1 });
    late.resolve(SENT);
    await delivery.deliverer.drained();
    expect(await stateOf(delivery, row)).to.include({ status: 'sent' });
    expect(await delivery.deliver(row)).to.deep.equal({ answer: 'done' });
    expect(provider.calls).to.have.length(1);
  });

  it('that answers late for one target does not decide for the others, even before the attempt is settled', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'update');
    const answers = new Map([
      ['a', Promise.withResolvers<SendResult>()],
      ['b', Promise.withResolvers<SendResult>()],
    ]);
    const provider = new FakeProvider('smtp', ({ message }) => answers.get(message.to)?.promise ?? SENT);
    await using delivery = await openDelivery({ providers: [provider], attemptDeadline: 10, storage: outage.fault });
    const targets = [{ address: 'a' }, { address: 'b' }];
    const row = await delivery.insert(aNotification({ spec: { unknownOutcome: 'hold' }, state: { targets } }));
    let ended = false;
    const done = delivery.deliver(row).then(() => (ended = true));
    await eventually('the abort', () => provider.calls.length === 2 && provider.calls.every((c) => c.signal.aborted));
    outage.on = true;
    await delivery.clock.advance(ABORT_GRACE);
    await delivery.clock.until('the settle fails', () => delivery.lines.some((l) => l.fields['step'] === 'settle'), 0);
    // The store is back before the settle looks again, and the late answer is the first to come.
    outage.on = false;
    answers.get('a')?.resolve(SENT);
    await delivery.clock.advance(0);
    await delivery.insert(aNotification());
    await delivery.clock.until('it is settled', () => ended);
    await done;
    answers.get('b')?.resolve({ outcome: 'permanent_failure' });
    await delivery.deliverer.drained();
    const state = await stateOf(delivery, row);
    expect(state.targets.map((t) => t.outcome)).to.deep.equal(['sent', 'unknown']);
    expect(state.status).to.equal('sent');
  });

  it('is aborted when the process cannot wait any longer', async () => {
    const stop = new AbortController();
    const provider = new FakeProvider('smtp', ({ signal }) => {
      const { promise, resolve } = Promise.withResolvers<SendResult>();
      signal.addEventListener('abort', () => resolve({ outcome: 'unknown' }), { once: true });
      return promise;
    });
    await using delivery = await openDelivery({ providers: [provider], signal: stop.signal });
    const row = await delivery.insert(aNotification());
    const done = delivery.deliver(row);
    await eventually('the call', () => provider.calls.length === 1);
    stop.abort();
    await done;
    expect(await stateOf(delivery, row)).to.include({ status: 'pending', reason: 'retrying' });
  });
});

describe('a job that was delivered suspiciously often', () => {
  it('is counted in the row before anything is tried, and is POISONED at the fifth start', async () => {
    const provider = new FakeProvider('smtp', SENT);
    const counts: number[] = [];
    const dies = new TypeError('the worker dies here');
    await using delivery = await openDelivery({
      providers: [provider],
      render: (row) => {
        counts.push(row.state.starts);
        throw dies;
      },
    });
    const row = await delivery.insert(aNotification());
    for (let i = 0; i < 4; i++) {
      const thrown = await delivery.deliver(row, 20 + i).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(thrown).to.equal(dies);
    }
    await delivery.deliver(row, 24);
    expect(counts).to.deep.equal([1, 2, 3, 4]);
    expect(await stateOf(delivery, row)).to.include({ status: 'failed', reason: 'poisoned' });
    expect(provider.calls).to.have.length(0);
  });

  it('starts from zero after any other write', async () => {
    await using delivery = await openDelivery({ providers: [new FakeProvider('smtp', DOWN)] });
    const row = await delivery.insert(aNotification({ state: { starts: 3 } }));
    await delivery.deliver(row, 20);
    expect(await stateOf(delivery, row)).to.include({ status: 'pending', reason: 'retrying', starts: 0 });
  });

  it('is counted no more than once by an ordinary end', async () => {
    await using delivery = await openDelivery({
      providers: [new FakeProvider('smtp', SENT)],
      render: () => {
        throw new RenderError('no such variable');
      },
    });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row, 19);
    expect(await stateOf(delivery, row)).to.include({ reason: 'render_failed', version: 2 });
  });
});
