import { expect } from 'chai';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CarillonError } from '../../src/errors.ts';
import type { Job } from '../../src/queue/queue.ts';
import { SqliteQueue } from '../../src/queue/sqlite.ts';
import { Database, type Session } from '../../src/storage/sqlite/database.ts';
import { eventually } from '../support/eventually.ts';
import { aHint } from '../support/sample.ts';

const LANE = { channel: 'email', priority: 'normal' } as const;

/** A session whose writes fail for as long as `failing` says. */
class FlakySession implements Session {
  failing = false;
  failures = 0;
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  read: Session['read'] = (sql, values) => this.#session.read(sql, values);
  ping: Session['ping'] = () => this.#session.ping();
  write: Session['write'] = async (steps) => {
    if (!this.failing) return this.#session.write(steps);
    this.failures += 1;
    throw new CarillonError('QUEUE_UNAVAILABLE', 'the disk is full');
  };
}

describe('the SQLite queue while writes fail', () => {
  const rig = { directory: '', database: undefined as Database | undefined };
  const taken: Job[] = [];
  const problems: CarillonError[] = [];
  const stop = { controller: new AbortController() };

  beforeEach(async () => {
    rig.directory = await mkdtemp(join(tmpdir(), 'carillon-sqlite-'));
    rig.database = await Database.open({ path: join(rig.directory, 'q.db'), durable: true });
    taken.splice(0);
    problems.splice(0);
    stop.controller = new AbortController();
  });
  afterEach(async () => {
    stop.controller.abort();
    await rig.database?.[Symbol.asyncDispose]();
    await rm(rig.directory, { recursive: true });
  });

  function session(): FlakySession {
    if (!rig.database) throw new Error('nothing is open');
    return new FlakySession(rig.database.session('QUEUE_UNAVAILABLE'));
  }

  const open = (flaky: Session, maxPerLane: number): Promise<SqliteQueue> =>
    SqliteQueue.open(flaky, { maxPerLane, onProblem: (error) => problems.push(error) });

  const consume = (queue: SqliteQueue): void =>
    queue.consume(LANE, { max: 10, onJobs: (jobs) => taken.push(...jobs), signal: stop.controller.signal });

  it('keeps answers and writes them later', async () => {
    const flaky = session();
    await using queue = await open(flaky, 2);
    await queue.publish([aHint(), aHint()]);
    consume(queue);
    await eventually('the jobs', () => taken.length === 2);
    flaky.failing = true;
    taken[0]?.answer('done');
    taken[1]?.answer({ later: 0 });
    await eventually('a failure', () => flaky.failures > 1);
    flaky.failing = false;
    expect(problems.map(({ reason }) => reason)).to.include('QUEUE_UNAVAILABLE');
    await eventually('the job comes back', () => taken.length === 3);
    expect(taken[2]?.hint).to.deep.equal(taken[1]?.hint);
    expect(await queue.publish([aHint()]), 'the other one made room').to.deep.equal(['stored']);
  });

  it('hands out what is ready once it can', async () => {
    const flaky = session();
    await using queue = await open(flaky, 2);
    await queue.publish([aHint()]);
    flaky.failing = true;
    consume(queue);
    await eventually('a failure', () => flaky.failures > 0);
    flaky.failing = false;
    await eventually('the job', () => taken.length === 1);
    expect(taken[0]?.deliveries).to.equal(1);
  });

  it('wakes delayed jobs once it can', async () => {
    const flaky = session();
    await using queue = await open(flaky, 2);
    await queue.publish([aHint()]);
    consume(queue);
    await eventually('the job', () => taken.length === 1);
    taken[0]?.answer({ later: 300 });
    await queue.ping();
    flaky.failing = true;
    await eventually('a failure', () => flaky.failures > 0);
    flaky.failing = false;
    await eventually('the job comes back', () => taken.length === 2);
  });

  it('does not count a hint that could not be stored', async () => {
    const flaky = session();
    await using queue = await open(flaky, 1);
    flaky.failing = true;
    const refused = await queue.publish([aHint()]).then(
      () => undefined,
      (thrown: unknown) => CarillonError.from(thrown),
    );
    expect(refused?.reason).to.equal('QUEUE_UNAVAILABLE');
    flaky.failing = false;
    expect(await queue.publish([aHint()])).to.deep.equal(['stored']);
  });

  it('tells on closing of answers that it could not write, and hands their jobs out again', async () => {
    const flaky = session();
    const queue = await open(flaky, 2);
    await queue.publish([aHint()]);
    consume(queue);
    await eventually('the job', () => taken.length === 1);
    flaky.failing = true;
    taken[0]?.answer('done');
    const closing = await queue[Symbol.asyncDispose]().then(
      () => undefined,
      (thrown: unknown) => CarillonError.from(thrown),
    );
    expect(closing?.reason).to.equal('QUEUE_UNAVAILABLE');
    flaky.failing = false;
    stop.controller = new AbortController();
    await using next = await open(flaky, 2);
    consume(next);
    await eventually('the job again', () => taken.length === 2);
    expect(taken[1]?.deliveries).to.equal(2);
  });
});
