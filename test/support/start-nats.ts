/** A real nats-server with JetStream on a free port and in a folder of its own. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

import { ChildServer, findProgram, freePort } from './child-server.ts';

export interface NatsServer {
  readonly url: string;
  readonly port: number;
  readonly storeDir: string;
  /** Ends the server and removes its files. */
  stop(): Promise<void>;
  /** Ends the server; its files stay. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts it on the same port and files, after ending it where it still runs. */
  restart(): Promise<void>;
}

export interface StartNatsOptions {
  /** More lines of its configuration file. */
  readonly config?: string;
}

const START_DEADLINE_MS = 30_000;

function natsProgram(): string | undefined {
  const gopath = process.env['GOPATH'];
  return findProgram('nats-server', ...(gopath ? [join(gopath, 'bin')] : []), join(homedir(), 'go', 'bin'));
}

/** Why this machine cannot start one; undefined where it can. */
export function natsMissing(): string | undefined {
  return natsProgram() ? undefined : 'there is no nats-server on PATH';
}

export async function startNats(options: StartNatsOptions = {}): Promise<NatsServer> {
  const file = natsProgram();
  if (file === undefined) throw new Error(natsMissing());
  const storeDir = await mkdtemp(join(tmpdir(), 'carillon-nats-'));
  const config = join(storeDir, 'nats.conf');
  await writeFile(config, options.config ?? '');
  const port = await freePort();
  const server = new ChildServer({
    file,
    args: ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', storeDir, '-c', config],
    ready: /Server is ready/,
    deadlineMs: START_DEADLINE_MS,
  });
  await server.start();
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    storeDir,
    async stop() {
      await server.kill('SIGKILL');
      await rm(storeDir, { recursive: true, force: true });
    },
    kill: (signal) => server.kill(signal),
    async restart() {
      await server.kill('SIGTERM');
      await server.start();
    },
  };
}
