import { expect } from 'chai';
import { DAY, MINUTE, SECOND } from '../../src/domain/clock.ts';
import type { Notification, NotificationState } from '../../src/domain/notification.ts';
import type { ProviderReceipt, ReceiptKind } from '../../src/domain/receipt.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { SAMPLE_TIME, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;
const ana = 'ana@example.com';

function told(row: Notification, kind: ReceiptKind, more: Partial<ProviderReceipt> = {}): ProviderReceipt {
  return { eventId: `${kind}-1`, kind, notificationId: row.spec.id, at: NOW, ...more };
}

const byB = (): Notification =>
  aNotification({
    state: {
      status: 'sent',
      targets: [{ address: ana, outcome: 'sent', provider: 'b' }],
      attempts: (['a', 'b'] as const).map((provider, i) => ({
        run: 1,
        number: i + 1,
        provider,
        choice: 'first',
        skipped: [],
        targets: [0],
        startedAt: NOW,
        endedAt: NOW,
        results: [{ target: 0, outcome: provider === 'a' ? 'unknown' : 'sent' }],
      })),
    },
  });

async function take(pipeline: Pipeline, provider: string, ...given: ProviderReceipt[]): Promise<void> {
  await pipeline.receipts.take(provider, given);
  await pipeline.receipts[Symbol.asyncDispose]();
}

const stateOf = async (pipeline: Pipeline, row: Notification): Promise<NotificationState> =>
  (await pipeline.stored(row.spec.id)).state;

describe('receipts', () => {
  it('of a provider that was never asked changes nothing: it cannot make a notification that waits count as sent', async () => {
    await using pipeline = await openPipeline();
    const row = aNotification();
    await pipeline.storage.insert([row]);
    await take(pipeline, 'sendgrid', told(row, 'delivered'));
    expect((await stateOf(pipeline, row)).status).to.equal('queued');
  });

  it('of a provider that was never asked suppress nobody', async () => {
    await using pipeline = await openPipeline();
    const row = byB();
    await pipeline.storage.insert([row]);
    await take(pipeline, 'sendgrid', told(row, 'bounced', { hard: true }));
    expect(await pipeline.suppressor.of('default', 'email', ana)).to.deep.equal([]);
  });

  it('that the call with the unknown outcome failed does not undo what another provider took', async () => {
    await using pipeline = await openPipeline();
    const row = byB();
    await pipeline.storage.insert([row]);
    await take(pipeline, 'a', told(row, 'failed'));
    expect((await stateOf(pipeline, row)).status).to.equal('sent');
  });

  it('an unsubscribe of nobody knows whom, where copies went out too, does not stop the recipient', async () => {
    await using pipeline = await openPipeline();
    const plain = byB();
    const email = { cc: [{ email: 'cc@example.com' }], bcc: [], headers: {} };
    const row = { ...plain, spec: { ...plain.spec, email } };
    await pipeline.storage.insert([row]);
    await take(pipeline, 'b', told(row, 'unsubscribed'));
    expect(await pipeline.suppressor.of('default', 'email', ana)).to.deep.equal([]);
  });

  it('an unsubscribe that comes late does not undo the resubscribe after it', async () => {
    await using pipeline = await openPipeline();
    const row = byB();
    await pipeline.storage.insert([row]);
    await take(pipeline, 'b', told(row, 'resubscribed', { address: ana, at: NOW + MINUTE }));
    await take(pipeline, 'b', told(row, 'unsubscribed', { address: ana, at: NOW }));
    expect(await pipeline.suppressor.of('default', 'email', ana)).to.deep.equal([]);
  });

  it('are applied once, also when there are many and the mark of all is lost', async () => {
    let lose = true;
    await using pipeline = await openPipeline({
      storage: (method) => (lose && method === 'markReceipts' ? { reason: 'STORE_UNAVAILABLE' } : undefined),
    });
    const row = byB();
    await pipeline.storage.insert([row]);
    const many = Array.from({ length: 60 }, (_, i) => told(row, 'opened', { eventId: `e${i}`, at: NOW + i }));
    await take(pipeline, 'b', ...many);
    const { version } = await stateOf(pipeline, row);
    lose = false;
    await pipeline.clock.advance(MINUTE);
    await pipeline.receipts.applyDue(100);
    expect((await stateOf(pipeline, row)).version).to.equal(version);
  });

  it('a token that dies a second time, after it was registered anew, is dead again', async () => {
    await using pipeline = await openPipeline();
    const device = { kind: 'apns', token: 't', registeredAt: NOW + SECOND } as const;
    const row = aNotification({
      spec: { channel: 'push', recipient: { devices: [device] } },
      state: { targets: [{ address: 't' }] },
    });
    const dead = { outcome: 'invalid_recipient', suppress: 'invalid_token' } as const;
    await pipeline.receipts.suppressFrom(row, 'apns', 0, dead);
    await pipeline.clock.advance(DAY);
    await pipeline.receipts.suppressFrom(row, 'apns', 0, dead);
    expect((await pipeline.suppressor.stops(row.spec, ['t']))[0]).not.to.equal(undefined);
  });
});
