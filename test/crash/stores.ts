/** The two pairs of store and queue, each on fresh files and servers of its own, with a look inside once all is over. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { MongoClient } from 'mongodb';
import type { BackendConfig } from '../../src/config.ts';
import { mongoMissing, startMongo } from '../support/start-mongo.ts';
import type { MongoServer } from '../support/start-mongo.ts';
import { natsMissing, startNats } from '../support/start-nats.ts';
import type { NatsServer } from '../support/start-nats.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';

export const PAIRS = ['sqlite', 'cluster'] as const;
export type PairName = (typeof PAIRS)[number];

/** What the service left behind when every notification had ended: all must come to zero. */
export interface Leftovers {
  /** Receipts that no row has. Counted first, as their rows have work left once they are applied. */
  readonly receipts: number;
  /** Rows that the scheduler would look at again. */
  readonly waking: number;
  /** Rows with events that the feed has not acknowledged. */
  readonly unpublished: number;
  /** Hints. */
  readonly jobs: number;
}

export interface Stores extends AsyncDisposable {
  /** One for each process that the pair is run with. */
  readonly backends: readonly BackendConfig[];
  leftovers(): Promise<Leftovers>;
  /** Can be killed and started again on the same files. */
  readonly nats?: NatsServer;
  /** Can be killed and started again where it is a real mongod. */
  readonly mongo?: MongoServer;
  /** Between the first process and MongoDB. */
  readonly mongoProxy?: TcpProxy;
}

/** Why this machine cannot run the pair; undefined where it can. */
export function missing(pair: PairName): string | undefined {
  return pair === 'sqlite' ? undefined : (mongoMissing() ?? natsMissing());
}

export function openStores(pair: PairName): Promise<Stores> {
  return pair === 'sqlite' ? openSqliteStores() : openClusterStores();
}

async function openSqliteStores(): Promise<Stores> {
  const folder = await mkdtemp(join(tmpdir(), 'carillon-crash-'));
  const path = join(folder, 'carillon.db');
  return {
    backends: [{ kind: 'sqlite', path }],
    async leftovers() {
      using db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
      const count = (sql: string): number => Number(db.prepare(sql).get()?.['n']);
      return {
        receipts: count('SELECT count(*) AS n FROM receipt WHERE wake_at IS NOT NULL'),
        waking: count('SELECT count(*) AS n FROM notification WHERE wake_at IS NOT NULL'),
        unpublished: count('SELECT count(*) AS n FROM notification WHERE published < version'),
        jobs: count('SELECT count(*) AS n FROM job'),
      };
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Short next to the scaled lease, so that an outage is noticed while it lasts. Real milliseconds. */
const MONGO_TIMEOUTS = { timeoutMs: 2_500, serverSelectionTimeoutMs: 2_000 };
const ACK_WAIT = 3_000;

async function openClusterStores(): Promise<Stores> {
  await using opening = new AsyncDisposableStack();
  const mongo = await startMongo();
  opening.defer(() => mongo.stop());
  const nats = await startNats();
  opening.defer(() => nats.stop());
  const url = new URL(mongo.url);
  const mongoProxy = opening.use(await startTcpProxy(Number(url.port)));
  const through = new URL(mongo.url);
  through.port = String(mongoProxy.port);
  through.searchParams.set('directConnection', 'true');
  const database = `crash-${randomUUID()}`;
  // Not in the configuration, as nobody else has a reason to change it.
  const shortened = { ackWaitMs: ACK_WAIT };
  const backendAt = (address: URL): BackendConfig => ({
    kind: 'cluster',
    mongo: { url: address.href, database, ...MONGO_TIMEOUTS },
    nats: { servers: [nats.url], replicas: 1, ...shortened },
  });
  const client = opening.use(new MongoClient(mongo.url));
  const db = client.db(database);
  opening.defer(async () => void (await db.dropDatabase()));
  const rows = db.collection('notifications');
  const owned = opening.move();
  return {
    backends: [backendAt(through), backendAt(url)],
    nats,
    mongo,
    mongoProxy,
    async leftovers() {
      const receipts = await db.collection('receipts').countDocuments({ wake_at: { $exists: true } });
      const versions = await rows.find({}, { projection: { version: 1, published: 1 } }).toArray();
      return {
        receipts,
        waking: await rows.countDocuments({ wake_at: { $exists: true } }),
        unpublished: versions.filter(({ version, published }) => published < version).length,
        jobs: await jobsIn(nats.url),
      };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function jobsIn(servers: string): Promise<number> {
  const connection = await connect({ servers });
  try {
    const manager = await jetstreamManager(connection);
    return (await manager.streams.info('NOTIFY')).state.messages;
  } finally {
    await connection.close();
  }
}
