/**
 * `npm run bench [-- --pair sqlite|cluster] [--only accept,deliver,smtp,memory,providers] [--provider NAME,...] [--scale 1]`:
 * what the service reaches, beside the limit measured in the same run: 1 / the sum of the times of the raw steps that each
 * notification needs; and what each provider reaches by itself. The machine's speed cancels out of the ratio, its noise does
 * not: read the ratios.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { Status } from '../gen/carillon/v1/notification_pb.js';
import { NotificationService } from '../gen/carillon/v1/notification_service_pb.js';
import { mongoMissing, startMongo } from '../test/support/start-mongo.ts';
import { natsMissing, startNats } from '../test/support/start-nats.ts';
import type { LoadOptions } from './load.ts';
import { limitOf, quantile } from './measure.ts';
import { Child, load, startService } from './processes.ts';
import type { RunningService } from './processes.ts';
import { benchProviders } from './providers/compare.ts';
import { rawCluster, rawSqlite } from './raw.ts';
import type { RawSteps } from './raw.ts';
import { round, say } from './report.ts';

/** A service on a store and queue that nobody has used before, and the servers that are only for it. */
interface Fresh extends RunningService, AsyncDisposable {}

interface Pair {
  readonly name: string;
  start(settings: readonly string[]): Promise<Fresh>;
  raw(): Promise<RawSteps>;
}

const { values: flags } = parseArgs({
  options: {
    pair: { type: 'string', default: 'sqlite,cluster' },
    only: { type: 'string', default: 'accept,deliver,smtp,memory,providers' },
    /** All unless given. */
    provider: { type: 'string' },
    scale: { type: 'string', default: '1' },
  },
});
const scaled = (count: number): number => Math.max(500, Math.round(count * Number(flags.scale)));
const wants = (part: string): boolean => flags.only.split(',').includes(part);

const wantsPairs = ['accept', 'deliver', 'smtp', 'memory'].some(wants);
/** Of one round of a provider's side, at scale 1. */
const PROVIDER_MS = 500;

function report(name: string, perSecond: number, limit: number, target: number, more = ''): void {
  const ratio = perSecond / limit;
  const verdict = ratio >= target ? 'ok' : `below ${target}`;
  say(
    `  ${name.padEnd(24)}${round(perSecond).padStart(9)}/s  limit ${round(limit).padStart(8)}/s  ratio ${ratio.toFixed(2)} ${verdict}${more}`,
  );
}

const times = (perSecond: number, n: number): number => perSecond / n;

async function echo(mode: LoadOptions['mode']): Promise<number> {
  await using child = new Child(['bench/echo.ts']);
  const { port } = await child.json<{ readonly port: number }>('port');
  return (await load({ ...LOADS[mode], address: `127.0.0.1:${port}`, mode })).perSecond;
}

const LOADS: Readonly<Record<LoadOptions['mode'], Omit<LoadOptions, 'address' | 'mode'>>> = {
  unary: { count: scaled(10_000), inFlight: 64, batch: 1, rate: 0 },
  batch: { count: scaled(20_000), inFlight: 4, batch: 100, rate: 0 },
  stream: { count: scaled(20_000), inFlight: 256, batch: 1, rate: 0 },
};

async function benchAccept(pair: Pair, raw: RawSteps, echoes: Readonly<Record<string, number>>): Promise<void> {
  for (const mode of ['unary', 'batch', 'stream'] as const) {
    await using service = await pair.start(['role=["api"]']);
    const { grpc } = service;
    await load({ ...LOADS[mode], count: scaled(2_000), address: grpc, mode });
    const { perSecond, p50, p99 } = await load({ ...LOADS[mode], address: grpc, mode });
    const limit = limitOf({ echo: echoes[mode] ?? 0, insert: raw.insert, publish: raw.publish, append: raw.append });
    report(`accept ${mode}`, perSecond, limit, 0.5, `  p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms`);
  }
}

