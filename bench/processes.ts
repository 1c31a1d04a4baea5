/** Child processes of the bench: the service, the load generator, a bare echo server, an SMTP sink. Each ends with its owner. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { LoadOptions, LoadResult } from './load.ts';

const ROOT = join(import.meta.dirname, '..');

export class Child implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly lines: AsyncIterator<string>;

  constructor(args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    this.#process = spawn(process.execPath, args, {
      cwd: ROOT,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (!this.#process.stdout) throw new Error('a child has a standard output');
    this.lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** The next line that is a JSON object with this field. */
  async json<T>(field: string): Promise<T> {
    for (;;) {
      const { value, done } = await this.lines.next();
      if (done) throw new Error(`the child ended without a line that has ${field}`);
      if (!value.startsWith('{')) continue;
      const parsed: unknown = JSON.parse(value);
      // The children are this bench's own and print what their types say.
      if (typeof parsed === 'object' && parsed !== null && field in parsed) return parsed as T;
    }
  }

  /** Resident memory, in MiB. */
  async memory(): Promise<number> {
    const status = await readFile(`/proc/${this.#process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await ended;
  }
}

export interface RunningService {
  readonly child: Child;
  readonly grpc: string;
}

/** @param settings `key=value` as for `carillon serve --set` */
export async function startService(settings: readonly string[]): Promise<RunningService> {
  const fixed = ['server.grpc_address=127.0.0.1:0', 'server.http_address=127.0.0.1:0', 'log.level=info'];
  const flags = [...fixed, ...settings].flatMap((setting) => ['--set', setting]);
  const child = new Child(['src/cli.ts', 'serve', ...flags]);
  const { grpc } = await child.json<{ readonly grpc: string }>('grpc');
  return { child, grpc };
}

export async function load(options: LoadOptions): Promise<LoadResult> {
  await using child = new Child(['bench/load.ts', JSON.stringify(options)]);
  return await child.json<LoadResult>('perSecond');
}
