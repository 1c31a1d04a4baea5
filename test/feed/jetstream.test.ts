import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { CarillonError, isUnavailable } from '../../src/errors.ts';
import type { FeedEvent, StoredEvent } from '../../src/feed/feed.ts';
import { openJetStream } from '../../src/queue/jetstream.ts';
import type { JetStream, JetStreamOptions } from '../../src/queue/jetstream.ts';
import { eventually } from '../support/eventually.ts';
import { anEvent } from '../support/sample.ts';
import { natsMissing, startNats } from '../support/start-nats.ts';
import type { NatsServer } from '../support/start-nats.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const ALL = { tenant: 'default' };

describe('feed on JetStream', () => {
  let server: NatsServer;
  let stack: AsyncDisposableStack;
  let stop: AbortController;

  before(function () {
    if (natsMissing()) this.skip();
  });

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    stop = new AbortController();
    server = await startNats();
    stack.defer(() => server.stop());
  });

  afterEach(async () => {
    stop.abort();
    await stack.disposeAsync();
  });

  const open = async (options: Partial<JetStreamOptions> = {}): Promise<JetStream> =>
    stack.use(await openJetStream({ servers: [server.url], onProblem: () => {}, ...options }));

  const collect = ({ feed }: JetStream): StoredEvent[] => {
    const seen: StoredEvent[] = [];
    feed.subscribe((events) => seen.push(...events), stop.signal);
    return seen;
  };

  /** Appends until it is stored, as the pipeline does. */
  const store = ({ feed }: JetStream, event: FeedEvent): Promise<true> =>
    eventually('the event is stored', () => feed.append([event]).then(() => true as const, isAway));

  it('tells a subscriber every event, in order, over the death of the server', async () => {
    const opened = await open();
    const seen = collect(opened);
    const events = Array.from({ length: 30 }, () => anEvent());
    for (const event of events.slice(0, 10)) await store(opened, event);
    await server.kill('SIGKILL');
    await server.restart();
    for (const event of events.slice(10)) await store(opened, event);
    const stored = await eventually('all events', async () => {
      const { last } = await opened.feed.bounds();
      return seen.at(-1)?.seq === last && opened.feed.read(0, last, ALL, 1_000);
    });
    expect(seen).to.deep.equal(stored);
    expect(stored.map(({ event }) => event)).to.include.deep.members(events);
  });

  it('tells what another process appended while this one was cut off', async () => {
    const proxy = stack.use(await startTcpProxy(server.port));
    const [cutOff, other] = [await open({ servers: [`127.0.0.1:${proxy.port}`] }), await open()];
    const seen = collect(cutOff);
    const events = Array.from({ length: 20 }, () => anEvent());
    await other.feed.append(events.slice(0, 10));
    await eventually('the first half', () => seen.length === 10);
    proxy.mode('reset');
    await other.feed.append(events.slice(10));
    proxy.mode('pass');
    await eventually('the second half', () => seen.length >= 20);
    expect(seen.map(({ event }) => event)).to.deep.equal(events);
    expect(cutOff.feed.lastSeen).to.equal(seen.at(-1)?.seq);
  });

  it('rejects with FEED_UNAVAILABLE within 3 s while the server is away', async () => {
    const { feed } = await open();
    await server.kill('SIGTERM');
    expect(await failureOf(() => feed.append([anEvent(), anEvent()]))).to.equal('FEED_UNAVAILABLE');
    expect(await failureOf(() => feed.bounds())).to.equal('FEED_UNAVAILABLE');
    expect(await failureOf(() => feed.read(0, 10, ALL, 10))).to.equal('FEED_UNAVAILABLE');
  });

  it('rejects a read within 3 s when the network swallows the answer', async () => {
    const proxy = stack.use(await startTcpProxy(server.port));
    const { feed } = await open({ servers: [`127.0.0.1:${proxy.port}`] });
    await feed.append([anEvent()]);
    proxy.mode('black-hole');
    expect(await failureOf(() => feed.read(0, 10, ALL, 10))).to.equal('FEED_UNAVAILABLE');
    proxy.mode('pass');
  });

  it('has another id once the server has lost everything, and tells the new events', async () => {
    const opened = await open();
    const seen = collect(opened);
    const { id } = opened.feed;
    await opened.feed.append([anEvent(), anEvent(), anEvent()]);
    await eventually('the old events', () => seen.length === 3);
    await server.kill('SIGKILL');
    await rm(join(server.storeDir, 'jetstream'), { recursive: true });
    await server.restart();
    await eventually('the new feed', () => opened.feed.id !== id);
    const fresh = anEvent();
    await store(opened, fresh);
    await eventually('the new event', () => seen.some(({ event }) => event.notificationId === fresh.notificationId));
    expect(opened.feed.lastSeen).to.equal((await opened.feed.bounds()).last);
  });

  it('does not append an event whose predecessor of the same notification was refused', async () => {
    const opened = await open({ feedMaxBytes: 10_000_000 });
    const first = anEvent({ version: 1, type: 'x'.repeat(2_000_000) });
    const second = anEvent({ ...first, version: 2, type: 'small' });
    const other = anEvent();
    expect(await failureOf(() => opened.feed.append([other, first, second]))).to.equal('FEED_UNAVAILABLE');
    const { last } = await opened.feed.bounds();
    const stored = await opened.feed.read(0, last, ALL, 10);
    expect(stored.map(({ event }) => event)).to.deep.equal([other]);
  });

  it('keeps tenants apart whatever their names', async () => {
    const { feed } = await open();
    const names = ['a.b', 'a', '*', '>', 'ä b', 'a%2Eb', 'default'];
    await feed.append(names.map((tenant) => anEvent({ tenant })));
    const { last } = await feed.bounds();
    for (const tenant of names) {
      const stored = await feed.read(0, last, { tenant }, 10);
      expect(stored.map(({ event }) => event.tenant)).to.deep.equal([tenant]);
    }
  });
});

async function failureOf(call: () => Promise<unknown>): Promise<string> {
  const started = Date.now();
  try {
    await call();
    return 'no failure';
  } catch (thrown) {
    return Date.now() - started < 3_000 ? CarillonError.from(thrown).reason : 'too late';
  }
}

function isAway(thrown: unknown): false {
  if (isUnavailable(thrown)) return false;
  throw thrown;
}