/** From the first call until the last notification is SENT; latencies from each row's own times, at a moderate rate. */
async function deliver(
  grpc: string,
  count: number,
): Promise<{ readonly perSecond: number; readonly p50: number; readonly p99: number }> {
  const client = clientOf(grpc);
  const before = performance.now();
  await load({ ...LOADS.stream, count, address: grpc, mode: 'stream' });
  await allSettled(client);
  const seconds = (performance.now() - before) / 1_000;

  const paced = scaled(1_000);
  const calm = watchSent(client, paced);
  await calm.standing;
  await load({ ...LOADS.unary, count: paced, rate: 100, address: grpc, mode: 'unary' });
  const latencies = await calm.all;
  return { perSecond: count / seconds, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) };
}

const clientOf = (grpc: string): Carillon =>
  createClient(NotificationService, createGrpcTransport({ baseUrl: `http://${grpc}` }));

/** Asks from outside, seldom enough to cost nothing: a watcher on the same two cores would be too slow for this. */
async function allSettled(client: Carillon): Promise<void> {
  for (const status of [Status.QUEUED, Status.PROCESSING, Status.PENDING]) {
    while ((await client.listNotifications({ filter: { status }, pageSize: 1 })).notifications.length > 0)
      await sleep(50);
  }
}

type Carillon = ReturnType<typeof createClient<typeof NotificationService>>;

function watchSent(
  client: Carillon,
  count: number,
): { readonly standing: Promise<void>; readonly all: Promise<number[]> } {
  const standing = Promise.withResolvers<void>();
  const follow = async (): Promise<number[]> => {
    const acceptedAt = new Map<string, number>();
    const latencies: number[] = [];
    const stop = new AbortController();
    try {
      for await (const { event } of client.watchNotifications({}, { signal: stop.signal })) {
        standing.resolve();
        if (!event?.at) continue;
        const at = timestampMs(event.at);
        if (event.version === 1n) acceptedAt.set(event.notificationId, at);
        const from = acceptedAt.get(event.notificationId);
        if (event.status !== Status.SENT || from === undefined) continue;
        acceptedAt.delete(event.notificationId);
        latencies.push(at - from);
        if (latencies.length === count) return latencies;
      }
      throw new Error('the watch ended early');
    } finally {
      stop.abort();
    }
  };
  return { standing: standing.promise, all: follow() };
}

function deliverLimit(raw: RawSteps, echoed: number, provider: Readonly<Record<string, number>>): number {
  return limitOf({
    echo: echoed,
    insert: raw.insert,
    claimAndSettle: times(raw.update, 2),
    publish: raw.publish,
    consume: raw.consume,
    events: times(raw.append, 3),
    ...provider,
  });
}

async function benchDeliver(pair: Pair, raw: RawSteps, echoed: number): Promise<void> {
  await using service = await pair.start([]);
  const { perSecond, p50, p99 } = await deliver(service.grpc, scaled(10_000));
  const limit = deliverLimit(raw, echoed, {});
  report('accept → capture', perSecond, limit, 0.5, `  p50 ${p50.toFixed(0)} ms  p99 ${p99.toFixed(0)} ms at 100/s`);
}

const SMTP_CONNECTIONS = 5;

async function benchSmtp(pair: Pair, raw: RawSteps, echoed: number): Promise<void> {
  await using sink = new Child(['bench/smtp-sink.ts']);
  const { port } = await sink.json<{ readonly port: number }>('port');
  const count = scaled(5_000);
  const bare = await barePool(port, count);
  await using service = await pair.start([
    'notifications.email.providers=["smtp"]',
    'notifications.email.smtp.host=127.0.0.1',
    `notifications.email.smtp.port=${port}`,
    'notifications.email.smtp.from_address=noreply@shop.example',
    `notifications.email.smtp.max_connections=${SMTP_CONNECTIONS}`,
  ]);
  const { perSecond, p50, p99 } = await deliver(service.grpc, count);
  report(
    'accept → SMTP',
    perSecond,
    bare,
    0.85,
    `  p50 ${p50.toFixed(0)} ms  p99 ${p99.toFixed(0)} ms at 100/s (limit: bare nodemailer pool)`,
  );
  report('accept → SMTP', perSecond, deliverLimit(raw, echoed, { smtp: bare }), 0.5, ' (limit: all steps)');
}

