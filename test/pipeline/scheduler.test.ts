import { expect } from 'chai';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/domain/clock.ts';
import { systemRandom } from '../../src/domain/id.ts';
import type { Notification, NotificationState } from '../../src/domain/notification.ts';
import { cancelled, claim, needAt, wait } from '../../src/domain/transitions.ts';
import { hintFor } from '../../src/pipeline/dispatch.ts';
import { Retention } from '../../src/pipeline/retention.ts';
import { Scheduler } from '../../src/pipeline/scheduler.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { DEFAULT_BACKOFF, aCall, SAMPLE_TIME, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;

function startScheduler(pipeline: Pipeline): Scheduler {
  const retention = new Retention({ ...pipeline, settledMs: 90 * DAY, contentMs: 30 * DAY });
  return new Scheduler({ ...pipeline, retention, random: systemRandom, backoff: DEFAULT_BACKOFF });
}

async function insert(pipeline: Pipeline, ...rows: Notification[]): Promise<void> {
  await pipeline.storage.insert(rows);
}

async function stateOf(pipeline: Pipeline, row: Notification): Promise<NotificationState> {
  return (await pipeline.stored(row.spec.id)).state;
}

/** Until the scheduler has written the row. */
async function changed(pipeline: Pipeline, row: Notification): Promise<NotificationState> {
  const before = await stateOf(pipeline, row);
  const moved = async (): Promise<NotificationState | undefined> => {
    const state = await stateOf(pipeline, row);
    return state.version !== before.version || state.wakeAt !== before.wakeAt ? state : undefined;
  };
  return pipeline.clock.until('the row changes', moved, SECOND);
}

const queuedAt = (enqueuedAt: number): Notification =>
  aNotification({ spec: { createdAt: enqueuedAt }, state: { published: 1 } });

