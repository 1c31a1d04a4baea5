/**
 * The raw steps that no notification can do without, each measured alone against the same servers, at the concurrency the
 * service reaches: rows per second for writes, messages per second for the queue. Nothing of Carillon's own runs here.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { MongoClient } from 'mongodb';
import type { Collection } from 'mongodb';
import { rateOf } from './measure.ts';

/** Rows that share one commit or one bulk, as when so many callers write at a time. */
const GROUP = 64;
const ROWS = 20_000;
const MONGO_ROWS = 6_400;
/** About what a row of the load generator's notification weighs, spec and state. */
const SPEC = JSON.stringify({ text: 'x'.repeat(650) });
const STATE = JSON.stringify({ text: 'x'.repeat(550) });

/** Per second. */
export interface RawSteps {
  /** Durable inserts of rows, and updates by id and version. */
  readonly insert: number;
  readonly update: number;
  /** Durable hints, and their consumption with acknowledgement. */
  readonly publish: number;
  readonly consume: number;
  /** Durable events. */
  readonly append: number;
}

export async function rawSqlite(directory: string): Promise<RawSteps> {
  using db = new DatabaseSync(join(directory, `raw-${randomUUID()}.db`));
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE item (id TEXT PRIMARY KEY, version INTEGER, spec TEXT, state TEXT);
    CREATE TABLE job (seq INTEGER PRIMARY KEY, id TEXT, taken INTEGER DEFAULT 0);
    CREATE TABLE event (seq INTEGER PRIMARY KEY, body TEXT);`);
  const ids = Array.from({ length: ROWS }, () => randomUUID());
  const statements = {
    insert: db.prepare('INSERT INTO item VALUES (?, 1, ?, ?)'),
    update: db.prepare('UPDATE item SET version = 2, state = ? WHERE id = ? AND version = 1'),
    publish: db.prepare('INSERT INTO job (id) VALUES (?)'),
    take: db.prepare('UPDATE job SET taken = 1 WHERE seq = ?'),
    ack: db.prepare('DELETE FROM job WHERE seq = ?'),
    append: db.prepare('INSERT INTO event (body) VALUES (?)'),
  };
  const grouped = (run: (id: string, index: number) => void): Promise<number> =>
    rateOf(ROWS / GROUP, 1, async (group) => {
      db.exec('BEGIN IMMEDIATE');
      ids.slice(group * GROUP, (group + 1) * GROUP).forEach((id, index) => run(id, group * GROUP + index));
      db.exec('COMMIT');
    }).then((perSecond) => perSecond * GROUP);
  const insert = await grouped((id) => statements.insert.run(id, SPEC, STATE));
  const update = await grouped((id) => statements.update.run(STATE, id));
  const publish = await grouped((id) => statements.publish.run(id));
  const take = await grouped((_id, index) => statements.take.run(index + 1));
  const ack = await grouped((_id, index) => statements.ack.run(index + 1));
  const append = await grouped(() => statements.append.run(STATE.slice(0, 350)));
  return { insert, update, publish, consume: 1 / (1 / take + 1 / ack), append };
}

export async function rawCluster(mongoUrl: string, natsUrl: string): Promise<RawSteps> {
  return { ...(await rawMongo(mongoUrl)), ...(await rawNats(natsUrl)) };
}

interface Item {
  _id: string;
  version: number;
  spec: { text: string };
  state: { text: string };
}

async function rawMongo(url: string): Promise<Pick<RawSteps, 'insert' | 'update'>> {
  await using client = new MongoClient(url, { writeConcern: { w: 'majority', journal: true } });
  const items: Collection<Item> = client.db(`carillon_bench_raw_${Date.now()}`).collection('items');
  const ids = Array.from({ length: MONGO_ROWS }, () => randomUUID());
  const groupOf = (group: number): string[] => ids.slice(group * GROUP, (group + 1) * GROUP);
  const body = { spec: { text: SPEC }, state: { text: STATE } };
  const groups = MONGO_ROWS / GROUP;
  const insert = await rateOf(groups, 1, (group) =>
    items.insertMany(
      groupOf(group).map((_id) => ({ _id, version: 1, ...body })),
      { ordered: false },
    ),
  );
  const update = await rateOf(groups, 1, (group) =>
    items.bulkWrite(
      groupOf(group).map((_id) => ({
        updateOne: { filter: { _id, version: 1 }, update: { $set: { version: 2, state: body.state } } },
      })),
      { ordered: false },
    ),
  );
  await items.drop();
  return { insert: insert * GROUP, update: update * GROUP };
}

async function rawNats(url: string): Promise<Pick<RawSteps, 'publish' | 'consume' | 'append'>> {
  const connection = await connect({ servers: url });
  const manager = await jetstreamManager(connection);
  const js = jetstream(connection);
  const hint = JSON.stringify({ text: 'x'.repeat(100) });
  const event = JSON.stringify({ text: 'x'.repeat(350) });
  await manager.streams.add({ name: 'BENCH_WORK', subjects: ['bench.work'], retention: 'workqueue' });
  await manager.streams.add({ name: 'BENCH_EVENTS', subjects: ['bench.event.>'] });
  await manager.consumers.add('BENCH_WORK', { durable_name: 'bench', ack_policy: 'explicit', max_ack_pending: ROWS });
  const inFlight = 4 * GROUP;
  const publish = await rateOf(ROWS, inFlight, (index) =>
    js.publish('bench.work', hint, { msgID: `w${index}`, timeout: 10_000 }),
  );
  const append = await rateOf(ROWS, inFlight, (index) =>
    js.publish(`bench.event.${index % 5_000}`, event, { msgID: `e${index}`, timeout: 10_000 }),
  );
  const consumer = await js.consumers.get('BENCH_WORK', 'bench');
  const messages = await consumer.consume({ max_messages: inFlight });
  const before = performance.now();
  let taken = 0;
  for await (const message of messages) {
    message.ack();
    if (++taken === ROWS) break;
  }
  const consume = ROWS / ((performance.now() - before) / 1_000);
  await manager.streams.delete('BENCH_WORK');
  await manager.streams.delete('BENCH_EVENTS');
  await connection.close();
  return { publish, append, consume };
}
