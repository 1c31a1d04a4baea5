import { expect } from 'chai';
import type { Feed, FeedEvent, StoredEvent } from '../../src/feed/feed.ts';
import { eventually } from '../support/eventually.ts';
import { anEvent } from '../support/sample.ts';
import { feedAdapters, onEach, shortFeedAdapters } from './adapters.ts';

const events = (count: number, overrides: Partial<FeedEvent> = {}): FeedEvent[] =>
  Array.from({ length: count }, (_, index) => anEvent({ version: index + 1, ...overrides }));

const eventsOf = (stored: readonly StoredEvent[]): FeedEvent[] => stored.map(({ event }) => event);
const seqsOf = (stored: readonly StoredEvent[]): number[] => stored.map(({ seq }) => seq);

const readAll = (feed: Feed, tenant = 'default'): Promise<StoredEvent[]> =>
  feed.read(0, Number.MAX_SAFE_INTEGER, { tenant }, 10_000);

/** What came, each number once: the feed may tell an event more than once. */
function collect(feed: Feed, signal: AbortSignal): StoredEvent[] {
  const seen: StoredEvent[] = [];
  feed.subscribe((stored) => seen.push(...stored.filter(({ seq }) => seq > (seen.at(-1)?.seq ?? 0))), signal);
  return seen;
}

function expectRising(seqs: readonly number[]): void {
  expect(seqs).to.deep.equal(seqs.toSorted((a, b) => a - b));
  expect(new Set(seqs)).to.have.length(seqs.length);
}

