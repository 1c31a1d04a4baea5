import { expect } from 'chai';
import { type Lane, laneName } from '../../src/domain/notification.ts';
import type { ConsumeOptions, Hint, Job, Queue } from '../../src/queue/queue.ts';
import { eventually } from '../support/eventually.ts';
import { aHint, SAMPLE_TIME } from '../support/sample.ts';
import { MAX_PER_LANE, onEach, queueAdapters } from './adapters.ts';

const LANE: Lane = { channel: 'email', priority: 'normal' };
const OTHER_LANE: Lane = { channel: 'sms', priority: 'high' };

const hints = (count: number, overrides: Partial<Hint> = {}): Hint[] =>
  Array.from({ length: count }, (_, index) => aHint({ enqueuedAt: SAMPLE_TIME + index, ...overrides }));

/** What a lane hands out, kept in order. */
class Taker implements AsyncDisposable {
  readonly jobs: Job[] = [];
  readonly #stop = new AbortController();

  constructor(queue: Queue, lane = LANE, options: Partial<ConsumeOptions> = {}) {
    const onJobs = (jobs: readonly Job[]): void => {
      this.jobs.push(...jobs);
      options.onJobs?.(jobs);
    };
    queue.consume(lane, { max: options.max ?? 100, onJobs, signal: this.#stop.signal });
  }

  get hints(): Hint[] {
    return this.jobs.map(({ hint }) => hint);
  }

  async taken(count: number): Promise<readonly Job[]> {
    await eventually(`${count} jobs`, () => this.jobs.length >= count);
    return this.jobs;
  }

  stop(): void {
    this.#stop.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
  }
}

const answerDone = { onJobs: (jobs: readonly Job[]): void => jobs.forEach((job) => job.answer('done')) };

/**
 * Shows that something was not handed out: a job published now, behind it in the same lane or in one as quick, has come.
 */
async function overtake(queue: Queue, taker: Taker, lane = LANE): Promise<void> {
  const marker = aHint({ lane });
  await queue.publish([marker]);
  await eventually('the marker', () => taker.hints.some(({ id }) => id === marker.id));
}

onEach('queue', queueAdapters, (rig) => {
  it('answers a ping', () => rig.port.ping());

  describe('publish', () => {
    it('takes no hints at all', async () => {
      expect(await rig.port.publish([])).to.deep.equal([]);
    });

    it('hands out what it stored, as it was and in order', async () => {
      const published = hints(8, { version: 3 });
      expect(await rig.port.publish(published.slice(0, 5))).to.deep.equal(Array(5).fill('stored'));
      await rig.port.publish(published.slice(5));
      await using taker = new Taker(rig.port);
      await taker.taken(8);
      expect(taker.hints).to.deep.equal(published);
    });

    it('hands out to a consumer that was there before', async () => {
      await using taker = new Taker(rig.port);
      const [first, second] = [aHint(), aHint()];
      await rig.port.publish([first]);
      await taker.taken(1);
      await rig.port.publish([second]);
      await taker.taken(2);
      expect(taker.hints).to.deep.equal([first, second]);
    });

    it('has stored hints that the next process hands out', async () => {
      const published = hints(5);
      await rig.port.publish(published);
      await rig.reopen();
      await using taker = new Taker(rig.port);
      await taker.taken(5);
      expect(taker.hints).to.deep.equal(published);
    });

    it('stores a hint with a message id that is still stored once', async () => {
      const hint = aHint();
      expect(await rig.port.publish([hint, hint])).to.deep.equal(['stored', 'stored']);
      expect(await rig.port.publish([hint])).to.deep.equal(['stored']);
      await using taker = new Taker(rig.port);
      await taker.taken(1);
      expect(await rig.port.publish([hint])).to.deep.equal(['stored']);
      await overtake(rig.port, taker);
      expect(taker.hints.filter(({ id }) => id === hint.id)).to.have.length(1);
    });

    it('stores one notification under each version', async () => {
      const hint = aHint();
      await rig.port.publish([hint, { ...hint, version: 2 }]);
      await using taker = new Taker(rig.port);
      await taker.taken(2);
      expect(taker.hints.map(({ version }) => version)).to.deep.equal([1, 2]);
    });

    it('drops what is above the cap of a lane, and takes hints for other lanes in the same call', async () => {
      const other = aHint({ lane: OTHER_LANE });
      const answers = await rig.port.publish([...hints(MAX_PER_LANE + 2), other]);
      expect(answers).to.deep.equal([...Array(MAX_PER_LANE).fill('stored'), 'full', 'full', 'stored']);
      await using taker = new Taker(rig.port, OTHER_LANE);
      await taker.taken(1);
      expect(taker.hints).to.deep.equal([other]);
    });

    it('keeps to the cap when many publish at once', async () => {
      const answers = await Promise.all(hints(2 * MAX_PER_LANE).map((hint) => rig.port.publish([hint])));
      expect(answers.flat().filter((answer) => answer === 'stored')).to.have.length(MAX_PER_LANE);
    });

    it('keeps to the cap after a new opening', async () => {
      await rig.port.publish(hints(MAX_PER_LANE));
      await rig.reopen();
      expect(await rig.port.publish([aHint()])).to.deep.equal(['full']);
    });

    it('has room in a full lane again once a job is done', async () => {
      await rig.port.publish(hints(MAX_PER_LANE));
      await using taker = new Taker(rig.port, LANE, { max: 1 });
      const [job] = await taker.taken(1);
      expect(await rig.port.publish([aHint()])).to.deep.equal(['full']);
      job?.answer('done');
      await eventually('room', async () => (await rig.port.publish([aHint()]))[0] === 'stored');
    });
  });

  describe('consume', () => {
    it('hands out a lane to its own consumer only', async () => {
      const [mine, theirs] = [aHint(), aHint({ lane: OTHER_LANE })];
      await using taker = new Taker(rig.port);
      await using otherTaker = new Taker(rig.port, OTHER_LANE);
      await rig.port.publish([theirs, mine]);
      await taker.taken(1);
      await otherTaker.taken(1);
      expect(taker.hints).to.deep.equal([mine]);
      expect(otherTaker.hints).to.deep.equal([theirs]);
    });

    it('has never more than max jobs unanswered, and goes on as they are answered', async () => {
      const published = hints(MAX_PER_LANE);
      await rig.port.publish(published);
      let unanswered = 0;
      let most = 0;
      const onJobs = (jobs: readonly Job[]): void => {
        unanswered += jobs.length;
        most = Math.max(most, unanswered);
        for (const job of jobs) {
          setImmediate(() => {
            unanswered -= 1;
            job.answer('done');
          });
        }
      };
      await using taker = new Taker(rig.port, LANE, { max: 3, onJobs });
      await taker.taken(MAX_PER_LANE);
      expect(most).to.equal(3);
      expect(taker.hints).to.deep.equal(published);
    });

    it('hands out nothing beyond max while none is answered', async () => {
      await rig.port.publish(hints(5));
      await using taker = new Taker(rig.port, LANE, { max: 2 });
      await taker.taken(2);
      await using other = new Taker(rig.port, OTHER_LANE);
      await overtake(rig.port, other, OTHER_LANE);
      expect(taker.jobs).to.have.length(2);
    });

    it('hands out nothing more once its signal is aborted', async () => {
      const taker = new Taker(rig.port);
      await rig.port.publish(hints(1));
      await taker.taken(1);
      taker.stop();
      const late = aHint();
      await rig.port.publish([late]);
      await using next = new Taker(rig.port);
      await next.taken(1);
      expect(taker.jobs).to.have.length(1);
      expect(next.hints).to.deep.equal([late]);
    });

    it('keeps the jobs that a stop met under way for the next consumer', async () => {
      const published = hints(10);
      await rig.port.publish(published);
      const taker = new Taker(rig.port, LANE, answerDone);
      taker.stop();
      await using next = new Taker(rig.port);
      await next.taken(10 - taker.jobs.length);
      expect([...taker.hints, ...next.hints]).to.have.deep.members(published);
    });

    it('takes answers after its signal is aborted', async () => {
      const taker = new Taker(rig.port);
      const [published] = hints(1);
      await rig.port.publish([published ?? aHint()]);
      const [job] = await taker.taken(1);
      taker.stop();
      job?.answer({ later: 50 });
      await using next = new Taker(rig.port);
      const [again] = await next.taken(1);
      expect(again?.hint).to.deep.equal(published);
      expect(again?.deliveries).to.equal(2);
    });
  });

  describe('answers', () => {
    it('forgets a job that is done, for the next process too', async () => {
      const [first, second] = hints(2);
      await rig.port.publish([first ?? aHint(), second ?? aHint()]);
      const taker = new Taker(rig.port);
      const [job, other] = await taker.taken(2);
      expect(job?.hint).to.deep.equal(first);
      job?.answer('done');
      other?.answer({ later: 0 });
      await taker.taken(3);
      await rig.reopen();
      await using next = new Taker(rig.port);
      await next.taken(1);
      await overtake(rig.port, next);
      expect(next.hints.map(({ id }) => id)).to.not.include(first?.id);
      expect(next.hints.map(({ id }) => id)).to.include(second?.id);
    });

    it('hands out a job again when its delay is over, not before', async () => {
      await using taker = new Taker(rig.port);
      await rig.port.publish(hints(1));
      const [job] = await taker.taken(1);
      const answeredAt = performance.now();
      job?.answer({ later: 400 });
      await taker.taken(2);
      expect(performance.now() - answeredAt).to.be.at.least(390);
      expect(taker.hints[1]).to.deep.equal(taker.hints[0]);
    });

    it('hands out other jobs meanwhile', async () => {
      const published = hints(4);
      await rig.port.publish(published);
      await using taker = new Taker(rig.port, LANE, { max: 1 });
      const [job] = await taker.taken(1);
      job?.answer({ later: 1_000 });
      for (let next = 1; next < 4; next += 1) (await taker.taken(next + 1))[next]?.answer('done');
      await taker.taken(5);
      expect(taker.hints).to.deep.equal([...published, published[0]]);
    });

    it('counts every handing-out, the first as 1', async () => {
      await rig.port.publish(hints(1));
      await using taker = new Taker(rig.port, LANE, {
        onJobs: (jobs) => jobs.forEach((job) => job.answer(job.deliveries < 4 ? { later: 0 } : 'done')),
      });
      await taker.taken(4);
      expect(taker.jobs.map(({ deliveries }) => deliveries)).to.deep.equal([1, 2, 3, 4]);
    });

    it('keeps a delay over a new opening', async () => {
      const taker = new Taker(rig.port);
      await rig.port.publish(hints(1));
      const [job] = await taker.taken(1);
      const answeredAt = performance.now();
      job?.answer({ later: 1_000 });
      await rig.reopen();
      await using next = new Taker(rig.port);
      const [again] = await next.taken(1);
      expect(performance.now() - answeredAt).to.be.at.least(900);
      expect(again?.deliveries).to.equal(2);
    });
  });

  describe('a process that died', () => {
    it('has left its unanswered jobs to the next one, counted on', async () => {
      const published = hints(3);
      await rig.port.publish(published);
      const taker = new Taker(rig.port, LANE, { max: 2 });
      await taker.taken(2);
      await rig.reopen();
      await using next = new Taker(rig.port);
      await next.taken(3);
      const counts = new Map(next.jobs.map(({ hint, deliveries }) => [hint.id, deliveries]));
      expect(published.map(({ id }) => counts.get(id))).to.deep.equal([2, 2, 1]);
    });

    it('may die any number of times', async () => {
      await rig.port.publish(hints(1));
      for (let life = 1; life <= 3; life += 1) {
        const taker = new Taker(rig.port);
        const [job] = await taker.taken(1);
        expect(job?.deliveries).to.equal(life);
        await rig.reopen();
      }
    });
  });

  describe('firstUndelivered', () => {
    it('is the time of the first job that was never handed out', async () => {
      expect(await rig.port.firstUndelivered(LANE)).to.equal(undefined);
      await rig.port.publish(hints(4));
      await rig.port.publish([aHint({ lane: OTHER_LANE, enqueuedAt: 5 })]);
      expect(await rig.port.firstUndelivered(LANE)).to.equal(SAMPLE_TIME);
      expect(await rig.port.firstUndelivered(OTHER_LANE)).to.equal(5);
      await using taker = new Taker(rig.port, LANE, { max: 2 });
      const [first, second] = await taker.taken(2);
      expect(await rig.port.firstUndelivered(LANE)).to.equal(SAMPLE_TIME + 2);
      first?.answer('done');
      second?.answer({ later: 60_000 });
      await taker.taken(4);
      expect(await rig.port.firstUndelivered(LANE), laneName(LANE)).to.equal(undefined);
    });

    it('does not count a job that came back', async () => {
      await rig.port.publish(hints(2));
      const taker = new Taker(rig.port, LANE, { max: 1 });
      await taker.taken(1);
      await rig.reopen();
      expect(await rig.port.firstUndelivered(LANE)).to.equal(SAMPLE_TIME + 1);
    });
  });
});