describe('scheduler', () => {
  it('queues a PENDING row when it is due and not before, and publishes its hint', async () => {
    await using pipeline = await openPipeline();
    await using _ = startScheduler(pipeline);
    const row = wait(aNotification(), { reason: 'scheduled', dueAt: NOW + 10 * SECOND, naked: false }, NOW);
    await insert(pipeline, row);
    await pipeline.clock.advance(9 * SECOND);
    expect(await stateOf(pipeline, row)).to.include({ status: 'pending', version: 2 });
    const state = await changed(pipeline, row);
    expect(state).to.include({ status: 'queued', version: 3 });
    expect(state.enqueuedAt).to.be.at.least(NOW + 10 * SECOND);
    expect(pipeline.queue.published).to.deep.equal([hintFor(await pipeline.stored(row.spec.id))]);
  });

  it('gives a job that was sent back a minute more to bring its row itself', async () => {
    await using pipeline = await openPipeline();
    await using _ = startScheduler(pipeline);
    const row = wait(aNotification(), { reason: 'retrying', dueAt: NOW + 30 * SECOND, naked: true }, NOW);
    const published = { ...row, state: { ...row.state, published: 2, wakeAt: needAt(row.state) ?? 0 } };
    await insert(pipeline, published);
    for (let i = 0; i < 8; i++) await pipeline.clock.advance(10 * SECOND);
    expect(await stateOf(pipeline, row)).to.include({ status: 'pending' });
    expect((await changed(pipeline, row)).status).to.equal('queued');
  });

  it('queues a row again whose hint was lost, with a version and an event of its own', async () => {
    await using pipeline = await openPipeline();
    await using _ = startScheduler(pipeline);
    const row = queuedAt(NOW);
    await insert(pipeline, row);
    const state = await changed(pipeline, row);
    expect(state).to.include({ status: 'queued', version: 2 });
    expect(pipeline.clock.now()).to.be.at.least(NOW + MINUTE);
    await pipeline.clock.until('the hint', () => pipeline.queue.published.length === 1);
    expect(pipeline.queue.published[0]).to.include({ id: row.spec.id, version: 2 });
    await pipeline.clock.until('the event', async () => (await pipeline.fed()).some((e) => e.version === 2));
  });

  it('queues only what is older than the first job of its lane that nobody has taken', async () => {
    await using pipeline = await openPipeline();
    const [lost, first, behind] = [queuedAt(NOW - 5 * MINUTE), queuedAt(NOW - 4 * MINUTE), queuedAt(NOW - 3 * MINUTE)];
    pipeline.queue.undelivered.set('email.normal', NOW - 4 * MINUTE);
    await insert(pipeline, lost, first, behind);
    await using _ = startScheduler(pipeline);
    expect(await changed(pipeline, lost)).to.include({ version: 2 });
    for (const row of [first, behind]) expect((await stateOf(pipeline, row)).version).to.equal(1);
  });

  it('postpones honest backlog by its age, from 1 to 10 minutes, with its version as it was', async () => {
    for (const [age, delay] of [
      [MINUTE, MINUTE],
      [3 * MINUTE, 3 * MINUTE],
      [HOUR, 10 * MINUTE],
    ] as const) {
      await using pipeline = await openPipeline();
      const row = queuedAt(NOW - age);
      pipeline.queue.undelivered.set('email.normal', NOW - age);
      await insert(pipeline, row);
      await using _ = startScheduler(pipeline);
      const { wakeAt, version } = await changed(pipeline, row);
      expect(version).to.equal(1);
      expect((wakeAt ?? 0) - pipeline.clock.now()).to.be.within(delay - 2 * SECOND, delay + 2 * SECOND);
      expect(pipeline.queue.published).to.have.length(0);
    }
  });

  it('publishes what a backlog has not told yet, once, without a new version', async () => {
    await using pipeline = await openPipeline();
    const row = aNotification({ spec: { createdAt: NOW - 3 * MINUTE } });
    pipeline.queue.undelivered.set('email.normal', NOW - 3 * MINUTE);
    await insert(pipeline, row);
    await using _ = startScheduler(pipeline);
    await pipeline.clock.until('it is told', async () => (await stateOf(pipeline, row)).published === 1, SECOND);
    for (let i = 0; i < 12; i++) await pipeline.clock.advance(MINUTE);
    expect(await stateOf(pipeline, row)).to.include({ status: 'queued', version: 1 });
    expect((await pipeline.fed()).map((event) => event.version)).to.deep.equal([1]);
  });

  it('postpones a whole backlog in one write', async () => {
    const calls: string[] = [];
    await using pipeline = await openPipeline({ storage: (method) => void calls.push(method) });
    const backlog = Array.from({ length: 400 }, () => queuedAt(NOW - 2 * MINUTE));
    pipeline.queue.undelivered.set('email.normal', 0);
    await insert(pipeline, ...backlog);
    await using _ = startScheduler(pipeline);
    const last = backlog.at(-1);
    if (last) await changed(pipeline, last);
    expect(calls.filter((method) => method === 'postpone')).to.have.length(1);
    expect(calls).not.to.include('update');
  });

  it('postpones the rows of a full lane', async () => {
    await using pipeline = await openPipeline();
    pipeline.queue.fullLanes.add('email.normal');
    await pipeline.dispatcher.publish([hintFor(aNotification())]);
    const row = queuedAt(NOW - 2 * MINUTE);
    await insert(pipeline, row);
    await using _ = startScheduler(pipeline);
    expect((await changed(pipeline, row)).version).to.equal(1);
  });

  for (const [policy, status, reason] of [
    ['retry', 'pending', 'retrying'],
    ['hold', 'failed', 'outcome_unknown'],
  ] as const) {
    it(`ends a lease that ran out as an unknown outcome: ${policy} makes it ${status}`, async () => {
      await using pipeline = await openPipeline();
      await using _ = startScheduler(pipeline);
      const spec = { unknownOutcome: policy };
      const row = claim(aNotification({ spec }), { id: 'dead', until: NOW + 5 * SECOND }, [aCall()], NOW);
      await insert(pipeline, row);
      const state = await changed(pipeline, row);
      expect(pipeline.clock.now()).to.be.at.least(NOW + 5 * SECOND);
      expect(state).to.include({ status, reason, version: 3 });
      expect(state.attempts[0]?.results).to.deep.equal([{ target: 0, outcome: 'unknown', code: 'worker_lost' }]);
      if (policy === 'retry') expect(await changed(pipeline, row)).to.include({ status: 'queued' });
    });
  }

  it('honours a cancel request of a row whose worker died', async () => {
    await using pipeline = await openPipeline();
    await using _ = startScheduler(pipeline);
    const row = claim(aNotification({ state: { cancelRequested: true } }), { id: 'dead', until: NOW }, [aCall()], NOW);
    await insert(pipeline, row);
    expect(await changed(pipeline, row)).to.include({ status: 'cancelled', reason: 'cancelled_by_caller' });
  });

  it('publishes the events that a writer left behind, and leaves the row nothing to do', async () => {
    await using pipeline = await openPipeline();
    await using _ = startScheduler(pipeline);
    const row = cancelled(aNotification(), 'expired', NOW);
    await insert(pipeline, row);
    await pipeline.clock.until(
      'the row rests',
      async () => (await stateOf(pipeline, row)).wakeAt === undefined,
      SECOND,
    );
    expect(await stateOf(pipeline, row)).to.include({ version: 2, published: 2 });
    expect((await pipeline.fed()).map((event) => event.version)).to.deep.equal([1, 2]);
  });

  it('moves a row on whose events the feed does not take, so that others come to their turn', async () => {
    const outage = new Outage('FEED_UNAVAILABLE', 'append');
    await using pipeline = await openPipeline({ feed: outage.fault });
    outage.on = true;
    const row = cancelled(aNotification(), 'expired', NOW);
    await insert(pipeline, row);
    await using _ = startScheduler(pipeline);
    const state = await changed(pipeline, row);
    expect(state).to.include({ version: 2, published: 0 });
    expect(state.wakeAt).to.be.within(pipeline.clock.now(), pipeline.clock.now() + MINUTE);
  });

  it('queues and postpones nothing while the queue is away, and does it when it is back', async () => {
    await using pipeline = await openPipeline();
    pipeline.queue.away = true;
    const due = wait(aNotification(), { reason: 'retrying', dueAt: NOW, naked: false }, NOW);
    const queued = queuedAt(NOW - HOUR);
    await insert(pipeline, due, queued);
    await using _ = startScheduler(pipeline);
    for (let i = 0; i < 10; i++) await pipeline.clock.advance(MINUTE);
    expect(await stateOf(pipeline, due)).to.deep.equal(due.state);
    expect(await stateOf(pipeline, queued)).to.deep.equal(queued.state);
    pipeline.queue.away = false;
    await pipeline.clock.until('both are queued', () => pipeline.queue.published.length === 2);
  });

  it('ends leases and publishes leftovers also while the queue is away', async () => {
    await using pipeline = await openPipeline();
    pipeline.queue.away = true;
    const left = cancelled(aNotification(), 'expired', NOW);
    const held = claim(aNotification(), { id: 'gone', until: NOW }, [aCall()], NOW);
    await insert(pipeline, left, held);
    await using _ = startScheduler(pipeline);
    await pipeline.clock.until('both are done', async () => {
      const [rested, ended] = [await stateOf(pipeline, left), await stateOf(pipeline, held)];
      return rested.published === 2 && ended.status === 'pending';
    });
  });

  it('goes on after the store was away', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'due', 'acquireLease');
    await using pipeline = await openPipeline({ storage: outage.fault });
    outage.on = true;
    const row = queuedAt(NOW - HOUR);
    await insert(pipeline, row);
    await using _ = startScheduler(pipeline);
    await pipeline.clock.until('the failure is told', () =>
      pipeline.lines.some((line) => line.fields['event'] === 'scheduler_failed'),
    );
    outage.on = false;
    expect(await changed(pipeline, row)).to.include({ version: 2 });
  });

  it('works only while it leads, and takes over from a leader that stopped', async () => {
    await using pipeline = await openPipeline();
    const { storage, clock } = pipeline;
    await storage.acquireLease('scheduler', 'another', NOW, NOW + HOUR);
    const row = queuedAt(NOW - HOUR);
    await insert(pipeline, row);
    const first = startScheduler(pipeline);
    await clock.advance(10 * MINUTE);
    expect(await stateOf(pipeline, row)).to.deep.equal(row.state);
    await storage.releaseLease('scheduler', 'another');
    await changed(pipeline, row);
    const second = startScheduler(pipeline);
    await first[Symbol.asyncDispose]();
    const next = queuedAt(NOW - HOUR);
    await insert(pipeline, next);
    expect(await changed(pipeline, next)).to.include({ version: 2 });
    await second[Symbol.asyncDispose]();
    expect(await storage.acquireLease('scheduler', 'third', clock.now(), clock.now() + 1)).to.equal(true);
  });
});
