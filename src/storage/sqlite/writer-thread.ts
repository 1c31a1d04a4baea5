/** The service's side of the writer thread: requests go in, promises come out. */
import { Worker } from 'node:worker_threads';
import type { Answer, Failure, Request, Step, StepResult, WriterData } from './writer.ts';

/** What SQLite said, with its extended result code. */
export class SqliteError extends Error {
  override readonly name = 'SqliteError';
  /** Not there when the fault is not SQLite's own. */
  readonly code: number | undefined;

  constructor({ message, code }: Failure) {
    super(message);
    this.code = code;
  }
}

/** The thread is closed, or it died. */
export class WriterGone extends Error {
  override readonly name = 'WriterGone';
}

interface Waiter {
  resolve(results: readonly StepResult[]): void;
  reject(error: Error): void;
}

export class WriterThread implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #ready = Promise.withResolvers<void>();
  /** Answers come in the order of the requests. */
  readonly #waiting: Waiter[] = [];
  /** Not sent yet. */
  readonly #outgoing: (readonly Step[])[] = [];
  #gone: WriterGone | undefined;
  #commits = 0;

  /** Rejects when the thread cannot open the file. */
  static async start(data: WriterData): Promise<WriterThread> {
    const thread = new WriterThread(data);
    await thread.#ready.promise;
    return thread;
  }

  private constructor(data: WriterData) {
    // A published build has the same file with another ending.
    const script = import.meta.url.endsWith('.ts') ? './writer.ts' : './writer.js';
    this.#worker = new Worker(new URL(script, import.meta.url), { workerData: data });
    this.#worker.on('message', (answer: Answer) => this.#receive(answer));
    this.#worker.on('error', (cause) => this.#end(new WriterGone('the writer thread failed', { cause })));
    const exited = Promise.withResolvers<void>();
    this.#exited = exited.promise;
    this.#worker.once('exit', () => {
      this.#end(new WriterGone('the writer thread ended'));
      exited.resolve();
    });
  }

  /** Transactions so far. */
  get commits(): number {
    return this.#commits;
  }

  /** Throws WriterGone when the thread is closed or dead. */
  check(): void {
    if (this.#gone) throw this.#gone;
  }

  /**
   * Runs the steps together or not at all; resolves when they are durable. Rejects with SqliteError, or with WriterGone
   * when the thread is closed or dies: the steps may have been written then.
   */
  async run(steps: readonly Step[]): Promise<readonly StepResult[]> {
    this.check();
    const { promise, resolve, reject } = Promise.withResolvers<readonly StepResult[]>();
    // What one turn of the event loop asks for goes over in one message: a message costs more than what it carries.
    if (this.#outgoing.push(steps) === 1) setImmediate(() => this.#flush());
    this.#waiting.push({ resolve, reject });
    return promise;
  }

  /** Finishes what was asked for, then closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#gone) {
      this.#gone = new WriterGone('the database is closed');
      this.#flush();
      this.#send('close');
    }
    await this.#exited;
  }

  #flush(): void {
    if (this.#outgoing.length > 0) this.#send(this.#outgoing.splice(0));
  }

  #send(request: Request): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    this.#worker.postMessage(request);
  }

  #receive(answer: Answer): void {
    if (answer === 'ready') {
      this.#ready.resolve();
      return;
    }
    this.#commits += 1;
    const waiters = this.#waiting.splice(0, answer.length);
    for (const [index, outcome] of answer.entries()) {
      if ('results' in outcome) waiters[index]?.resolve(outcome.results);
      else waiters[index]?.reject(new SqliteError(outcome.failure));
    }
  }

  #end(gone: WriterGone): void {
    this.#gone ??= gone;
    this.#ready.reject(this.#gone);
    for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#gone);
  }
}
