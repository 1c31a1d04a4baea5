import { expect } from 'chai';
import { DAY, MINUTE } from '../../src/domain/clock.ts';
import type { FailedReason, Notification, NotificationSpec } from '../../src/domain/notification.ts';
import { failed } from '../../src/domain/transitions.ts';
import { redriveNotifications } from '../../src/pipeline/redrive.ts';
import type { RedriveRequest, Redriven } from '../../src/pipeline/redrive.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { SAMPLE_TIME, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;

const aFailed = (reason: FailedReason = 'attempts_exhausted', spec: Partial<NotificationSpec> = {}, at: number = NOW) =>
  failed(aNotification({ spec }), reason, at);

async function redrive(pipeline: Pipeline, request: Partial<RedriveRequest> = {}): Promise<Redriven> {
  const all: RedriveRequest = {
    tenant: 'default',
    query: { status: 'failed' },
    reasons: [],
    dryRun: false,
    limit: 100,
  };
  return redriveNotifications({ ...all, ...request }, { ...pipeline, contentMs: 30 * DAY });
}

async function insert(pipeline: Pipeline, ...rows: readonly Notification[]): Promise<string[]> {
  await pipeline.storage.insert(rows);
  return rows.map((row) => row.spec.id);
}

describe('redrive', () => {
  it('starts a new run of what failed, and publishes its hint and event', async () => {
    await using pipeline = await openPipeline();
    const [id = ''] = await insert(pipeline, aFailed());
    expect(await redrive(pipeline)).to.deep.equal({ ids: [id] });
    expect((await pipeline.stored(id)).state).to.include({ status: 'queued', run: 2, attempt: 0, version: 3 });
    await pipeline.clock.until('the hint', () => pipeline.queue.published.some((h) => h.id === id && h.version === 3));
    await pipeline.clock.until('the event', async () => (await pipeline.fed()).some((e) => e.version === 3));
  });

  it('takes failed ones only: of the tenant, of the reasons, not expired, with their content still there', async () => {
    await using pipeline = await openPipeline();
    const [exhausted = '', poisoned = ''] = await insert(
      pipeline,
      aFailed(),
      aFailed('poisoned'),
      aFailed('poisoned', { tenant: 'shop' }),
      aFailed('poisoned', { expiresAt: NOW }),
      aFailed('poisoned', {}, NOW - 30 * DAY),
      aNotification(),
    );
    const all = await pipeline.storage.list({ tenant: 'default', limit: 100 });
    const ids = all.map((row) => row.spec.id);
    expect((await redrive(pipeline, { ids, reasons: ['poisoned'], dryRun: true })).ids).to.deep.equal([poisoned]);
    expect((await redrive(pipeline, { ids, dryRun: true })).ids).to.have.members([exhausted, poisoned]);
    expect((await redrive(pipeline, { dryRun: true })).ids).to.have.members([exhausted, poisoned]);
  });

  it('writes nothing in a dry run', async () => {
    await using pipeline = await openPipeline();
    const row = aFailed();
    await insert(pipeline, row);
    expect((await redrive(pipeline, { dryRun: true })).ids).to.deep.equal([row.spec.id]);
    expect((await pipeline.stored(row.spec.id)).state).to.deep.equal(row.state);
    await pipeline.clock.advance(MINUTE);
    expect(pipeline.queue.published).to.have.length(0);
  });

  it('goes through everything page by page, and drives each once', async () => {
    await using pipeline = await openPipeline();
    const all = await insert(
      pipeline,
      ...Array.from({ length: 7 }, (_, i) => aFailed('rejected', { createdAt: NOW + i })),
    );
    const driven: string[] = [];
    let belowId: string | undefined;
    do {
      const page = await redrive(pipeline, { query: { status: 'failed', ...(belowId && { belowId }) }, limit: 3 });
      driven.push(...page.ids);
      belowId = page.belowId;
    } while (belowId);
    expect(driven.toSorted()).to.deep.equal(all.toSorted());
  });

  it('drives a row once that two calls want at the same time', async () => {
    await using pipeline = await openPipeline();
    const [id = ''] = await insert(pipeline, aFailed());
    const answers = await Promise.all([redrive(pipeline, { ids: [id] }), redrive(pipeline, { ids: [id] })]);
    expect(answers.flatMap((answer) => answer.ids)).to.deep.equal([id]);
    expect((await pipeline.stored(id)).state).to.include({ run: 2, version: 3 });
  });
});
