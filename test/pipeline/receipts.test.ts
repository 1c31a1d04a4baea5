import { expect } from 'chai';
import { DAY, MINUTE, SECOND } from '../../src/domain/clock.ts';
import type { Attempt, Notification, NotificationState, Target } from '../../src/domain/notification.ts';
import type { ProviderReceipt, ReceiptKind } from '../../src/domain/receipt.ts';
import { claim, sent } from '../../src/domain/transitions.ts';
import { RECEIPT_LIFE } from '../../src/pipeline/receipts.ts';
import { eventually } from '../support/eventually.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { SAMPLE_TIME, aCall, aNotification, withState } from '../support/sample.ts';

const NOW = SAMPLE_TIME;

function told(row: Notification, kind: ReceiptKind, more: Partial<ProviderReceipt> = {}): ProviderReceipt {
  return { eventId: `${kind}-1`, kind, notificationId: row.spec.id, at: NOW, ...more };
}

function aSent(more: Partial<NotificationState> = {}): Notification {
  const row = aNotification();
  const taken: readonly Target[] = [{ address: 'ana@example.com', outcome: 'sent', provider: 'ses' }];
  return withState(sent(row, { targets: taken, attempts: [] }, NOW), more);
}

/** Its one call had no answer; the next one is due in a minute. */
function aWaiting(): Notification {
  const attempt: Attempt = { ...aCall('ses'), run: 1, number: 1, startedAt: NOW, endedAt: NOW, results: [] };
  const results = [{ target: 0, outcome: 'unknown' }] as const;
  return aNotification({
    state: { status: 'pending', reason: 'retrying', dueAt: NOW + MINUTE, attempts: [{ ...attempt, results }] },
  });
}

async function stateAfter(pipeline: Pipeline, row: Notification, ...given: ProviderReceipt[]) {
  await pipeline.storage.insert([row]);
  await pipeline.receipts.take('ses', given);
  await pipeline.receipts[Symbol.asyncDispose]();
  return (await pipeline.stored(row.spec.id)).state;
}

