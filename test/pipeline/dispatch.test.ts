import { expect } from 'chai';
import { MINUTE, SECOND } from '../../src/domain/clock.ts';
import type { Lane, Notification } from '../../src/domain/notification.ts';
import { CarillonError } from '../../src/errors.ts';
import { hintFor } from '../../src/pipeline/dispatch.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { SAMPLE_TIME, aNotification } from '../support/sample.ts';

const LANE: Lane = { channel: 'email', priority: 'normal' };
const OTHER: Lane = { channel: 'email', priority: 'low' };

function refusal(pipeline: Pipeline, lane: Lane = LANE): string | undefined {
  try {
    pipeline.dispatcher.admit(lane);
    return undefined;
  } catch (thrown) {
    return CarillonError.from(thrown).reason;
  }
}

async function insertQueued(pipeline: Pipeline, count: number): Promise<Notification[]> {
  const rows = Array.from({ length: count }, () => aNotification());
  await pipeline.storage.insert(rows);
  return rows;
}

describe('dispatch', () => {
  it('publishes the hint of each row, in order, under its version', async () => {
    await using pipeline = await openPipeline();
    const rows = Array.from({ length: 600 }, (_, i) => aNotification({ state: { version: i + 1 } }));
    pipeline.dispatcher.dispatch(rows);
    await pipeline.clock.until('all hints', () => pipeline.queue.published.length === rows.length);
    expect(pipeline.queue.published).to.deep.equal(rows.map(hintFor));
  });

  it('is unreachable from the first publish that fails until the queue answers again', async () => {
    await using pipeline = await openPipeline();
    const { dispatcher, queue, clock } = pipeline;
    queue.away = true;
    expect(dispatcher.reachable).to.equal(true);
    expect(await dispatcher.publish([hintFor(aNotification())])).to.equal(false);
    expect(dispatcher.reachable).to.equal(false);
    await clock.advance(10 * SECOND);
    expect(dispatcher.reachable).to.equal(false);
    queue.away = false;
    await clock.until('the queue is back', () => dispatcher.reachable);
    expect(await dispatcher.publish([hintFor(aNotification())])).to.equal(true);
  });

  it('tells of an outage once and of its end once', async () => {
    await using pipeline = await openPipeline();
    const { dispatcher, queue, clock, lines } = pipeline;
    queue.away = true;
    for (let i = 0; i < 3; i++) await dispatcher.publish([hintFor(aNotification())]);
    await clock.advance(5 * SECOND);
    queue.away = false;
    await clock.until('the queue is back', () => dispatcher.reachable);
    const events = lines.map((line) => line.fields['event']);
    expect(events.filter((event) => event === 'queue_unreachable')).to.have.length(1);
    expect(events.filter((event) => event === 'queue_back')).to.have.length(1);
  });

  it('admits while the queue is away until the outbox is full, then refuses, and admits again when it is back', async () => {
    await using pipeline = await openPipeline({}, 3);
    const { dispatcher, queue, clock } = pipeline;
    queue.away = true;
    dispatcher.admit(LANE);
    dispatcher.dispatch(await insertQueued(pipeline, 2));
    await clock.until('the outage is noticed', () => !dispatcher.reachable);
    await clock.advance(3 * SECOND);
    expect(refusal(pipeline)).to.equal(undefined);
    await insertQueued(pipeline, 1);
    await clock.until('the outbox is full', () => refusal(pipeline) === 'OUTBOX_FULL');
    expect(refusal(pipeline, OTHER), 'another lane').to.equal(undefined);
    queue.away = false;
    await clock.until('it admits again', () => refusal(pipeline) === undefined);
    expect(dispatcher.reachable).to.equal(true);
  });

  it('admits again when the outbox of a queue that is away runs empty', async () => {
    await using pipeline = await openPipeline({}, 1);
    const { dispatcher, queue, clock, storage } = pipeline;
    queue.away = true;
    dispatcher.admit(LANE);
    const [row] = await insertQueued(pipeline, 1);
    if (!row) throw new Error('one row was inserted');
    dispatcher.dispatch([row]);
    await clock.until('the outbox is full', () => refusal(pipeline) === 'OUTBOX_FULL');
    const state = { ...row.state, version: 2, status: 'processing' as const };
    await storage.update([{ from: 1, row: { ...row, state } }]);
    await clock.until('it admits again', () => refusal(pipeline) === undefined);
    expect(dispatcher.reachable).to.equal(false);
  });

  it('takes no lane for full because the queue was away: what was lost is queued again at once', async () => {
    await using pipeline = await openPipeline({}, 1);
    const { dispatcher, queue, clock } = pipeline;
    queue.away = true;
    dispatcher.admit(LANE);
    dispatcher.dispatch(await insertQueued(pipeline, 2));
    await clock.until('the outbox is full', () => refusal(pipeline) === 'OUTBOX_FULL');
    expect(dispatcher.isFull(LANE)).to.equal(false);
    queue.away = false;
    await clock.until('the queue is back', () => dispatcher.reachable);
    expect(dispatcher.isFull(LANE)).to.equal(false);
    expect(refusal(pipeline)).to.equal(undefined);
  });

  it('knows a full lane, and after some seconds without a word tries it again', async () => {
    await using pipeline = await openPipeline();
    const { dispatcher, queue, clock } = pipeline;
    queue.fullLanes.add('email.normal');
    expect(await dispatcher.publish([hintFor(aNotification())])).to.equal(true);
    expect([dispatcher.isFull(LANE), dispatcher.isFull(OTHER)]).to.deep.equal([true, false]);
    await clock.until('it counts as full no longer', () => !dispatcher.isFull(LANE), SECOND);
    expect(clock.now() - SAMPLE_TIME).to.be.within(5 * SECOND, 60 * SECOND);
  });

  it('ends a full lane with the first hint that it takes', async () => {
    await using pipeline = await openPipeline();
    const { dispatcher, queue } = pipeline;
    queue.fullLanes.add('email.normal');
    await dispatcher.publish([hintFor(aNotification())]);
    queue.fullLanes.clear();
    await dispatcher.publish([hintFor(aNotification())]);
    expect(dispatcher.isFull(LANE)).to.equal(false);
  });

  it('refuses for a full lane, too, when its outbox is full', async () => {
    await using pipeline = await openPipeline({}, 2);
    const { dispatcher, queue, clock } = pipeline;
    queue.fullLanes.add('email.normal');
    dispatcher.dispatch(await insertQueued(pipeline, 2));
    await clock.until('the outbox is full', async () => {
      await dispatcher.publish([hintFor(aNotification())]);
      return refusal(pipeline) === 'OUTBOX_FULL';
    });
    queue.fullLanes.clear();
    await clock.until('it admits again', () => refusal(pipeline) === undefined, SECOND);
  });

  it('goes on as before while the store cannot be asked', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'countQueued');
    await using pipeline = await openPipeline({ storage: outage.fault }, 1);
    outage.on = true;
    pipeline.queue.away = true;
    pipeline.dispatcher.admit(LANE);
    pipeline.dispatcher.dispatch(await insertQueued(pipeline, 2));
    await pipeline.clock.until('the failure is told', () =>
      pipeline.lines.some((line) => line.fields['step'] === 'countQueued'),
    );
    expect(refusal(pipeline)).to.equal(undefined);
    outage.on = false;
    await pipeline.clock.until('the outbox is full', () => refusal(pipeline) === 'OUTBOX_FULL');
  });

  it('keeps nothing of an outage in memory: the hints of that time are left to the rows', async () => {
    await using pipeline = await openPipeline();
    const { dispatcher, queue, clock } = pipeline;
    queue.away = true;
    dispatcher.dispatch(Array.from({ length: 1_000 }, () => aNotification()));
    await clock.until('the outage is noticed', () => !dispatcher.reachable);
    queue.away = false;
    await clock.until('the queue is back', () => dispatcher.reachable);
    await clock.advance(MINUTE);
    expect(queue.published).to.have.length(0);
  });
});
