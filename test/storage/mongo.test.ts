import { expect } from 'chai';
import { MongoClient } from 'mongodb';

import { systemRandom } from '../../src/domain/id.ts';
import type { Notification } from '../../src/domain/notification.ts';
import { CarillonError, isUnavailable } from '../../src/errors.ts';
import type { RowDocument } from '../../src/storage/mongo/documents.ts';
import { openMongoStorage } from '../../src/storage/mongo/mongo.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { aReceipt, aSuppression } from '../support/sample.ts';
import { eventually, HANG_MS } from '../support/eventually.ts';
import { MONGO_START_DEADLINE_MS, mongoMissing, startMongo } from '../support/start-mongo.ts';
import type { MongoServer } from '../support/start-mongo.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';

const NOW = 1_700_000_000_000;
/** Of the store that the network is taken away from; a slow server must not end the calls of the others. */
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
      receipts: [],
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
  let hasty: Storage;
  const database = `carillon_test_${systemRandom.lease().slice(0, 8)}`;

  before(async function () {
    if (mongoMissing() || process.env['MONGODB_URL']) return this.skip();
    this.timeout(MONGO_START_DEADLINE_MS);
    server = await startMongo();
    proxy = await startTcpProxy(Number(new URL(server.url).port));
    const url = `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`;
    const open = (ms: number) => openMongoStorage({ url, database, timeoutMs: ms, serverSelectionTimeoutMs: ms });
    storage = await open(HANG_MS);
    hasty = await open(TIMEOUT_MS);
  });

  afterEach(async () => {
    proxy.mode('pass');
    for (const store of [storage, hasty]) {
      await eventually('the store is back', () => store.ping().then(() => true, isAway));
    }
  });

  after(async () => {
    await hasty?.[Symbol.asyncDispose]();
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
        reasonOf(hasty.ping()),
        reasonOf(hasty.insert([fresh])),
        reasonOf(hasty.update([{ from: 1, row: next(known) }])),
        reasonOf(hasty.find([known.spec.id])),
        reasonOf(hasty.due(NOW, 10)),
        reasonOf(hasty.readLimit('email')),
        reasonOf(hasty.saveReceipts([{ receipt: aReceipt() }])),
        reasonOf(hasty.receiptsOf([known.spec.id])),
        reasonOf(hasty.addSuppressions([aSuppression()])),
        reasonOf(hasty.findSuppressions(['a'])),
        reasonOf(hasty.sharedSecret('name', 'candidate')),
      ]);
      expect(new Set(failures)).to.deep.equal(new Set(['STORE_UNAVAILABLE']));
      expect(Date.now() - started).to.be.below(2 * TIMEOUT_MS + 500);
      proxy.mode('pass');
      await eventually('a write is taken again', () => hasty.insert([fresh]).then(() => true, isAway));
      expect(await hasty.find([fresh.spec.id])).to.have.lengthOf(1);
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

  describe('beside another process', () => {
    let second: Storage;

    before(async () => {
      second = await openMongoStorage({ url: server.url, database });
    });
    after(() => second?.[Symbol.asyncDispose]());

    it('agrees with it on a secret that both ask for first at the same moment', async () => {
      for (const name of Array.from({ length: 20 }, (_, round) => `secret ${round}`)) {
        const told = await Promise.all([storage.sharedSecret(name, 'mine'), second.sharedSecret(name, 'theirs')]);
        expect(told[0]).to.equal(told[1]);
      }
    });

    it('keeps one of a receipt and of a suppression that both write at the same moment, and both resolve', async () => {
      const rounds = Array.from({ length: 40 }, () => systemRandom.id(NOW));
      const writes = [storage, second].flatMap((store, process) =>
        rounds.flatMap((id) => [
          store.saveReceipts([{ receipt: aReceipt({ eventId: id, notificationId: id, at: process }), wakeAt: 1 }]),
          store.addSuppressions([aSuppression({ addressHash: id, createdAt: process })]),
        ]),
      );
      await Promise.all(writes);
      expect(await storage.receiptsOf(rounds)).to.have.lengthOf(rounds.length);
      expect(await storage.findSuppressions(rounds)).to.have.lengthOf(rounds.length);
      expect(await second.receiptsOf(rounds)).to.deep.equal(await storage.receiptsOf(rounds));
    });

    it('writes once what is repeated because its answer was lost', async () => {
      const [receipt, suppression] = [aReceipt(), aSuppression({ addressHash: 'lost' })];
      const write = (): Promise<unknown> =>
        Promise.all([
          hasty.saveReceipts([{ receipt, wakeAt: 1 }]),
          hasty.addSuppressions([suppression]),
          hasty.sharedSecret('lost', 'candidate'),
        ]);
      // As many connections as are about to write: a new one could not greet the server.
      await Promise.all([hasty.ping(), hasty.ping(), hasty.ping()]);
      proxy.mode('answers-lost');
      expect(await reasonOf(write())).to.equal('STORE_UNAVAILABLE');
      await eventually('both are written', async () => {
        const [receipts, suppressions] = [
          second.receiptsOf([receipt.notificationId]),
          second.findSuppressions(['lost']),
        ];
        return (await receipts).length > 0 && (await suppressions).length > 0;
      });
      proxy.mode('pass');
      await eventually('the repeat is taken', () => write().then(() => true, isAway));
      expect(await hasty.receiptsOf([receipt.notificationId])).to.deep.equal([receipt]);
      expect(await hasty.findSuppressions(['lost'])).to.deep.equal([suppression]);
      expect(await hasty.sharedSecret('lost', 'other')).to.equal('candidate');
    });
  });

  it('reads a row of the first release, with what was added since as it is by default', async () => {
    const { spec, state } = rowOf();
    const { receipts: _receipts, version, published, status, updatedAt, wakeAt: _wakeAt, ...rest } = state;
    const attempt = { run: 1, number: 1, provider: 'fcm', targets: [0], startedAt: NOW, results: [] };
    await using client = new MongoClient(server.url);
    const collection = client.db(database).collection<RowDocument>('notifications');
    await collection.insertOne({
      _id: spec.id,
      tenant: spec.tenant,
      group_id: spec.groupId,
      status,
      version,
      published,
      updated_at: updatedAt,
      spec: JSON.stringify({ ...spec, channel: 'push', recipient: { deviceTokens: ['token'] } }),
      state: JSON.stringify({ ...rest, attempts: [attempt] }),
    });
    const [row] = await storage.find([spec.id]);
    expect(row?.spec.recipient).to.deep.equal({ devices: [{ kind: 'fcm_token', token: 'token' }] });
    expect(row?.state.receipts).to.deep.equal([]);
    expect(row?.state.attempts).to.deep.equal([{ ...attempt, choice: 'first', skipped: [] }]);
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