describe('a receipt', () => {
  for (const [kind, status] of [
    ['delivered', 'delivered'],
    ['opened', 'delivered'],
    ['clicked', 'delivered'],
    ['complained', 'delivered'],
    ['unsubscribed', 'delivered'],
    ['bounced', 'bounced'],
    ['failed', 'bounced'],
    ['resubscribed', 'sent'],
  ] as const) {
    it(`'${kind}' leaves a sent notification ${status}, and its event tells the kind`, async () => {
      await using pipeline = await openPipeline();
      const row = aSent();
      const state = await stateAfter(pipeline, row, told(row, kind));
      expect(state.status).to.equal(status);
      expect(state.receipts.map((r) => [r.provider, r.kind])).to.deep.equal([['ses', kind]]);
      expect(state.history.at(-1)).to.include({ status, receipt: kind });
    });
  }

  it('of what is known already changes nothing', async () => {
    await using pipeline = await openPipeline();
    const row = aSent();
    const state = await stateAfter(pipeline, row, told(row, 'sent'));
    expect(state.version).to.equal(row.state.version);
  });

  it('of an open does not put off the day on which the content is erased', async () => {
    await using pipeline = await openPipeline();
    const row = aSent();
    const arrived = await stateAfter(pipeline, row, told(row, 'delivered'));
    await pipeline.clock.advance(DAY);
    const opened = await stateAfter(pipeline, row, told(row, 'opened', { at: NOW + DAY }));
    expect(opened.receipts).to.have.length(2);
    expect(opened.updatedAt).to.equal(arrived.updatedAt);
  });

  it('is applied once, however often it comes', async () => {
    await using pipeline = await openPipeline();
    const row = aSent();
    await stateAfter(pipeline, row, told(row, 'delivered'));
    const state = await stateAfter(pipeline, row, told(row, 'delivered'));
    expect(state.version).to.equal(row.state.version + 1);
  });

  it('is applied once, also when its mark is lost', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'markReceipts');
    outage.on = true;
    await using pipeline = await openPipeline({ storage: outage.fault });
    const row = aSent();
    const before = await stateAfter(pipeline, row, told(row, 'delivered'));
    outage.on = false;
    await pipeline.clock.advance(MINUTE);
    await pipeline.receipts.applyDue(10);
    expect((await pipeline.stored(row.spec.id)).state.version).to.equal(before.version);
    expect(await pipeline.storage.receiptsOf([row.spec.id])).to.deep.equal([]);
  });

  it('never moves a notification back, in whatever order they come', async () => {
    const kinds: readonly ReceiptKind[] = ['bounced', 'delivered', 'opened', 'sent'];
    for (const first of kinds) {
      await using pipeline = await openPipeline();
      const row = aSent();
      await stateAfter(pipeline, row, told(row, first));
      const rest = kinds.filter((kind) => kind !== first).map((kind) => told(row, kind));
      expect((await stateAfter(pipeline, row, ...rest)).status).to.equal('bounced');
    }
  });

  it('proves that a call with an unknown outcome was taken: no second one is made', async () => {
    await using pipeline = await openPipeline();
    const waiting = aWaiting();
    const state = await stateAfter(pipeline, waiting, told(waiting, 'delivered'));
    expect(state.status).to.equal('delivered');
    expect(state.targets[0]).to.include({ outcome: 'sent', provider: 'ses' });
    expect(state.history.map(({ status }) => status)).to.deep.equal(['queued', 'sent', 'delivered']);
  });

  it('proves so for one target of several, also where the row was given up as sent', async () => {
    await using pipeline = await openPipeline();
    const others: readonly Target[] = [{ address: 'bob@example.com', outcome: 'unknown' }];
    const row = aSent({
      targets: [...aSent().state.targets, ...others],
      attempts: aWaiting().state.attempts,
    });
    const state = await stateAfter(pipeline, row, told(row, 'delivered', { address: 'bob@example.com' }));
    expect(state.status).to.equal('delivered');
    expect(state.targets[1]).to.include({ outcome: 'sent', provider: 'ses' });
  });

  it('that the provider gave up leaves a notification with tries left to its next one', async () => {
    await using pipeline = await openPipeline();
    const waiting = aWaiting();
    const state = await stateAfter(pipeline, waiting, told(waiting, 'failed'));
    expect(state).to.include({ status: 'pending', reason: 'retrying', dueAt: NOW + MINUTE });
    expect(state.targets[0]?.outcome).to.equal(undefined);
  });

  it('waits while the notification is being sent, and is applied when it was settled', async () => {
    await using pipeline = await openPipeline();
    const row = claim(aNotification(), { id: 'lease', until: NOW + MINUTE }, [aCall('ses')], NOW);
    expect((await stateAfter(pipeline, row, told(row, 'delivered'))).status).to.equal('processing');
    const settled = sent(row, { targets: aSent().state.targets, attempts: row.state.attempts }, NOW);
    await pipeline.rows.writeOne(row, settled);
    pipeline.receipts.applyTo([row.spec.id]);
    await eventually('the receipt', async () => (await pipeline.stored(row.spec.id)).state.status === 'delivered');
  });

  it('that came before its notification could be read is applied by the scheduler', async () => {
    await using pipeline = await openPipeline();
    const row = aSent();
    await pipeline.receipts.take('ses', [told(row, 'delivered')]);
    await pipeline.receipts[Symbol.asyncDispose]();
    await pipeline.storage.insert([row]);
    await pipeline.clock.advance(30 * SECOND);
    await pipeline.receipts.applyDue(10);
    expect((await pipeline.stored(row.spec.id)).state.status).to.equal('delivered');
  });

  it('of a notification that does not exist is given up after a week, and told', async () => {
    await using pipeline = await openPipeline();
    await pipeline.receipts.take('ses', [told(aNotification(), 'delivered')]);
    for (let at = 0; at <= RECEIPT_LIFE; at += DAY) {
      await pipeline.clock.advance(DAY);
      await pipeline.receipts.applyDue(10);
    }
    expect(await pipeline.storage.dueReceipts(pipeline.clock.now() + DAY, 10)).to.deep.equal([]);
    expect(pipeline.lines.map(({ fields }) => fields['event'])).to.include('receipt_dropped');
  });

  it('of a copy says nothing of the notification, and what it says of the copy counts', async () => {
    await using pipeline = await openPipeline();
    const row = aSent();
    const copy = { address: 'copy@example.com' };
    const state = await stateAfter(pipeline, row, told(row, 'bounced', { hard: true, ...copy }));
    expect(state.status).to.equal('sent');
    expect(await pipeline.suppressor.of('default', 'email', 'copy@example.com')).to.have.length(1);
    expect(await pipeline.suppressor.of('default', 'email', 'ana@example.com')).to.have.length(0);
  });

  it('is not taken when it cannot be stored', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'saveReceipts');
    outage.on = true;
    await using pipeline = await openPipeline({ storage: outage.fault });
    const thrown = await pipeline.receipts.take('ses', [told(aSent(), 'delivered')]).catch((error: unknown) => error);
    expect(thrown).to.have.property('reason', 'STORE_UNAVAILABLE');
  });
});

