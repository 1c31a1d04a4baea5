import { expect } from 'chai';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import type { Worker } from 'node:worker_threads';
import { CarillonError, type ErrorReason } from '../../src/errors.ts';
import type { Job } from '../../src/queue/queue.ts';
import { openSqlite, type SqliteStore } from '../../src/storage/sqlite/sqlite.ts';
import { eventually } from '../support/eventually.ts';
import {
  aHint,
  aKey,
  aNotification,
  anEvent,
  aReceipt,
  aRendered,
  aSuppression,
  withState,
} from '../support/sample.ts';

const LANE = { channel: 'email', priority: 'normal' } as const;
const CHILD = join(import.meta.dirname, 'fixtures', 'sqlite-child.ts');
const PING_CHILD = join(import.meta.dirname, 'fixtures', 'sqlite-ping.ts');

async function expectReason(reason: ErrorReason, call: PromiseLike<unknown>): Promise<CarillonError> {
  try {
    await call;
  } catch (thrown) {
    expect(thrown).to.be.instanceOf(CarillonError);
    const error = CarillonError.from(thrown);
    expect(error.reason).to.equal(reason);
    return error;
  }
  throw new Error(`resolved, and ${reason} was expected`);
}

describe('the SQLite store', () => {
  const place = { directory: '', path: '' };
  const opened: SqliteStore[] = [];
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    place.directory = await mkdtemp(join(tmpdir(), 'carillon-sqlite-'));
    place.path = join(place.directory, 'data', 'carillon.db');
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await kill(child);
    for (const store of opened.splice(0)) await store[Symbol.asyncDispose]();
    await rm(place.directory, { recursive: true });
  });

  async function open(): Promise<SqliteStore> {
    const store = await openSqlite({ path: place.path });
    opened.push(store);
    return store;
  }

  function run(command: string, args: readonly string[]): ChildProcess {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    return child;
  }

  async function kill(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** The lines a child has told so far; one that was cut off by its end does not count. */
  function linesOf(child: ChildProcess): () => string[] {
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    return () => output.split('\n').slice(0, -1);
  }

  it('makes the directory of its file', async () => {
    await open();
    expect(await readdir(join(place.directory, 'data'))).to.include('carillon.db');
  });

  it('commits what comes together together', async () => {
    const store = await open();
    const rows = Array.from({ length: 64 }, () => aNotification());
    const before = store.commits;
    await Promise.all(rows.map((row) => store.storage.insert([row])));
    expect(store.commits - before).to.be.within(1, 16);
  });

  it('refuses one request of a group without the others', async () => {
    const { storage } = await open();
    const [one, other] = [aNotification(), aNotification()];
    const wrong = aNotification({ state: { version: Number.NaN } });
    const calls = [storage.insert([one]), storage.insert([aNotification(), wrong]), storage.insert([other])];
    await expectReason('INTERNAL', calls[1] ?? Promise.resolve());
    await Promise.all([calls[0], calls[2]]);
    expect(await storage.list({ tenant: 'default', limit: 10 })).to.have.deep.members([one, other]);
  });

  it('does not write a large spec anew when the state changes', async () => {
    const { storage } = await open();
    const size = async (): Promise<number> => (await stat(`${place.path}-wal`)).size;
    const row = aNotification({ spec: { content: { htmlBody: 'x'.repeat(1_048_576) } } });
    await storage.insert([row]);
    const { storage: fresh } = await reopen();
    const before = await size();
    await fresh.update([{ from: 1, row: withState(row, { version: 2, status: 'processing' }) }]);
    expect((await size()) - before).to.be.below(100_000);
  });

  async function reopen(): Promise<SqliteStore> {
    await opened.pop()?.[Symbol.asyncDispose]();
    return open();
  }

  describe('one process', () => {
    it('is all that a file serves', async () => {
      const { storage } = await open();
      await expectReason('STORE_UNAVAILABLE', openSqlite({ path: place.path }));
      await storage.insert([aNotification()]);
      const child = run(process.execPath, [CHILD, place.path, '1']);
      const [code] = await once(child, 'exit');
      expect(code).to.equal(1);
      await storage.ping();
    });

    it('leaves the file to the next when it is killed, with all that it promised', async () => {
      const child = run(process.execPath, [CHILD, place.path]);
      const lines = linesOf(child);
      await eventually('some work', () => lines().length >= 50);
      await kill(child);
      const ids = lines();
      const { storage, queue } = await open();
      expect((await storage.find(ids)).map(({ spec }) => spec.id)).to.have.members(ids);
      const jobs = await takeAll(queue, ids.length);
      expect(jobs.map(({ hint }) => hint.id)).to.include.members(ids);
      // It was told to take ten and to answer none.
      expect(jobs.filter(({ deliveries }) => deliveries === 2)).to.have.length(10);
    });
  });

  async function takeAll(queue: SqliteStore['queue'], atLeast: number): Promise<readonly Job[]> {
    const jobs: Job[] = [];
    const stop = new AbortController();
    queue.consume(LANE, { max: 1_000_000, onJobs: (more) => jobs.push(...more), signal: stop.signal });
    await eventually('all jobs', () => jobs.length >= atLeast);
    stop.abort();
    return jobs;
  }

  it('refuses a file of a newer release and leaves it as it is', async () => {
    await open();
    await opened.pop()?.[Symbol.asyncDispose]();
    using db = new DatabaseSync(place.path);
    db.exec('PRAGMA user_version = 1000');
    await expectReason('STORE_UNAVAILABLE', openSqlite({ path: place.path }));
    expect(db.prepare('PRAGMA user_version').get()).to.deep.include({ user_version: 1_000 });
  });

  describe('a file of the first version', () => {
    const ID = '019b7ccd-a088-7000-8000-000000000001';

    beforeEach(async () => {
      await mkdir(join(place.directory, 'data'));
      using db = new DatabaseSync(place.path);
      db.exec(await readFile(join(import.meta.dirname, 'fixtures', 'version-1.sql'), 'utf8'));
    });

    it('keeps its rows, with what was added since as it is by default', async () => {
      const { storage } = await open();
      const [row] = await storage.find([ID]);
      expect(row?.spec).to.deep.include({ id: ID, channel: 'push', data: { order: 7 } });
      expect(row?.spec.recipient).to.deep.equal({
        id: 'customer-1',
        devices: ['token-1', 'token-2'].map((token) => ({ kind: 'fcm_token', token })),
      });
      expect(row?.state).to.deep.include({ version: 3, status: 'sent', receipts: [] });
      expect(row?.state.attempts[0]).to.deep.include({ provider: 'fcm', choice: 'first', skipped: [], targets: [0] });
      expect(row?.rendered).to.deep.equal(aRendered());
      expect(await storage.loadAttachments(ID)).to.have.length(1);
      const [key] = await storage.reserveKeys([aKey()]);
      expect(key?.ids).to.deep.equal([ID]);
    });

    it('takes what came with later versions', async () => {
      const { storage } = await open();
      const receipt = aReceipt({ notificationId: ID });
      await storage.saveReceipts([{ receipt, wakeAt: 1 }]);
      await storage.addSuppressions([aSuppression()]);
      await storage.sharedSecret('name', 'secret');
      expect(await storage.receiptsOf([ID])).to.deep.equal([receipt]);
    });

    it('has the tables of a new one once it was opened', async () => {
      await open();
      await openSqlite({ path: `${place.path}-new` }).then((store) => opened.push(store));
      const tables = [place.path, `${place.path}-new`].map((path) => {
        using db = new DatabaseSync(path, { readOnly: true });
        const version = db.prepare('PRAGMA user_version').get();
        return [version, ...db.prepare('SELECT name, sql FROM sqlite_master ORDER BY name').all()];
      });
      expect(tables[0]).to.deep.equal(tables[1]);
    });
  });

  it('refuses a file that is no database', async () => {
    await expectReason('STORE_UNAVAILABLE', openSqlite({ path: place.directory }));
  });

  it('says STORE_UNAVAILABLE with the cause when the disk is full, and has not written what it refused', async () => {
    // The shell limits the size of any file to 4,096 blocks, of 512 or 1,024 bytes: a write beyond fails like on a full disk.
    const script = 'ulimit -f 4096 && exec "$@"';
    const child = run('sh', ['-c', script, 'sh', process.execPath, CHILD, place.path, '60', '200']);
    const told = linesOf(child);
    await once(child, 'close');
    const lines = told();
    const ids = lines.filter((line) => line.length === 36);
    const refused = new Set(lines.filter((line) => line.length !== 36));
    expect(ids, 'promised').to.not.be.empty;
    expect(refused).to.include('STORE_UNAVAILABLE SqliteError');
    expect(['STORE_UNAVAILABLE SqliteError', 'QUEUE_UNAVAILABLE SqliteError']).to.include.members([...refused]);
    const { storage } = await open();
    expect((await storage.find(ids)).map(({ spec }) => spec.id)).to.have.members(ids);
    expect(await storage.list({ tenant: 'default', limit: 100 })).to.have.length(ids.length);
  });

  it('is not ready while nothing can be written, and is again when it can', async function () {
    if (spawnSync('prlimit', ['--version']).status !== 0) return void this.skip();
    const child = spawn(process.execPath, [PING_CHILD, place.path], { stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(child);
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const ask = async (): Promise<string> => {
      child.stdin.write('\n');
      return String((await lines.next()).value);
    };
    // Of every file the first byte already lies beyond the limit, as on a full disk.
    const limit = (bytes: string): void =>
      void expect(spawnSync('prlimit', ['--pid', String(child.pid), `--fsize=${bytes}:`]).status).to.equal(0);
    expect(await ask()).to.equal('done done');
    limit('0');
    expect(await ask()).to.equal('STORE_UNAVAILABLE STORE_UNAVAILABLE');
    limit('unlimited');
    expect(await ask()).to.equal('done done');
    child.stdin.end();
    await once(child, 'close');
  });

  it('refuses every call once the writer thread is dead', async () => {
    const started = once(process, 'worker');
    const { storage, queue, feed } = await open();
    // The event carries the thread that was started.
    const [worker] = (await started) as [Worker];
    const underWay = storage.insert([aNotification()]);
    await worker.terminate();
    const outcome = await underWay.then(
      () => 'written',
      (thrown: unknown) => CarillonError.from(thrown).reason,
    );
    expect(outcome).to.be.oneOf(['written', 'STORE_UNAVAILABLE']);
    const error = await expectReason('STORE_UNAVAILABLE', storage.ping());
    expect(error.cause).to.be.instanceOf(Error);
    await expectReason('STORE_UNAVAILABLE', storage.insert([aNotification()]));
    await expectReason('STORE_UNAVAILABLE', storage.find(['x']));
    await expectReason('QUEUE_UNAVAILABLE', queue.ping());
    await expectReason('QUEUE_UNAVAILABLE', queue.publish([aHint()]));
    await expectReason('FEED_UNAVAILABLE', feed.append([anEvent()]));
  });

  describe('closing', () => {
    it('waits for the writes under way, brings the log back into the file, and may come twice', async () => {
      const store = await open();
      const rows = Array.from({ length: 50 }, () => aNotification());
      const writes = rows.map((row) => store.storage.insert([row]));
      await Promise.all([store[Symbol.asyncDispose](), ...writes]);
      await store[Symbol.asyncDispose]();
      expect(await readdir(join(place.directory, 'data'))).to.have.members(['carillon.db', 'carillon.db-lock']);
      expect(await (await open()).storage.list({ tenant: 'default', limit: 100 })).to.have.length(50);
    });

    it('ends every later call with UNAVAILABLE', async () => {
      const store = await open();
      await store[Symbol.asyncDispose]();
      await expectReason('STORE_UNAVAILABLE', store.storage.insert([aNotification()]));
      await expectReason('STORE_UNAVAILABLE', store.storage.find(['x']));
      await expectReason('QUEUE_UNAVAILABLE', store.queue.publish([aHint()]));
      await expectReason('FEED_UNAVAILABLE', store.feed.append([anEvent()]));
    });

    it('writes the answers that were given before', async () => {
      const store = await open();
      await store.queue.publish([aHint(), aHint()]);
      const jobs = await takeAll(store.queue, 2);
      for (const job of jobs) job.answer('done');
      const { queue } = await reopen();
      expect(await queue.publish([jobs[0]?.hint ?? aHint()])).to.deep.equal(['stored']);
      expect(await takeAll(queue, 1)).to.have.length(1);
    });
  });

  it('leaves nothing behind of a store in memory', async () => {
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = place.directory;
    try {
      const store = await openSqlite({ path: ':memory:' });
      opened.push(store);
      const row = aNotification();
      await store.storage.insert([row]);
      expect(await store.storage.find([row.spec.id])).to.deep.equal([row]);
      expect(await readdir(place.directory)).to.have.length(1);
      await store[Symbol.asyncDispose]();
      expect(await readdir(place.directory)).to.deep.equal([]);
    } finally {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    }
  });

  it('keeps no more events than it is told to', async () => {
    const store = await openSqlite({ path: place.path, maxEvents: 10, trimEveryMs: 20 });
    opened.push(store);
    await store.feed.append(Array.from({ length: 25 }, () => anEvent()));
    const { last } = await store.feed.bounds();
    await eventually('the feed is trimmed', async () => (await store.feed.bounds()).first === last - 9);
    expect((await store.feed.bounds()).last).to.equal(last);
  });
});
