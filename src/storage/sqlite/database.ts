/** One SQLite file: writes through the writer thread, reads on a connection of the main thread. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { CarillonError, isUnavailable, type ErrorReason } from '../../errors.ts';
import { migrate } from './schema.ts';
import { type Row, Statements, type Values } from './statements.ts';
import type { Step, StepResult } from './writer.ts';
import { WriterGone, WriterThread } from './writer-thread.ts';

/** Access to the file for one port, failing with that port's reason. */
export interface Session {
  /** Runs the steps together or not at all; resolves when they are durable. */
  write(steps: readonly Step[]): Promise<readonly StepResult[]>;
  /** Sees every write that resolved before. */
  read(sql: string, values?: Values): readonly Row[];
  /** Resolves when the writer thread answers and, after a write that failed, another one has not. */
  ping(): Promise<void>;
}

export interface DatabaseOptions {
  readonly path: string;
  /** Off for a file that is not to outlive the process. */
  readonly durable: boolean;
}

/** SQLite's result codes for mistakes of our own: ERROR, TOOBIG, CONSTRAINT, MISMATCH, MISUSE, RANGE. */
const OUR_FAULT = new Set([1, 18, 19, 20, 21, 25]);
const SQLITE_BUSY = 5;
/** Always changes something. */
const PROBE = `
  INSERT INTO meta (name, value) VALUES ('probed_at', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

export class Database implements AsyncDisposable {
  readonly #reader: DatabaseSync;
  readonly #statements: Statements;
  readonly #writer: WriterThread;
  readonly #owned: AsyncDisposableStack;

  /** Rejects with CarillonError STORE_UNAVAILABLE when the file cannot be opened, is in use or is of a newer release. */
  static async open(options: DatabaseOptions): Promise<Database> {
    await using opening = new AsyncDisposableStack();
    try {
      mkdirSync(dirname(options.path), { recursive: true });
      opening.use(lock(options.path));
      prepareFile(options.path);
      const writer = opening.use(await WriterThread.start(options));
      // Disposed in reverse: the writer leaves last, and the last one brings the log back into the file.
      const reader = opening.use(new DatabaseSync(options.path, { readOnly: true, timeout: 1_000 }));
      // Every commit of the writer makes this connection forget its pages; mapped ones cost no system call to read again.
      reader.exec('PRAGMA mmap_size = 268435456');
      return new Database(reader, writer, opening.move());
    } catch (thrown) {
      if (thrown instanceof CarillonError) throw thrown;
      throw new CarillonError('STORE_UNAVAILABLE', `the database ${options.path} cannot be opened`, { cause: thrown });
    }
  }

  #canWrite = true;

  private constructor(reader: DatabaseSync, writer: WriterThread, owned: AsyncDisposableStack) {
    this.#reader = reader;
    this.#statements = new Statements(this.#reader);
    this.#writer = writer;
    this.#owned = owned;
  }

  /** Transactions so far: far fewer than writes when many are under way at once. */
  get commits(): number {
    return this.#writer.commits;
  }

  session(reason: ErrorReason): Session {
    const write = async (steps: readonly Step[]): Promise<readonly StepResult[]> => {
      try {
        const results = await this.#writer.run(steps);
        if (results.some(({ changes }) => changes.some((count) => count > 0))) this.#canWrite = true;
        return results;
      } catch (thrown) {
        const error = failed(reason, thrown);
        if (isUnavailable(error)) this.#canWrite = false;
        throw error;
      }
    };
    const read = (sql: string, values: Values = []): readonly Row[] => {
      try {
        // Without its writer a store takes nothing any more, so it does not go on answering either.
        this.#writer.check();
        return this.#statements.of(sql).statement.all(...values);
      } catch (thrown) {
        throw failed(reason, thrown);
      }
    };
    const ping = async (): Promise<void> => {
      // A full disk still reads. Writing costs a flush, so it is tried only where the last write has failed.
      await write([this.#canWrite ? { sql: 'SELECT 1', rows: [[]] } : { sql: PROBE, rows: [[String(Date.now())]] }]);
    };
    return { write, read, ping };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

/** The number of rows that the only run of a step changed. */
export function changed(result: StepResult | undefined): number {
  return result?.changes[0] ?? 0;
}

/**
 * Holds the file for this process, on a database of its own beside it: its open transaction stops nobody from reading
 * the real one, and the operating system lets go of it however the process ends. The lock file stays behind, because
 * deleting it could take it from under the next holder.
 */
function lock(path: string): Disposable {
  const holder = new DatabaseSync(`${path}-lock`, { timeout: 0 });
  try {
    holder.exec('BEGIN EXCLUSIVE');
    return holder;
  } catch (thrown) {
    holder.close();
    if (resultCode(thrown) !== SQLITE_BUSY) throw thrown;
    throw new CarillonError('STORE_UNAVAILABLE', `${path} is in use by another process`, { cause: thrown });
  }
}

function prepareFile(path: string): void {
  using db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  migrate(db);
}

function failed(reason: ErrorReason, thrown: unknown): CarillonError {
  const code = resultCode(thrown);
  const unavailable = thrown instanceof WriterGone || (code !== undefined && !OUR_FAULT.has(code));
  if (!unavailable) return CarillonError.from(thrown);
  return new CarillonError(reason, 'the database did not answer', { cause: thrown });
}

/** The primary result code: the lowest byte of the extended one. */
function resultCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error)) return undefined;
  if ('code' in thrown && typeof thrown.code === 'number') return thrown.code & 0xff;
  if ('errcode' in thrown && typeof thrown.errcode === 'number') return thrown.errcode & 0xff;
  return undefined;
}