describe('what a receipt says of an address', () => {
  for (const [what, more, expected] of [
    ['a hard bounce stops everything', { kind: 'bounced', hard: true }, [['hard_bounce', undefined]]],
    ['a soft bounce stops nothing', { kind: 'bounced' }, []],
    ['a complaint stops marketing', { kind: 'complained' }, [['complaint', 'marketing']]],
    ['an unsubscribe stops marketing', { kind: 'unsubscribed' }, [['unsubscribed', 'marketing']]],
    ['a STOP stops the channel', { kind: 'unsubscribed', wholeChannel: true }, [['unsubscribed', undefined]]],
    ['an open stops nothing', { kind: 'opened' }, []],
  ] as const) {
    it(what, async () => {
      await using pipeline = await openPipeline();
      const row = aSent();
      await stateAfter(pipeline, row, told(row, more.kind, more));
      const found = await pipeline.suppressor.of('default', 'email', 'ana@example.com');
      expect(found.map(({ reason, category }) => [reason, category])).to.deep.equal(expected);
      for (const { source } of found) expect(source).to.equal('ses');
    });
  }

  it('a resubscribe takes back the unsubscribe, and nothing else', async () => {
    await using pipeline = await openPipeline();
    const row = aSent();
    const address = 'ana@example.com';
    await stateAfter(
      pipeline,
      row,
      told(row, 'unsubscribed', { address }),
      told(row, 'bounced', { hard: true, address }),
    );
    await stateAfter(pipeline, row, told(row, 'resubscribed', { address, at: NOW + 1 }));
    const found = await pipeline.suppressor.of('default', 'email', address);
    expect(found.map(({ reason }) => reason)).to.deep.equal(['hard_bounce']);
  });
});

describe('a START after a STOP', () => {
  for (const [what, reason, left] of [
    ['lets the channel through again', 'unsubscribed', 0],
    ['does not bring a dead address back', 'hard_bounce', 1],
  ] as const) {
    it(what, async () => {
      await using pipeline = await openPipeline();
      const row = aSent();
      const address = 'ana@example.com';
      await pipeline.suppressor.add([{ tenant: 'default', channel: 'email', address, reason, source: 'custom' }]);
      await stateAfter(pipeline, row, told(row, 'resubscribed', { address, wholeChannel: true }));
      expect(await pipeline.suppressor.of('default', 'email', address)).to.have.length(left);
    });
  }
});

