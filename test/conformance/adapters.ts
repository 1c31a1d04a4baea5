/** Every adapter of every port, and how a suite runs once on each. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Feed } from '../../src/feed/feed.ts';
import { type JetStream, type JetStreamOptions, openJetStream } from '../../src/queue/jetstream.ts';
import type { Queue } from '../../src/queue/queue.ts';
import { openMongoStorage } from '../../src/storage/mongo/mongo.ts';
import { openSqlite, type SqliteOptions, type SqliteStore } from '../../src/storage/sqlite/sqlite.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { MONGO_START_DEADLINE_MS, mongoMissing, startMongo } from '../support/start-mongo.ts';
import { natsMissing, startNats } from '../support/start-nats.ts';

/** Jobs a lane takes in the tests of the queue. */
export const MAX_PER_LANE = 20;
/** After which JetStream hands out a job again that its process left unanswered, milliseconds: a standstill is shorter. */
const ACK_WAIT_MS = 2_000;
/** How long the feed of `shortFeedAdapters` keeps an event, milliseconds. */
const SHORT_RETENTION_MS = 1_500;

export interface Opened<Port> {
  readonly port: Port;
  /** Lets go of it as a process does that ends: what was not answered stays unanswered. */
  close(): PromiseLike<void>;
}

/** A running server, or a directory for files. */
export interface Backend<Port> extends AsyncDisposable {
  /** A name that was opened before has what was stored under it then. */
  open(name: string): Promise<Opened<Port>>;
}

export interface Adapter<Port> {
  readonly name: string;
  /** Why it cannot run on this machine; undefined where it can. */
  readonly missing: string | undefined;
  readonly startDeadlineMs: number;
  start(): Promise<Backend<Port>>;
}

export interface Rig<Port> {
  /** Opened anew for each test, with nothing stored. */
  readonly port: Port;
  /** Closes the port and opens it again on what it has stored, as the next process does. */
  reopen(): Promise<void>;
}

/** Runs the suite once per adapter: one server for the suite, a store of its own for each test. */
export function onEach<Port>(what: string, adapters: readonly Adapter<Port>[], suite: (rig: Rig<Port>) => void): void {
  for (const adapter of adapters) {
    if (adapter.missing === undefined) describe(`${what}: ${adapter.name}`, () => runOn(adapter, suite));
    else describe.skip(`${what}: ${adapter.name} (${adapter.missing})`, () => suite(new TestRig()));
  }
}

function runOn<Port>(adapter: Adapter<Port>, suite: (rig: Rig<Port>) => void): void {
  const rig = new TestRig<Port>();
  before('start', async function () {
    this.timeout(adapter.startDeadlineMs);
    rig.backend = await adapter.start();
  });
  beforeEach('open', () => rig.openNew());
  afterEach('close', () => rig.close());
  after('stop', () => rig.backend?.[Symbol.asyncDispose]());
  suite(rig);
}

class TestRig<Port> implements Rig<Port> {
  backend: Backend<Port> | undefined;
  #name = '';
  #opened: Opened<Port> | undefined;

  get port(): Port {
    if (!this.#opened) throw new Error('nothing is open');
    return this.#opened.port;
  }

  async openNew(): Promise<void> {
    this.#name = `test_${randomBytes(6).toString('hex')}`;
    await this.#open();
  }

  async reopen(): Promise<void> {
    await this.close();
    await this.#open();
  }

  async close(): Promise<void> {
    await this.#opened?.close();
    this.#opened = undefined;
  }

  async #open(): Promise<void> {
    this.#opened = await this.backend?.open(this.#name);
  }
}

function sqlite<Port>(pick: (store: SqliteStore) => Port, options: Omit<SqliteOptions, 'path'> = {}): Adapter<Port> {
  return {
    name: 'SQLite',
    missing: undefined,
    startDeadlineMs: 60_000,
    async start() {
      const directory = await mkdtemp(join(tmpdir(), 'carillon-sqlite-'));
      return {
        async open(name) {
          const store = await openSqlite({ ...options, path: join(directory, `${name}.db`) });
          return { port: pick(store), close: () => store[Symbol.asyncDispose]() };
        },
        [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
      };
    },
  };
}

const mongo: Adapter<Storage> = {
  name: 'MongoDB',
  missing: mongoMissing(),
  startDeadlineMs: MONGO_START_DEADLINE_MS,
  async start() {
    const server = await startMongo();
    return {
      async open(name) {
        const port = await openMongoStorage({ url: server.url, database: name });
        return { port, close: () => port[Symbol.asyncDispose]() };
      },
      [Symbol.asyncDispose]: () => server.stop(),
    };
  },
};

type JetStreamSettings = Omit<JetStreamOptions, 'servers' | 'user' | 'password' | 'onProblem'>;

/** Tests of one suite: each has an account of its own on the server, as the names of the streams are fixed. */
const NATS_ACCOUNTS = 60;

function natsAccounts(): string {
  const accounts = Array.from(
    { length: NATS_ACCOUNTS },
    (_, index) => `a${index}: { jetstream: enabled, users: [{ user: a${index}, password: a${index} }] }`,
  );
  return `accounts { ${accounts.join(', ')} }`;
}

function jetStream<Port>(pick: (opened: JetStream) => Port, options: JetStreamSettings = {}): Adapter<Port> {
  return {
    name: 'JetStream',
    missing: natsMissing(),
    startDeadlineMs: 60_000,
    async start() {
      const server = await startNats({ config: natsAccounts() });
      const accounts = new Map<string, string>();
      return {
        async open(name) {
          const account = accounts.get(name) ?? `a${accounts.size}`;
          accounts.set(name, account);
          const opened = await openJetStream({
            ...options,
            servers: [server.url],
            user: account,
            password: account,
            onProblem: (error) => {
              throw error;
            },
          });
          return { port: pick(opened), close: () => opened[Symbol.asyncDispose]() };
        },
        [Symbol.asyncDispose]: () => server.stop(),
      };
    },
  };
}

export const storageAdapters: readonly Adapter<Storage>[] = [sqlite(({ storage }) => storage), mongo];
export const queueAdapters: readonly Adapter<Queue>[] = [
  sqlite(({ queue }) => queue, { maxPerLane: MAX_PER_LANE }),
  jetStream(({ queue }) => queue, { maxPerLane: MAX_PER_LANE, ackWaitMs: ACK_WAIT_MS }),
];
export const feedAdapters: readonly Adapter<Feed>[] = [sqlite(({ feed }) => feed), jetStream(({ feed }) => feed)];
export const shortFeedAdapters: readonly Adapter<Feed>[] = [
  sqlite(({ feed }) => feed, { retentionMs: SHORT_RETENTION_MS, trimEveryMs: 100 }),
  jetStream(({ feed }) => feed, { feedRetentionMs: SHORT_RETENTION_MS }),
];
