import { expect } from 'chai';
import { CarillonError } from '../../src/errors.ts';
import { MINUTE, SECOND } from '../../src/domain/clock.ts';
import type { Clock } from '../../src/domain/clock.ts';
import { PRIORITIES } from '../../src/domain/notification.ts';
import type { Priority } from '../../src/domain/notification.ts';
import type { Delivered } from '../../src/pipeline/deliver.ts';
import { LANE_WEIGHTS, SUSPICIOUS_DELIVERIES, Worker } from '../../src/pipeline/worker.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { FakeJob } from '../support/fake-queue.ts';
import { aHint } from '../support/sample.ts';

const DONE: Delivered = { answer: 'done' };
const aJob = (priority: Priority, deliveries: number = 1): FakeJob =>
  new FakeJob(aHint({ lane: { channel: 'email', priority } }), deliveries);
const jobs = (priority: Priority, count: number): FakeJob[] => Array.from({ length: count }, () => aJob(priority));

/** Starts of deliveries, in order; each goes on until the test ends it. */
class Deliveries {
  readonly started: FakeJob[] = [];
  readonly running = new Map<FakeJob, PromiseWithResolvers<Delivered>>();
  hold = true;

  readonly deliver = async (job: unknown): Promise<Delivered> => {
    // The worker passes on what the test handed to it.
    const mine = job as FakeJob;
    this.started.push(mine);
    if (!this.hold) return DONE;
    const ended = Promise.withResolvers<Delivered>();
    this.running.set(mine, ended);
    return ended.promise;
  };

  /** Ends what is under way, and from here on every delivery at once. */
  release(): void {
    this.hold = false;
    for (const job of this.running.keys()) this.end(job);
  }

  end(job: FakeJob | undefined, delivered: Delivered = DONE): void {
    if (!job) throw new Error('no such delivery');
    this.running.get(job)?.resolve(delivered);
    this.running.delete(job);
  }
}

function hand(pipeline: Pipeline, priority: Priority, given: readonly FakeJob[]): void {
  pipeline.queue.consumers.get(`email.${priority}`)?.onJobs(given);
}

/** At its end deliveries under way end first, so that a test that fails does not wait for them. */
function startWorker(
  pipeline: Pipeline,
  deliveries: Deliveries,
  concurrency: number,
  clock: Clock = pipeline.clock,
): AsyncDisposable & { readonly stop: () => Promise<void> } {
  const worker = new Worker({ ...pipeline, clock, channel: 'email', concurrency, deliverer: deliveries });
  return {
    stop: () => worker[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      deliveries.release();
      await worker[Symbol.asyncDispose]();
    },
  };
}

const priorityOf = (job: FakeJob): Priority => job.hint.lane.priority;