async function barePool(port: number, count: number): Promise<number> {
  await using child = new Child(['bench/smtp-bare.ts', String(port), String(count), String(SMTP_CONNECTIONS)]);
  return (await child.json<{ readonly perSecond: number }>('perSecond')).perSecond;
}

async function benchMemory(pair: Pair): Promise<void> {
  await using service = await pair.start([]);
  const { child, grpc } = service;
  const client = clientOf(grpc);
  let done = 0;
  const through = async (total: number): Promise<number> => {
    while (done < total) {
      const count = Math.min(20_000, total - done);
      await load({ ...LOADS.stream, count, address: grpc, mode: 'stream' });
      await allSettled(client);
      done += count;
    }
    return child.memory();
  };
  const few = await through(scaled(20_000));
  const many = await through(scaled(200_000));
  const ratio = many / few;
  say(
    `  memory                  ${round(few)} MiB after ${round(scaled(20_000))}, ${round(many)} MiB after ${round(scaled(200_000))}: ` +
      `ratio ${ratio.toFixed(2)} ${ratio <= 1.2 ? 'ok' : 'above 1.2'}`,
  );
}

async function bench(pair: Pair): Promise<void> {
  say(`\n${pair.name}`);
  const raw = await pair.raw();
  const echoes = { unary: await echo('unary'), batch: await echo('batch'), stream: await echo('stream') };
  const steps = Object.entries({
    ...raw,
    ...Object.fromEntries(Object.entries(echoes).map(([k, v]) => [`echo ${k}`, v])),
  });
  say(`  raw steps, per second: ${steps.map(([name, perSecond]) => `${name} ${round(perSecond)}`).join(', ')}`);
  if (wants('accept')) await benchAccept(pair, raw, echoes);
  if (wants('deliver')) await benchDeliver(pair, raw, echoes.stream);
  if (wants('smtp')) await benchSmtp(pair, raw, echoes.stream);
  if (wants('memory')) await benchMemory(pair);
}

async function started(stack: AsyncDisposableStack, settings: readonly string[]): Promise<Fresh> {
  const service = await startService(settings);
  stack.use(service.child);
  return { ...service, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const directory = await mkdtemp(join(tmpdir(), 'carillon-bench-'));
let stores = 0;

const embedded: Pair = {
  name: 'sqlite + sqlite',
  start: (settings) =>
    started(new AsyncDisposableStack(), [`store.sqlite.path=${join(directory, `${++stores}.db`)}`, ...settings]),
  raw: () => rawSqlite(directory),
};

const cluster = (mongoUrl: string): Pair => ({
  name: 'mongo + jetstream',
  async start(settings) {
    const stack = new AsyncDisposableStack();
    const nats = await startNats();
    stack.defer(() => nats.stop());
    return started(stack, [
      'store.kind=mongo',
      `store.mongo.url=${mongoUrl}`,
      `store.mongo.database=bench_${++stores}`,
      'queue.kind=jetstream',
      `queue.nats.servers=["${nats.url}"]`,
      ...settings,
    ]);
  },
  async raw() {
    const nats = await startNats();
    try {
      return await rawCluster(mongoUrl, nats.url);
    } finally {
      await nats.stop();
    }
  },
});

try {
  if (wantsPairs && flags.pair.includes('sqlite')) await bench(embedded);
  if (wantsPairs && flags.pair.includes('cluster')) {
    const missing = natsMissing() ?? mongoMissing();
    if (missing !== undefined) {
      say(`\nmongo + jetstream: skipped, ${missing}`);
    } else {
      const mongo = await startMongo();
      try {
        await bench(cluster(mongo.url));
      } finally {
        await mongo.stop();
      }
    }
  }
  if (wants('providers')) await benchProviders(flags.provider?.split(','), PROVIDER_MS * Number(flags.scale));
} finally {
  await rm(directory, { recursive: true, force: true });
}
