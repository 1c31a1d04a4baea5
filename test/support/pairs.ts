/** The pairs of store and queue that the service runs on, and how a suite runs once on each. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MONGO_START_DEADLINE_MS, type MongoServer, mongoMissing, startMongo } from './start-mongo.ts';
import { type NatsServer, natsMissing, startNats } from './start-nats.ts';
import { type TcpProxy, startTcpProxy } from './tcp-proxy.ts';

/** A store, a queue and a feed that held nothing when they were made. Several services may be started on one, if the pair allows it. */
export interface PairStore {
  /** What makes a service use it, as `key=value`. */
  readonly settings: readonly string[];
}

/** The servers behind a cluster's store, to be broken. */
export interface ClusterStore extends PairStore {
  readonly nats: NatsServer;
  /** Everything between the service and MongoDB goes through it. */
  readonly mongo: TcpProxy;
}

export interface PairRig {
  readonly name: PairName;
  /** What the suite has open; closed in reverse order when it ends, before the servers. */
  readonly owned: AsyncDisposableStack;
  store(): Promise<PairStore>;
}

export interface ClusterRig extends PairRig {
  store(): Promise<ClusterStore>;
}

export type PairName = 'sqlite+sqlite' | 'mongo+jetstream';

/** By what each is about. */
export type Suites<Rig extends PairRig> = Readonly<Record<string, (rig: Rig) => void>>;

/** Runs the suites on SQLite alone, which needs no server. */
export function onEmbedded(what: string, suites: Suites<PairRig>): void {
  describe(`${what}: sqlite+sqlite`, () => {
    describeEach(suites, (owned) => ({ name: 'sqlite+sqlite', owned, store: () => embeddedStore(owned) }));
  });
}

/** Runs the suites on MongoDB and JetStream; where the machine lacks a server they are skipped by name. */
export function onCluster(what: string, suites: Suites<ClusterRig>): void {
  const missing = mongoMissing() ?? natsMissing();
  if (missing === undefined) describe(`${what}: mongo+jetstream`, () => clusterSuites(suites));
  else describe.skip(`${what}: mongo+jetstream (${missing})`, () => clusterSuites(suites));
}

/** One MongoDB for all, with a database for each store. */
function clusterSuites(suites: Suites<ClusterRig>): void {
  let mongo: MongoServer | undefined;
  before('start MongoDB', async function () {
    this.timeout(MONGO_START_DEADLINE_MS);
    mongo = await startMongo();
  });
  const store = (owned: AsyncDisposableStack): Promise<ClusterStore> => {
    if (!mongo) throw new Error('MongoDB was not started');
    return clusterStore(mongo, owned);
  };
  describeEach(suites, (owned) => ({ name: 'mongo+jetstream', owned, store: () => store(owned) }));
  after('stop MongoDB', () => mongo?.stop());
}

function describeEach<Rig extends PairRig>(suites: Suites<Rig>, rigOf: (owned: AsyncDisposableStack) => Rig): void {
  for (const [title, suite] of Object.entries(suites)) {
    describe(title, () => {
      const owned = new AsyncDisposableStack();
      suite(rigOf(owned));
      after('close', () => owned.disposeAsync());
    });
  }
}

async function embeddedStore(owned: AsyncDisposableStack): Promise<PairStore> {
  const folder = await mkdtemp(join(tmpdir(), 'carillon-e2e-'));
  owned.defer(() => rm(folder, { recursive: true }));
  return { settings: [`store.sqlite.path=${join(folder, 'carillon.db')}`] };
}

/** A database of its own, and a server of its own for NATS, as the names of the streams are fixed. */
async function clusterStore(mongo: MongoServer, owned: AsyncDisposableStack): Promise<ClusterStore> {
  const nats = await startNats();
  owned.defer(() => nats.stop());
  const url = new URL(mongo.url);
  const proxy = owned.use(await startTcpProxy(Number(url.port || 27_017)));
  url.host = `127.0.0.1:${proxy.port}`;
  // The members of a replica set name their own addresses, past the proxy.
  url.searchParams.set('directConnection', 'true');
  const settings = [
    'store.kind=mongo',
    `store.mongo.url=${url.href}`,
    `store.mongo.database=e2e_${randomBytes(6).toString('hex')}`,
    'queue.kind=jetstream',
    `queue.nats.servers=${nats.url}`,
  ];
  return { settings, nats, mongo: proxy };
}