describe('STOP and START', () => {
  const address = 'ana@example.com';
  type Said = readonly [kind: ReceiptKind, at: number, more?: Partial<ProviderReceipt>];
  /** Each as a callback of its own. */
  async function standing(pipeline: Pipeline, row: Notification, ...said: readonly Said[]): Promise<string[]> {
    for (const [kind, at, more] of said) {
      await stateAfter(pipeline, row, told(row, kind, { eventId: `${kind} ${at}`, at, wholeChannel: true, ...more }));
    }
    return (await pipeline.suppressor.of('default', 'email', address)).map(({ reason }) => reason).toSorted();
  }
  const [then, later, latest] = [NOW - 2 * MINUTE, NOW - MINUTE, NOW];

  for (const [what, said, expected] of [
    [
      'END by the later one',
      [
        ['unsubscribed', then],
        ['resubscribed', later],
      ],
      [],
    ],
    [
      'a START that comes late frees nothing',
      [
        ['unsubscribed', later],
        ['resubscribed', then],
      ],
      ['unsubscribed'],
    ],
    [
      'a STOP that comes late stops nothing',
      [
        ['resubscribed', later],
        ['unsubscribed', then],
      ],
      [],
    ],
    [
      'a STOP said anew outlives a START that came between',
      [
        ['unsubscribed', then],
        ['unsubscribed', latest],
        ['resubscribed', later],
      ],
      ['unsubscribed'],
    ],
    [
      'a START leaves a dead address dead',
      [
        ['unsubscribed', then],
        ['bounced', then, { hard: true }],
        ['resubscribed', later],
      ],
      ['hard_bounce'],
    ],
    [
      'a START leaves a complaint',
      [
        ['unsubscribed', then],
        ['complained', then],
        ['resubscribed', later],
      ],
      ['complaint'],
    ],
  ] as const satisfies readonly (readonly [string, readonly Said[], readonly string[]])[]) {
    it(what, async () => {
      await using pipeline = await openPipeline();
      expect(await standing(pipeline, aSent(), ...said)).to.deep.equal(expected);
    });
  }

  it('are weighed over all notifications to the address, also in one callback', async () => {
    await using pipeline = await openPipeline();
    const rows = [aSent(), aSent(), aSent()] as const;
    await standing(pipeline, rows[0], ['unsubscribed', then]);
    await pipeline.storage.insert(rows);
    await pipeline.receipts.take('ses', [
      told(rows[1], 'resubscribed', { eventId: 'a', at: later, wholeChannel: true }),
      told(rows[2], 'unsubscribed', { eventId: 'b', at: latest, wholeChannel: true }),
    ]);
    await pipeline.receipts[Symbol.asyncDispose]();
    expect(await pipeline.suppressor.of('default', 'email', address)).to.have.length(1);
  });

  it('say nothing of a block that somebody else has set', async () => {
    await using pipeline = await openPipeline();
    await pipeline.suppressor.add([{ tenant: 'default', channel: 'email', address, reason: 'manual', source: 'api' }]);
    const said = [
      ['unsubscribed', then],
      ['resubscribed', later],
    ] as const;
    expect(await standing(pipeline, aSent(), ...said)).to.deep.equal(['manual']);
  });

  it('of one address say nothing of a copy', async () => {
    await using pipeline = await openPipeline();
    const said = [
      ['unsubscribed', then],
      ['resubscribed', later, { address: 'copy@example.com' }],
    ] as const;
    expect(await standing(pipeline, aSent(), ...said)).to.deep.equal(['unsubscribed']);
  });
});

describe('a receipt that is replayed when its first time is long forgotten', () => {
  it('does not bring a suppression back that was taken away', async () => {
    await using pipeline = await openPipeline();
    const row = aSent();
    const bounce = told(row, 'bounced', { hard: true });
    await stateAfter(pipeline, row, bounce);
    await pipeline.suppressor.remove({ tenant: 'default', channel: 'email', address: 'ana@example.com' });
    await pipeline.clock.advance(RECEIPT_LIFE + DAY);
    await pipeline.receipts.sweep(10);
    await stateAfter(pipeline, row, bounce);
    expect(await pipeline.suppressor.of('default', 'email', 'ana@example.com')).to.deep.equal([]);
  });
});

describe('an answer that says an address is dead', () => {
  const row = aNotification({
    spec: { channel: 'push', recipient: { devices: [{ kind: 'apns', token: 't', registeredAt: NOW }] } },
    state: { targets: [{ address: 't' }] },
  });
  const dead = { outcome: 'invalid_recipient', suppress: 'invalid_token' } as const;

  it('stops it from then on', async () => {
    await using pipeline = await openPipeline();
    await pipeline.receipts.suppressFrom(row, 'apns', 0, dead);
    expect(await pipeline.suppressor.of('default', 'push', 't')).to.have.length(1);
  });

  it('does not when the device was registered since', async () => {
    await using pipeline = await openPipeline();
    await pipeline.receipts.suppressFrom(row, 'apns', 0, { ...dead, since: NOW - 1 });
    expect(await pipeline.suppressor.of('default', 'push', 't')).to.have.length(0);
  });

  it('does not end the delivery when it cannot be written', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'addSuppressions');
    outage.on = true;
    await using pipeline = await openPipeline({ storage: outage.fault });
    await pipeline.receipts.suppressFrom(row, 'apns', 0, dead);
    expect(pipeline.lines.map(({ fields }) => fields['event'])).to.include('store_failed');
  });
});
