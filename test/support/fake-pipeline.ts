/** What the steps of the pipeline stand on: a real store and feed, a queue and a clock that the test drives. */
import { Dispatcher } from '../../src/pipeline/dispatch.ts';
import { Publisher } from '../../src/pipeline/publish.ts';
import { Receipts } from '../../src/pipeline/receipts.ts';
import { Rows } from '../../src/pipeline/rows.ts';
import { Suppressor } from '../../src/pipeline/suppress.ts';
import type { Notification } from '../../src/domain/notification.ts';
import type { Events } from '../../src/events.ts';
import type { Feed, FeedEvent } from '../../src/feed/feed.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { openSqlite } from '../../src/storage/sqlite/sqlite.ts';
import { withFaults } from './fake-faults.ts';
import type { Fault } from './fake-faults.ts';
import { FakeQueue } from './fake-queue.ts';
import { ManualClock } from './manual-clock.ts';
import { recordEvents } from './record-events.ts';
import type { RecordedLine } from './record-events.ts';

export interface PipelineFaults {
  readonly storage?: Fault;
  readonly feed?: Fault;
}

export interface Pipeline extends AsyncDisposable {
  readonly clock: ManualClock;
  readonly events: Events;
  readonly lines: readonly RecordedLine[];
  /** With the faults that were asked for. */
  readonly storage: Storage;
  readonly feed: Feed;
  readonly queue: FakeQueue;
  readonly publisher: Publisher;
  readonly rows: Rows;
  readonly dispatcher: Dispatcher;
  readonly suppressor: Suppressor;
  readonly receipts: Receipts;
  /** The row as the store has it, past every fault. */
  stored(id: string): Promise<Notification>;
  /** Every event in the feed, past every fault. */
  fed(): Promise<FeedEvent[]>;
}

const NO_FAULT: Fault = () => undefined;

export async function openPipeline(faults: PipelineFaults = {}, maxOutbox: number = 1_000): Promise<Pipeline> {
  await using opening = new AsyncDisposableStack();
  const store = opening.use(await openSqlite({ path: ':memory:' }));
  const clock = new ManualClock();
  const { events, lines } = recordEvents(() => clock.now());
  const storage = withFaults(clock.waitingFor(store.storage), faults.storage ?? NO_FAULT);
  const feed = withFaults(clock.waitingFor(store.feed), faults.feed ?? NO_FAULT);
  const queue = new FakeQueue();
  const publisher = opening.use(new Publisher({ feed, storage, clock, events }));
  const rows = new Rows(storage, publisher);
  const dispatcher = opening.use(new Dispatcher({ queue, storage, clock, events, maxOutbox }));
  const suppressor = new Suppressor({ storage, clock, secret: 'a secret' });
  const receipts = opening.use(new Receipts({ storage, rows, suppressor, clock, events }));
  const owned = opening.move();
  return {
    clock,
    events,
    lines,
    storage,
    feed,
    queue,
    publisher,
    rows,
    dispatcher,
    suppressor,
    receipts,
    async stored(id) {
      const [row] = await store.storage.find([id]);
      if (!row) throw new Error(`no row ${id}`);
      return row;
    },
    async fed() {
      const { last } = await store.feed.bounds();
      const stored = await store.feed.read(0, last, { tenant: 'default' }, 1_000_000);
      return stored.map(({ event }) => event);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
