import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { encodeToken } from '../../src/domain/token.ts';
import { CarillonError } from '../../src/errors.ts';
import type { Feed, FeedEvent } from '../../src/feed/feed.ts';
import { MAX_WATCHER_BACKLOG, WatchHub } from '../../src/pipeline/watch.ts';
import type { WatchFilter, Watched } from '../../src/pipeline/watch.ts';
import { openSqlite } from '../../src/storage/sqlite/sqlite.ts';
import { eventually } from '../support/eventually.ts';
import { withFaults } from '../support/fake-faults.ts';
import { anEvent } from '../support/sample.ts';

const ALL: WatchFilter = { tenant: 'default', notificationIds: [] };
const id = (n: number): string => `n-${String(n).padStart(6, '0')}`;
const numbered = (from: number, count: number): FeedEvent[] =>
  Array.from({ length: count }, (_, i) => anEvent({ notificationId: id(from + i), groupId: 'group' }));

/** Reads on until the condition holds of what was read. */
async function readUntil(
  watch: AsyncGenerator<Watched>,
  enough: (read: readonly Watched[]) => boolean,
): Promise<Watched[]> {
  const read: Watched[] = [];
  while (!enough(read)) {
    const { value, done } = await watch.next();
    if (done) break;
    read.push(value);
  }
  return read;
}

const idsOf = (read: readonly Watched[]): string[] =>
  read.flatMap(({ event }) => (event ? [event.notificationId] : []));
const events = (count: number) => (read: readonly Watched[]) => idsOf(read).length === count;

async function reasonOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (thrown: unknown) => CarillonError.from(thrown).reason,
  );
}

