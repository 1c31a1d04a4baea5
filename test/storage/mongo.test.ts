import { expect } from 'chai';

import { systemRandom } from '../../src/domain/id.ts';
import type { Notification } from '../../src/domain/notification.ts';
import { CarillonError, isUnavailable } from '../../src/errors.ts';
import { openMongoStorage } from '../../src/storage/mongo/mongo.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { eventually } from '../support/eventually.ts';
import { MONGO_START_DEADLINE_MS, mongoMissing, startMongo } from '../support/start-mongo.ts';
import type { MongoServer } from '../support/start-mongo.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';

const NOW = 1_700_000_000_000;
const TIMEOUT_MS = 1_000;

function rowOf(over: Partial<Notification['spec']> = {}): Notification {
  const id = systemRandom.id(NOW);
  return {
    spec: {
      id,
      tenant: 'default',
      groupId: systemRandom.id(NOW),
      type: 'order.shipped',
      channel: 'email',
      priority: 'high',
      category: 'general',
      recipient: { email: 'a@example.org' },
      unknownOutcome: 'retry',
      metadata: {},
      attachmentCount: 0,
      createdAt: NOW,
      ...over,
    },
    state: {
      version: 1,
      published: 0,
      status: 'queued',
      dueAt: NOW,
      wakeAt: NOW + 60_000,
      run: 1,
      attempt: 0,
      starts: 0,
      cancelRequested: false,
      targets: [{ address: 'a@example.org' }],
      attempts: [],
      history: [{ version: 1, at: NOW, status: 'queued' }],
      updatedAt: NOW,
    },
  };
}

const next = (row: Notification): Notification => ({
  ...row,
  state: { ...row.state, version: row.state.version + 1, status: 'processing' },
});

describe('storage on MongoDB', function () {
  let server: MongoServer;
  let proxy: TcpProxy;
  let storage: Storage;
  const database = `carillon_test_${systemRandom.lease().slice(0, 8)}`;

  before(async function () {
    if (mongoMissing() || process.env['MONGODB_URL']) return this.skip();
    this.timeout(MONGO_START_DEADLINE_MS);
    server = await startMongo();
    proxy = await startTcpProxy(Number(new URL(server.url).port));
    const url = `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`;
    storage = await openMongoStorage({ url, database, timeoutMs: TIMEOUT_MS, serverSelectionTimeoutMs: TIMEOUT_MS });
  });

  afterEach(async () => {
    proxy.mode('pass');
    await eventually('the store is back', () => storage.ping().then(() => true, isAway));
  });

  after(async () => {
    await storage?.[Symbol.asyncDispose]();
    await proxy?.[Symbol.asyncDispose]();
    await server?.stop();
  });

  for (const mode of ['reset', 'black-hole'] as const) {
    it(`answers STORE_UNAVAILABLE within twice its time-out when the network does ${mode}, and recovers`, async () => {
      const [known, fresh] = [rowOf(), rowOf()];
      await storage.insert([known]);
      proxy.mode(mode);
      const started = Date.now();
      const failures = await Promise.all([
        reasonOf(storage.ping()),
        reasonOf(storage.insert([fresh])),
        reasonOf(storage.update([{ from: 1, row: next(known) }])),
        reasonOf(storage.find([known.spec.id])),
        reasonOf(storage.due(NOW, 10)),
        reasonOf(storage.readLimit('email')),
      ]);
      expect(new Set(failures)).to.deep.equal(new Set(['STORE_UNAVAILABLE']));
      expect(Date.now() - started).to.be.below(2 * TIMEOUT_MS + 500);
      proxy.mode('pass');
      await eventually('a write is taken again', () => storage.insert([fresh]).then(() => true, isAway));
      expect(await storage.find([fresh.spec.id])).to.have.lengthOf(1);
    });
  }

  it('tells of concurrent writers of the same version exactly one that it won', async () => {
    const rows = Array.from({ length: 40 }, () => rowOf());
    await storage.insert(rows);
    const changes = rows.map((row) => ({ from: 1, row: next(row) }));
    const answers = await Promise.all([changes, changes, changes].map((c) => storage.update(c)));
    rows.forEach((_, index) => {
      expect(answers.filter((answer) => answer[index])).to.have.lengthOf(1);
    });
  });

  it('rejects only the call whose row the server refuses', async () => {
    const [good, other] = [rowOf(), rowOf()];
    const huge = rowOf({ data: { text: 'x'.repeat(17 * 1024 * 1024) } });
    const [first, refused, last] = await Promise.allSettled([
      storage.insert([good]),
      storage.insert([huge]),
      storage.insert([other]),
    ]);
    expect([first.status, refused.status, last.status]).to.deep.equal(['fulfilled', 'rejected', 'fulfilled']);
    expect(await storage.find([good.spec.id, other.spec.id, huge.spec.id])).to.have.lengthOf(2);
  });

  it('keeps data whose keys have a meaning to the server', async () => {
    const row = rowOf({ data: { 'a.b': { $set: 1, '': null, _id: '\ud800' }, long: 2 ** 40, list: [[], {}] } });
    await storage.insert([row]);
    expect(await storage.find([row.spec.id])).to.deep.equal([row]);
  });

  it('does not start without a server', async () => {
    const options = { database, timeoutMs: 300, serverSelectionTimeoutMs: 300 };
    expect(await reasonOf(openMongoStorage({ ...options, url: 'mongodb://127.0.0.1:9/' }))).to.equal(
      'STORE_UNAVAILABLE',
    );
  });
});

async function reasonOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'no failure';
  } catch (thrown) {
    return CarillonError.from(thrown).reason;
  }
}

/** Not yet, where the store is away; any other failure is one of the test. */
function isAway(thrown: unknown): false {
  if (isUnavailable(thrown)) return false;
  throw thrown;
}
