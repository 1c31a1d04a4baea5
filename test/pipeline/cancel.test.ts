import { expect } from 'chai';
import { STATUSES, isFinal } from '../../src/domain/notification.ts';
import type { Notification } from '../../src/domain/notification.ts';
import { cancelled, claim, failed } from '../../src/domain/transitions.ts';
import { CarillonError } from '../../src/errors.ts';
import { cancelNotification } from '../../src/pipeline/cancel.ts';
import type { Cancelled } from '../../src/pipeline/cancel.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { aCall, SAMPLE_TIME, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;
const lease = { id: 'lease', until: NOW + 75_000 };

async function cancelRow(pipeline: Pipeline, row: Notification): Promise<Cancelled> {
  await pipeline.storage.insert([row]);
  return cancelNotification({ tenant: 'default', id: row.spec.id }, pipeline);
}

describe('cancel', () => {
  for (const status of ['pending', 'queued'] as const) {
    it(`ends what is ${status} at once, with its event`, async () => {
      await using pipeline = await openPipeline();
      const reason = status === 'pending' ? { reason: 'scheduled' as const } : {};
      const row = aNotification({ state: { status, ...reason } });
      expect(await cancelRow(pipeline, row)).to.deep.equal({ result: 'cancelled', status: 'cancelled' });
      const { state } = await pipeline.stored(row.spec.id);
      expect(state).to.include({ status: 'cancelled', reason: 'cancelled_by_caller', version: 2 });
      await pipeline.clock.until('the event', async () => (await pipeline.fed()).some((e) => e.version === 2));
    });
  }

  it('asks the worker to cancel what is being sent, once', async () => {
    await using pipeline = await openPipeline();
    const row = claim(aNotification(), lease, [aCall()], NOW);
    const requested = { result: 'requested', status: 'processing' };
    expect(await cancelRow(pipeline, row)).to.deep.equal(requested);
    expect(await cancelNotification({ tenant: 'default', id: row.spec.id }, pipeline)).to.deep.equal(requested);
    const { state } = await pipeline.stored(row.spec.id);
    expect(state).to.deep.include({ status: 'processing', cancelRequested: true, version: 3, lease });
  });

  for (const status of STATUSES.filter((s) => isFinal(s) && s !== 'cancelled')) {
    it(`comes too late for what is ${status}`, async () => {
      await using pipeline = await openPipeline();
      const row = aNotification({ state: { status, ...(status === 'failed' && { reason: 'rejected' }) } });
      expect(await cancelRow(pipeline, row)).to.deep.equal({ result: 'too_late', status });
      expect((await pipeline.stored(row.spec.id)).state.version).to.equal(1);
    });
  }

  it('answers a repeat as before, and tells it from what was cancelled for another reason', async () => {
    await using pipeline = await openPipeline();
    const mine = await cancelRow(pipeline, cancelled(aNotification(), 'cancelled_by_caller', NOW));
    expect(mine).to.deep.equal({ result: 'cancelled', status: 'cancelled' });
    const expired = await cancelRow(pipeline, cancelled(aNotification(), 'expired', NOW));
    expect(expired).to.deep.equal({ result: 'too_late', status: 'cancelled' });
  });

  it('looks again when the row moves on meanwhile', async () => {
    for (const [move, result] of [
      [(row: Notification) => claim(row, lease, [aCall()], NOW), 'requested'],
      [(row: Notification) => failed(row, 'rejected', NOW), 'too_late'],
    ] as const) {
      let moved = false;
      const row = aNotification();
      const storage = async (method: string): Promise<undefined> => {
        if (method !== 'update' || moved) return;
        moved = true;
        await pipeline.storage.update([{ from: 1, row: move(row) }]);
      };
      const pipeline: Pipeline = await openPipeline({ storage });
      await using _ = pipeline;
      expect((await cancelRow(pipeline, row)).result).to.equal(result);
    }
  });

  it('knows no notification of another tenant, nor one that does not exist', async () => {
    await using pipeline = await openPipeline();
    const row = aNotification({ spec: { tenant: 'shop' } });
    for (const id of [row.spec.id, 'nothing']) {
      await pipeline.storage.insert([row]);
      const work = cancelNotification({ tenant: 'default', id }, pipeline);
      const reason = await work.then(
        () => undefined,
        (thrown: unknown) => CarillonError.from(thrown).reason,
      );
      expect(reason).to.equal('NOTIFICATION_NOT_FOUND');
    }
    expect((await pipeline.stored(row.spec.id)).state).to.deep.equal(row.state);
  });
});
