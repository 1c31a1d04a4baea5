/** A server in a child process that says on its output when it is ready, and can be stopped and started again. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { listen } from './listen.ts';

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  /** Found in the output once the server takes connections. */
  readonly ready: RegExp;
  readonly deadlineMs: number;
}

export class ChildServer {
  readonly #command: Command;
  #child: ChildProcess | undefined;

  constructor(command: Command) {
    this.#command = command;
  }

  async start(): Promise<void> {
    const { file, args } = this.#command;
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    try {
      await this.#untilReady(child);
    } catch (thrown) {
      await this.kill('SIGKILL');
      throw thrown;
    }
  }

  /** Sends the signal and waits for the end of the process; does nothing when it does not run. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  #untilReady(child: ChildProcess): Promise<void> {
    const { file, ready, deadlineMs } = this.#command;
    return new Promise((resolve, reject) => {
      let output = '';
      const fail = (what: string): void => reject(new Error(`${file} ${what}: ${output.slice(-2_000)}`));
      const timer = setTimeout(() => fail(`was not ready in ${deadlineMs} ms`), deadlineMs);
      const read = (chunk: Buffer): void => {
        output = (output + chunk.toString()).slice(-20_000);
        if (!ready.test(output)) return;
        clearTimeout(timer);
        resolve();
      };
      child.stdout?.on('data', read);
      child.stderr?.on('data', read);
      child.once('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        fail(`ended with ${code ?? signal}`);
      });
    });
  }
}

/** The first of the folders on PATH, or of `more`, that holds the program. */
export function findProgram(name: string, ...more: readonly string[]): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...more];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** A port that is free now, for servers that cannot be asked which one they took. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  return port;
}
