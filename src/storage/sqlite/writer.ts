/**
 * The writer thread: the only one that writes to the file. Whatever requests have arrived share one transaction and so
 * one fsync (group commit); while that runs, the next group gathers. Checkpoints happen here too, at commits, so that
 * neither ever stalls the event loop of the service.
 */
import { DatabaseSync } from 'node:sqlite';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { type Row, Statements, type Values } from './statements.ts';

/** One statement, run once for each row of values. */
export interface Step {
  readonly sql: string;
  readonly rows: readonly Values[];
}

export interface StepResult {
  /** How many table rows each run changed; empty when the statement answers rows. */
  readonly changes: readonly number[];
  /** What all runs answered, one after the other. */
  readonly rows: readonly Row[];
}

/** Requests, each of steps that take place together or not at all. */
export type Request = readonly (readonly Step[])[] | 'close';

/** An Error loses its code on the way between threads. */
export interface Failure {
  readonly message: string;
  /** SQLite's extended result code; not there when the fault is not SQLite's. */
  readonly code?: number;
}
export type Outcome = { readonly results: readonly StepResult[] } | { readonly failure: Failure };

/** `ready` once; from then on the outcomes of one transaction, in the order of the requests. */
export type Answer = 'ready' | readonly Outcome[];

export interface WriterData {
  readonly path: string;
  /** Off for a file that is not to outlive the process. */
  readonly durable: boolean;
}

/** Bounds how long one transaction, and with it the answer to its first request, can take. */
const MAX_GROUP = 1_000;

class Writer {
  readonly #db: DatabaseSync;
  readonly #statements: Statements;

  constructor({ path, durable }: WriterData) {
    // Nobody else writes; the time-out (milliseconds) is for a tool that an operator points at the file.
    this.#db = new DatabaseSync(path, { timeout: 5_000 });
    // 64 MB of page cache. The size limit gives the disk back after a burst has made the log long.
    this.#db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = ${durable ? 'FULL' : 'OFF'};
      PRAGMA cache_size = -65536;
      PRAGMA journal_size_limit = 67108864;
    `);
    this.#statements = new Statements(this.#db);
  }

  commit(requests: readonly (readonly Step[])[]): Outcome[] {
    try {
      this.#execute('BEGIN IMMEDIATE');
      const outcomes = requests.map((steps) => this.#attempt(steps));
      this.#execute('COMMIT');
      return outcomes;
    } catch (thrown) {
      if (this.#db.isTransaction) this.#execute('ROLLBACK');
      const failure = failureOf(thrown);
      return requests.map(() => ({ failure }));
    }
  }

  /** In a savepoint, so that a request that fails takes back its own steps and no others. */
  #attempt(steps: readonly Step[]): Outcome {
    this.#execute('SAVEPOINT request');
    try {
      const results = steps.map((step) => this.#run(step));
      this.#execute('RELEASE request');
      return { results };
    } catch (thrown) {
      // A full disk or an I/O error ends the whole transaction at once, and with it every request of the group.
      if (!this.#db.isTransaction) throw thrown;
      this.#execute('ROLLBACK TO request');
      this.#execute('RELEASE request');
      return { failure: failureOf(thrown) };
    }
  }

  #run({ sql, rows }: Step): StepResult {
    const { statement, answersRows } = this.#statements.of(sql);
    if (answersRows) return { changes: [], rows: rows.flatMap((values) => statement.all(...values)) };
    return { changes: rows.map((values) => Number(statement.run(...values).changes)), rows: [] };
  }

  #execute(sql: string): void {
    this.#statements.of(sql).statement.run();
  }

  /** The last connection to leave brings the log back into the file. */
  close(): void {
    this.#db.close();
  }
}

function failureOf(thrown: unknown): Failure {
  if (!(thrown instanceof Error)) return { message: String(thrown) };
  if ('errcode' in thrown && typeof thrown.errcode === 'number') {
    return { message: thrown.message, code: thrown.errcode };
  }
  return { message: thrown.message };
}

function serve(port: MessagePort, writer: Writer): void {
  port.on('message', (first: Request) => {
    const group: (readonly Step[])[] = [];
    let next: Request | undefined = first;
    while (next !== undefined && next !== 'close') {
      group.push(...next);
      next = group.length < MAX_GROUP ? waiting(port) : undefined;
    }
    if (group.length > 0) port.postMessage(writer.commit(group) satisfies Answer);
    if (next === 'close') {
      writer.close();
      port.close();
    }
  });
  port.postMessage('ready' satisfies Answer);
}

function waiting(port: MessagePort): Request | undefined {
  // The other side of the port sends nothing but requests.
  const received: { readonly message: Request } | undefined = receiveMessageOnPort(port);
  return received?.message;
}

if (!parentPort) throw new Error('the writer runs as a thread');
// Typed by `WriterThread`, which starts this thread.
serve(parentPort, new Writer(workerData as WriterData));