describe('worker', () => {
  it('serves a backlog of every lane by 8, 4, 2 and 1 within each round, whatever was handed over first', async () => {
    for (const concurrency of [1, 5]) {
      await using pipeline = await openPipeline();
      const deliveries = new Deliveries();
      await using _ = startWorker(pipeline, deliveries, concurrency);
      hand(pipeline, 'low', jobs('low', concurrency));
      await pipeline.clock.until('every slot is taken', () => deliveries.running.size === concurrency);
      for (const priority of PRIORITIES.toReversed()) hand(pipeline, priority, jobs(priority, 40));
      deliveries.release();
      await pipeline.clock.until('all are served', () => deliveries.started.length === concurrency + 160);
      for (let round = 0; round < 3; round++) {
        const from = concurrency + 15 * round;
        const served = deliveries.started.slice(from, from + 15).map(priorityOf);
        const counts = PRIORITIES.map((priority) => served.filter((p) => p === priority).length);
        expect(counts).to.deep.equal(PRIORITIES.map((priority) => LANE_WEIGHTS[priority]));
      }
    }
  });

  it('starves no lane: low jobs behind a stream of urgent ones are served one in nine', async () => {
    await using pipeline = await openPipeline();
    const deliveries = new Deliveries();
    await using _ = startWorker(pipeline, deliveries, 1);
    hand(pipeline, 'urgent', jobs('urgent', 60));
    hand(pipeline, 'low', jobs('low', 4));
    await pipeline.clock.until('the first is under way', () => deliveries.running.size === 1);
    deliveries.release();
    await pipeline.clock.until('all are served', () => deliveries.started.length === 64);
    const low = deliveries.started.flatMap((job, index) => (priorityOf(job) === 'low' ? [index] : []));
    low.forEach((index, n) => expect(index).to.be.at.most(9 * (n + 1)));
  });

  it('delivers at most as many at a time as it has slots', async () => {
    await using pipeline = await openPipeline();
    const deliveries = new Deliveries();
    await using _ = startWorker(pipeline, deliveries, 3);
    hand(pipeline, 'normal', jobs('normal', 10));
    await pipeline.clock.until('three are under way', () => deliveries.running.size === 3);
    await pipeline.clock.advance(MINUTE);
    expect(deliveries.running.size).to.equal(3);
    deliveries.end(deliveries.started[1]);
    await pipeline.clock.until('the next one', () => deliveries.started.length === 4);
    expect(deliveries.running.size).to.equal(3);
  });

  it('takes a suspicious job alone: after all others have ended, and with none beside it', async () => {
    await using pipeline = await openPipeline();
    const deliveries = new Deliveries();
    await using _ = startWorker(pipeline, deliveries, 4);
    const suspect = aJob('normal', SUSPICIOUS_DELIVERIES);
    hand(pipeline, 'normal', [...jobs('normal', 2), suspect, ...jobs('normal', 6)]);
    await pipeline.clock.until('two are under way', () => deliveries.running.size === 2);
    deliveries.end(deliveries.started[0]);
    await pipeline.clock.advance(MINUTE);
    expect(deliveries.started).not.to.include(suspect);
    deliveries.end(deliveries.started[1]);
    await pipeline.clock.until('the suspect is under way', () => deliveries.started.includes(suspect));
    await pipeline.clock.advance(MINUTE);
    expect([...deliveries.running.keys()]).to.deep.equal([suspect]);
    deliveries.end(suspect);
    await pipeline.clock.until('the others follow', () => deliveries.running.size === 4);
  });

  it('gives back at its end what it has not begun, finishes what it has, and takes no more', async () => {
    await using pipeline = await openPipeline();
    const deliveries = new Deliveries();
    await using worker = startWorker(pipeline, deliveries, 2);
    const given = jobs('high', 5);
    hand(pipeline, 'high', given);
    await pipeline.clock.until('two are under way', () => deliveries.running.size === 2);
    let ended = false;
    const stopped = worker.stop().then(() => (ended = true));
    await pipeline.clock.advance(SECOND);
    expect(ended).to.equal(false);
    expect(given.map((job) => job.answers)).to.deep.equal([[], [], [{ later: 0 }], [{ later: 0 }], [{ later: 0 }]]);
    expect(pipeline.queue.consumers.get('email.high')?.signal.aborted).to.equal(true);
    for (const job of given.slice(0, 2)) deliveries.end(job);
    await stopped;
    expect(deliveries.started).to.have.length(2);
    expect(given.slice(0, 2).map((job) => job.answers)).to.deep.equal([['done'], ['done']]);
  });

  it('sends jobs back for a while when the store cannot be read, and goes on when it can', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'find');
    await using pipeline = await openPipeline({ storage: outage.fault });
    const deliveries = new Deliveries();
    deliveries.hold = false;
    await using _ = startWorker(pipeline, deliveries, 2);
    outage.on = true;
    const given = jobs('normal', 4);
    hand(pipeline, 'normal', given);
    await pipeline.clock.until('all are answered', () => given.every((job) => job.answers.length === 1));
    for (const job of given) expect(job.answers).to.deep.equal([{ later: 2 * SECOND }]);
    expect(deliveries.started).to.have.length(0);
    outage.on = false;
    hand(pipeline, 'normal', [aJob('normal')]);
    await pipeline.clock.until('it delivers', () => deliveries.started.length === 1);
  });

  it('answers each job once, a delivery that breaks off with a later try', async () => {
    await using pipeline = await openPipeline();
    const deliveries = new Deliveries();
    await using _ = startWorker(pipeline, deliveries, 2);
    const [broken, waiting, done] = [aJob('normal'), aJob('normal'), aJob('normal')];
    hand(pipeline, 'normal', [broken, waiting, done]);
    await pipeline.clock.until('two are under way', () => deliveries.running.size === 2);
    deliveries.running.get(broken)?.reject(new TypeError('a fault of the program'));
    deliveries.end(waiting, { answer: { later: 5 } });
    await pipeline.clock.until('the third', () => deliveries.running.has(done));
    deliveries.end(done);
    await pipeline.clock.until('it is answered', () => done.answers.length > 0);
    expect([broken, waiting, done].map((job) => job.answers)).to.deep.equal([
      [{ later: 2 * SECOND }],
      [{ later: 5 }],
      ['done'],
    ]);
    expect(pipeline.lines.map((line) => line.fields['event'])).to.include('delivery_failed');
  });

  it('sends a delivery back for a while when the store went away under it, and tells that of the store', async () => {
    await using pipeline = await openPipeline();
    const deliveries = new Deliveries();
    await using _ = startWorker(pipeline, deliveries, 1);
    const job = aJob('normal');
    hand(pipeline, 'normal', [job]);
    await pipeline.clock.until('it is under way', () => deliveries.running.size === 1);
    deliveries.running.get(job)?.reject(new CarillonError('STORE_UNAVAILABLE', 'away'));
    await pipeline.clock.until('it is answered', () => job.answers.length > 0);
    expect(job.answers).to.deep.equal([{ later: 2 * SECOND }]);
    expect(pipeline.lines.map((line) => line.fields['event'])).to.deep.equal(['store_failed']);
  });

  it('keeps jobs in hand while the channel has no rate token, and goes on by itself, however early a timer fires', async () => {
    await using pipeline = await openPipeline();
    const { clock } = pipeline;
    // Half a millisecond short, as timers of the system may be.
    const early: Clock = { now: () => clock.now(), sleep: (ms, signal) => clock.sleep(Math.max(1, ms / 2), signal) };
    const deliveries = new Deliveries();
    await using _ = startWorker(pipeline, deliveries, 1, early);
    const given = jobs('normal', 3);
    hand(pipeline, 'normal', given);
    await clock.until('the first', () => deliveries.running.size === 1, 0);
    const until = clock.now() + 10 * SECOND;
    deliveries.hold = false;
    deliveries.end(given[0], { answer: { later: 10 * SECOND }, pauseUntil: until });
    await clock.advance(9 * SECOND);
    expect(deliveries.started).to.have.length(1);
    await clock.until('it goes on', () => deliveries.started.length === 3);
    expect(clock.now()).to.be.at.least(until);
  });
});