describe('watch', () => {
  it('says first that it stands, with a token, and then yields what comes after', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    using hub = new WatchHub(store.feed);
    const stop = new AbortController();
    await store.feed.append(numbered(0, 3));
    const watch = hub.watch(ALL, undefined, stop.signal);
    const first = await watch.next();
    expect(first.value).to.deep.equal({ token: encodeToken({ feed: store.feed.id, seq: store.feed.lastSeen }) });
    await store.feed.append(numbered(3, 2));
    expect(idsOf(await readUntil(watch, events(2)))).to.deep.equal([id(3), id(4)]);
    stop.abort();
    expect(await watch.next()).to.include({ done: true });
  });

  it('resumes after a token and joins the live stream without a gap or a repeat, however events come in', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    using hub = new WatchHub(store.feed);
    const token = encodeToken({ feed: store.feed.id, seq: store.feed.lastSeen });
    const before = 1_300;
    const during = 700;
    await store.feed.append(numbered(0, before));
    const stop = new AbortController();
    const watches = Array.from({ length: 8 }, () => hub.watch(ALL, token, stop.signal));
    const reads = watches.map(async (watch, index) => {
      // Each starts at another moment of the appending below.
      for (let i = 0; i < index * 3; i++) await turn();
      return readUntil(watch, events(before + during));
    });
    for (let i = 0; i < during; i += 7) {
      await store.feed.append(numbered(before + i, 7));
      await turn();
    }
    const expected = Array.from({ length: before + during }, (_, i) => id(i));
    for (const read of reads) expect(idsOf(await read)).to.deep.equal(expected);
    stop.abort();
    await Promise.all(watches.map(async (watch) => watch.return(undefined)));
    expect(hub.watchers).to.equal(0);
  });

  it('resumes after any event with the rest', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    using hub = new WatchHub(store.feed);
    const stop = new AbortController();
    const watch = hub.watch(ALL, undefined, stop.signal);
    await watch.next();
    await store.feed.append(numbered(0, 5));
    const read = await readUntil(watch, events(5));
    for (const [index, { token }] of read.entries()) {
      await store.feed.append(numbered(5 + index, 1));
      const rest = await readUntil(hub.watch(ALL, token, stop.signal), events(5));
      expect(idsOf(rest)).to.deep.equal(Array.from({ length: 5 }, (_, i) => id(index + 1 + i)));
    }
    stop.abort();
  });

  it('shows each watcher its own tenant, group, recipient and notifications only, resumed or live', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    using hub = new WatchHub(store.feed);
    const token = encodeToken({ feed: store.feed.id, seq: store.feed.lastSeen });
    const batch = (): FeedEvent[] => [
      anEvent({ notificationId: 'other-tenant', tenant: 'shop', groupId: 'g', recipientId: 'r' }),
      anEvent({ notificationId: 'a', groupId: 'g', recipientId: 'r' }),
      anEvent({ notificationId: 'b', groupId: 'g', recipientId: 'q' }),
      anEvent({ notificationId: 'c', groupId: 'h', recipientId: 'r' }),
    ];
    const cases: readonly (readonly [Partial<WatchFilter>, readonly string[]])[] = [
      [{}, ['a', 'b', 'c']],
      [{ groupId: 'g' }, ['a', 'b']],
      [{ recipientId: 'r' }, ['a', 'c']],
      [{ notificationIds: ['a'] }, ['a']],
      [{ notificationIds: ['a', 'c', 'other-tenant'] }, ['a', 'c']],
      [{ tenant: 'shop' }, ['other-tenant']],
    ];
    await store.feed.append(batch());
    for (const [filter, expected] of cases) {
      const stop = new AbortController();
      const watch = hub.watch({ ...ALL, ...filter }, undefined, stop.signal);
      await watch.next();
      await store.feed.append(batch());
      expect(idsOf(await readUntil(watch, events(expected.length)))).to.deep.equal(expected);
      const resumed = hub.watch({ ...ALL, ...filter }, token, stop.signal);
      const known = idsOf(await readUntil(resumed, events(2 * expected.length)));
      expect(new Set(known)).to.deep.equal(new Set(expected));
      stop.abort();
      expect(await watch.next()).to.include({ done: true });
    }
  });

  it('refuses a token that is foreign, unreadable, ahead of the feed or older than what it keeps', async () => {
    await using store = await openSqlite({ path: ':memory:', maxEvents: 2, trimEveryMs: 5 });
    using hub = new WatchHub(store.feed);
    const { signal } = new AbortController();
    const start = encodeToken({ feed: store.feed.id, seq: 0 });
    await store.feed.append(numbered(0, 6));
    await eventually('the oldest are gone', async () => (await store.feed.bounds()).first > 1);
    const ahead = encodeToken({ feed: store.feed.id, seq: 1_000 });
    for (const token of [start, ahead, encodeToken({ feed: 'another', seq: 6 }), 'no token', '']) {
      const watch = hub.watch(ALL, token, signal);
      expect(await reasonOf(watch.next()), token).to.equal('WATCH_TOKEN_OUT_OF_RANGE');
    }
    expect(hub.watchers).to.equal(0);
  });

  it('ends with an error instead of a gap when retention overtakes a watcher that catches up slowly', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    let first = 1;
    const feed: Feed = new Proxy(store.feed, {
      get(target, property) {
        if (property === 'bounds') return async () => ({ ...(await target.bounds()), first });
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    using hub = new WatchHub(feed);
    await store.feed.append(numbered(0, 1_500));
    const watch = hub.watch(ALL, encodeToken({ feed: feed.id, seq: 0 }), new AbortController().signal);
    await readUntil(watch, events(100));
    first = 900;
    expect(await reasonOf(readUntil(watch, events(1_400)))).to.equal('WATCH_TOKEN_OUT_OF_RANGE');
  });

  it('cuts a watcher that is too slow, with a token from which nothing is lost, and leaves the others alone', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    using hub = new WatchHub(store.feed);
    const stop = new AbortController();
    const slow = hub.watch(ALL, undefined, stop.signal);
    const quick = hub.watch(ALL, undefined, stop.signal);
    await Promise.all([slow.next(), quick.next()]);
    const total = MAX_WATCHER_BACKLOG + 5;
    const reading = readUntil(quick, events(total));
    for (let i = 0; i < total; i++) {
      await store.feed.append(numbered(i, 1));
      await turn();
    }
    expect(idsOf(await reading)).to.have.length(total);
    const got: Watched[] = [];
    let cut: CarillonError | undefined;
    try {
      for await (const watched of slow) got.push(watched);
    } catch (thrown) {
      cut = CarillonError.from(thrown);
    }
    expect(cut?.reason).to.equal('WATCHER_TOO_SLOW');
    const rest = hub.watch(ALL, cut?.metadata['token'], stop.signal);
    const after = await readUntil(rest, events(total - got.length));
    expect([...idsOf(got), ...idsOf(after)]).to.deep.equal(Array.from({ length: total }, (_, i) => id(i)));
    stop.abort();
  });

  it('ends when it is aborted: while it waits, while it catches up, and before it began', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    using hub = new WatchHub(store.feed);
    await store.feed.append(numbered(0, 1_200));
    const waiting = new AbortController();
    const watch = hub.watch(ALL, undefined, waiting.signal);
    await watch.next();
    const next = watch.next();
    waiting.abort();
    expect(await next).to.include({ done: true });

    const catching = new AbortController();
    const behind = hub.watch(ALL, encodeToken({ feed: store.feed.id, seq: 0 }), catching.signal);
    await readUntil(behind, events(10));
    catching.abort();
    const left = await readUntil(behind, () => false);
    expect(left.length).to.be.below(1_190);

    const early = await readUntil(hub.watch(ALL, undefined, AbortSignal.abort()), () => false);
    expect(idsOf(early)).to.deep.equal([]);
    expect(hub.watchers).to.equal(0);
  });

  it('passes on that the feed is away', async () => {
    await using store = await openSqlite({ path: ':memory:' });
    const feed = withFaults(store.feed, (method) => (method === 'bounds' ? { reason: 'FEED_UNAVAILABLE' } : undefined));
    using hub = new WatchHub(feed);
    const watch = hub.watch(ALL, encodeToken({ feed: feed.id, seq: 0 }), new AbortController().signal);
    expect(await reasonOf(watch.next())).to.equal('FEED_UNAVAILABLE');
  });
});
