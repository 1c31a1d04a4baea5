/** The embedded store: storage, queue and feed in one SQLite file, for one process. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DAY } from '../../domain/clock.ts';
import type { CarillonError } from '../../errors.ts';
import { SqliteFeed } from '../../feed/sqlite.ts';
import { SqliteQueue } from '../../queue/sqlite.ts';
import type { Feed } from '../../feed/feed.ts';
import type { Queue } from '../../queue/queue.ts';
import type { Storage } from '../storage.ts';
import { Database } from './database.ts';
import { SqliteStorage } from './storage.ts';

export interface SqliteOptions {
  /**
   * The file; its directory is made. `:memory:` stands for a file in a directory of the system's for temporary ones, deleted
   * at the end and never synced: two threads cannot share a database in memory. For tests only.
   */
  readonly path: string;
  /** How long the feed keeps an event, milliseconds. Default 24 h. */
  readonly retentionMs?: number;
  /** The feed keeps no more events than this. Default 5,000,000: about 3 GB. */
  readonly maxEvents?: number;
  /** How often the feed looks for events to drop, milliseconds. Default one minute. */
  readonly trimEveryMs?: number;
  /** Jobs a lane holds before `publish` answers 'full'. Default 100,000. */
  readonly maxPerLane?: number;
  /** Told of what went wrong in the background and is tried again. Default: nobody. */
  readonly onProblem?: (error: CarillonError) => void;
}

export interface SqliteStore extends AsyncDisposable {
  readonly storage: Storage;
  readonly queue: Queue;
  readonly feed: Feed;
  /** Transactions so far: far fewer than writes when many are under way at once. */
  readonly commits: number;
}

/**
 * Opens the file and brings its tables up to date. Disposing of the store waits for every write under way and closes the
 * three ports with the file.
 * @throws CarillonError STORE_UNAVAILABLE when the file cannot be opened, another process uses it, or a newer release
 * wrote it.
 */
export async function openSqlite(options: SqliteOptions): Promise<SqliteStore> {
  await using opening = new AsyncDisposableStack();
  const temporary = options.path === ':memory:';
  const path = temporary ? join(await temporaryDirectory(opening), 'carillon.db') : options.path;
  const onProblem = options.onProblem ?? ((): void => {});
  const database = opening.use(await Database.open({ path, durable: !temporary }));
  const queue = opening.use(
    await SqliteQueue.open(database.session('QUEUE_UNAVAILABLE'), {
      maxPerLane: options.maxPerLane ?? 100_000,
      onProblem,
    }),
  );
  const feed = opening.use(
    await SqliteFeed.open(database.session('FEED_UNAVAILABLE'), {
      retentionMs: options.retentionMs ?? DAY,
      maxEvents: options.maxEvents ?? 5_000_000,
      trimEveryMs: options.trimEveryMs ?? 60_000,
      onProblem,
    }),
  );
  const owned = opening.move();
  return {
    storage: new SqliteStorage(database.session('STORE_UNAVAILABLE')),
    queue,
    feed,
    get commits() {
      return database.commits;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function temporaryDirectory(owner: AsyncDisposableStack): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'carillon-'));
  owner.defer(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