onEach('feed', feedAdapters, (rig) => {
  const stop = { controller: new AbortController() };
  beforeEach(() => {
    stop.controller = new AbortController();
  });
  afterEach(() => stop.controller.abort());

  describe('append and read', () => {
    it('gives events back as they were and in order', async () => {
      const full = anEvent({
        recipientId: 'r',
        reason: 'retrying',
        provider: 'smtp',
        attempt: 2,
        type: 'ünïcôdé 日本',
      });
      const appended = [...events(3), full, ...events(2)];
      await rig.port.append(appended.slice(0, 4));
      await rig.port.append(appended.slice(4));
      const stored = await readAll(rig.port);
      expect(eventsOf(stored)).to.deep.equal(appended);
      expectRising(seqsOf(stored));
    });

    it('stores events in the order given, also where several are of one notification', async () => {
      const one = { notificationId: 'n', groupId: 'g' };
      const appended = [anEvent({ ...one, version: 1 }), anEvent({ ...one, version: 2 }), ...events(2)];
      await rig.port.append(appended);
      expect(eventsOf(await readAll(rig.port))).to.deep.equal(appended);
    });

    it('takes no events at all', async () => {
      await rig.port.append([]);
      expect(await readAll(rig.port)).to.deep.equal([]);
    });

    it('numbers an event higher than those whose append had resolved, when many append at once', async () => {
      const rounds: FeedEvent[][] = [];
      for (let round = 0; round < 3; round += 1) {
        const appended = events(20, { groupId: `round-${round}` });
        await Promise.all(appended.map((event) => rig.port.append([event])));
        rounds.push(appended);
      }
      const stored = await readAll(rig.port);
      expectRising(seqsOf(stored));
      expect(eventsOf(stored).map(({ groupId }) => groupId)).to.deep.equal(rounds.flat().map(({ groupId }) => groupId));
    });

    it('has after a new opening what it had before, and goes on above it', async () => {
      const [first, second] = [events(3), events(2)];
      await rig.port.append(first);
      await rig.reopen();
      await rig.port.append(second);
      const stored = await readAll(rig.port);
      expect(eventsOf(stored)).to.deep.equal([...first, ...second]);
      expectRising(seqsOf(stored));
    });

    it('reads after a number and up to another, at most so many', async () => {
      const appended = events(6);
      await rig.port.append(appended);
      const seqs = seqsOf(await readAll(rig.port));
      const [, second = 0, , , fifth = 0] = seqs;
      const filter = { tenant: 'default' };
      expect(eventsOf(await rig.port.read(second, fifth, filter, 10))).to.deep.equal(appended.slice(2, 5));
      expect(eventsOf(await rig.port.read(second, fifth, filter, 2))).to.deep.equal(appended.slice(2, 4));
      expect(await rig.port.read(fifth, fifth, filter, 10)).to.deep.equal([]);
    });

    it('reads page by page to the end and misses nothing', async () => {
      const appended = events(7);
      await rig.port.append(appended);
      const { last } = await rig.port.bounds();
      const read: StoredEvent[] = [];
      let page: StoredEvent[];
      do {
        page = await rig.port.read(read.at(-1)?.seq ?? 0, last, { tenant: 'default' }, 3);
        expect(page.length).to.be.at.most(3);
        read.push(...page);
      } while (page.length === 3);
      expect(eventsOf(read)).to.deep.equal(appended);
    });

    it('reads every event of a filter, whatever else it reads', async () => {
      const mine = (overrides: Partial<FeedEvent>): FeedEvent[] => events(3, { tenant: 'mine', ...overrides });
      const group = mine({ groupId: 'g' });
      const one = mine({ groupId: 'g', notificationId: 'n' });
      const rest = mine({});
      const foreign = events(3, { tenant: 'theirs', groupId: 'g' });
      await rig.port.append([...group, ...foreign, ...one, ...rest]);
      const { last } = await rig.port.bounds();
      const read = async (filter: { groupId?: string; notificationId?: string }): Promise<FeedEvent[]> => {
        const found = eventsOf(await rig.port.read(0, last, { tenant: 'mine', ...filter }, 100));
        return found.filter(
          (event) =>
            event.tenant === 'mine' &&
            (filter.groupId === undefined || event.groupId === filter.groupId) &&
            (filter.notificationId === undefined || event.notificationId === filter.notificationId),
        );
      };
      expect(await read({})).to.have.deep.members([...group, ...one, ...rest]);
      expect(await read({ groupId: 'g' })).to.have.deep.members([...group, ...one]);
      expect(await read({ notificationId: 'n' })).to.have.deep.members(one);
      expect(await read({ groupId: 'g', notificationId: 'n' })).to.have.deep.members(one);
    });
  });

  describe('bounds and lastSeen', () => {
    it('tells an empty feed by a first number above the last, which is 0', async () => {
      expect(await rig.port.bounds()).to.deep.equal({ first: 1, last: 0 });
      expect(rig.port.lastSeen).to.equal(0);
    });

    it('tells the lowest and the highest number', async () => {
      await rig.port.append(events(3));
      await rig.port.append(events(2));
      const seqs = seqsOf(await readAll(rig.port));
      expect(await rig.port.bounds()).to.deep.equal({ first: seqs[0], last: seqs.at(-1) });
    });

    it('has seen nothing that is still to come, and in the end all there is', async () => {
      await rig.port.append(events(2));
      const seen = rig.port.lastSeen;
      expect(seen).to.be.at.most((await rig.port.bounds()).last);
      const next = events(2);
      await rig.port.append(next);
      const later = await rig.port.read(seen, Number.MAX_SAFE_INTEGER, { tenant: 'default' }, 100);
      expect(eventsOf(later)).to.include.deep.members(next);
      const { last } = await rig.port.bounds();
      await eventually('the last number seen', () => rig.port.lastSeen === last);
    });

    it('knows what it holds after a new opening', async () => {
      await rig.port.append(events(3));
      const bounds = await rig.port.bounds();
      await rig.reopen();
      expect(await rig.port.bounds()).to.deep.equal(bounds);
      expect(rig.port.lastSeen).to.be.at.most(bounds.last);
    });
  });

  describe('id', () => {
    it('stays over a new opening', async () => {
      const { id } = rig.port;
      expect(id).to.not.equal('');
      await rig.port.append(events(1));
      await rig.reopen();
      expect(rig.port.id).to.equal(id);
    });

    const ids = new Set<string>();
    for (const which of ['one', 'another']) {
      it(`is its own for each feed (${which})`, () => {
        expect(ids).to.not.include(rig.port.id);
        ids.add(rig.port.id);
      });
    }
  });

  describe('subscribe', () => {
    it('tells every event after that moment, in order, under the numbers that reading gives', async () => {
      const seen = collect(rig.port, stop.controller.signal);
      const appended = events(40);
      await Promise.all(appended.map((event) => rig.port.append([event])));
      await eventually('all events', () => seen.length >= 40);
      expect(seen).to.deep.equal(await readAll(rig.port));
    });

    it('tells each subscriber', async () => {
      const [one, other] = [collect(rig.port, stop.controller.signal), collect(rig.port, stop.controller.signal)];
      const appended = events(3);
      await rig.port.append(appended);
      await eventually('all events', () => one.length >= 3 && other.length >= 3);
      expect(eventsOf(one)).to.deep.equal(appended);
      expect(eventsOf(other)).to.deep.equal(appended);
    });

    it('leaves no gap to what was read before, when the reading comes second', async () => {
      const appended = events(60);
      const publishing = (async (): Promise<void> => {
        for (const event of appended.slice(0, -1)) await rig.port.append([event]);
      })();
      await eventually('some events', async () => (await rig.port.bounds()).last > 5);
      const live = collect(rig.port, stop.controller.signal);
      const { last } = await rig.port.bounds();
      const before = await rig.port.read(0, last, { tenant: 'default' }, 1_000);
      await publishing;
      await rig.port.append(appended.slice(-1));
      const { last: end } = await rig.port.bounds();
      await eventually('the last event', () => live.at(-1)?.seq === end);
      const all = [...before, ...live.filter(({ seq }) => seq > last)];
      expect(eventsOf(all)).to.deep.equal(appended);
    });

    it('tells nothing more once its signal is aborted', async () => {
      const own = new AbortController();
      const ended = collect(rig.port, own.signal);
      const other = collect(rig.port, stop.controller.signal);
      await rig.port.append(events(1));
      await eventually('the first event', () => ended.length === 1 && other.length === 1);
      own.abort();
      await rig.port.append(events(2));
      await eventually('the later events', () => other.length === 3);
      expect(ended).to.have.length(1);
    });
  });
});

onEach('feed with a short retention', shortFeedAdapters, (rig) => {
  it('forgets old events, keeps counting, and tells by its bounds', async () => {
    await rig.port.append(events(5));
    const { last } = await rig.port.bounds();
    await eventually('the end of retention', async () => (await rig.port.bounds()).first > last);
    expect(await rig.port.bounds()).to.deep.equal({ first: last + 1, last });
    expect(await readAll(rig.port)).to.deep.equal([]);
    const next = events(1);
    await rig.port.append(next);
    const stored = await readAll(rig.port);
    expect(eventsOf(stored)).to.deep.equal(next);
    expect(stored[0]?.seq).to.be.above(last);
  });

  it('remembers the last number over a new opening, when all events are gone', async () => {
    await rig.port.append(events(3));
    const { last } = await rig.port.bounds();
    await eventually('the end of retention', async () => (await rig.port.bounds()).first > last);
    await rig.reopen();
    expect(await rig.port.bounds()).to.deep.equal({ first: last + 1, last });
  });
});
