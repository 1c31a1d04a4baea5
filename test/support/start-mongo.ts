/**
 * A server that speaks MongoDB's protocol: the one MONGODB_URL names, else `mongod` on PATH, else mongo-java-server, which
 * Maven fetches once into .cache/ and which serves from memory, or from a file where it has to survive.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { ChildServer, findProgram, freePort } from './child-server.ts';

export interface MongoServer {
  readonly url: string;
  /** False for the server that MONGODB_URL names: it cannot be killed or restarted from here. */
  readonly owned: boolean;
  /** Ends the server and removes its files. */
  stop(): Promise<void>;
  /** Ends the server; what it keeps in files stays. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port, after ending it where it still runs. */
  restart(): Promise<void>;
}

export interface StartMongoOptions {
  /**
   * Keeps the data in files, so that it survives `restart`. What mongo-java-server acknowledged in the last second before
   * SIGKILL is lost all the same; only mongod keeps that. Default: false.
   */
  readonly persistent?: boolean;
}

/** Long enough for the first start, in which Maven fetches the jars; for the time-out of a `before` hook. */
export const MONGO_START_DEADLINE_MS = 180_000;
const START_DEADLINE_MS = 30_000;

const SOURCES = join(import.meta.dirname, 'mongo-java');
const CACHE = join(import.meta.dirname, '..', '..', '.cache', 'mongo-java-1.47.0');

/** Why this machine has no such server; undefined where it has. */
export function mongoMissing(): string | undefined {
  if (process.env['MONGODB_URL'] || findProgram('mongod')) return undefined;
  if (findProgram('java') && findProgram('mvn')) return undefined;
  return 'there is no MONGODB_URL, no mongod on PATH, and no java with mvn to run mongo-java-server';
}

export async function startMongo(options: StartMongoOptions = {}): Promise<MongoServer> {
  const given = process.env['MONGODB_URL'];
  if (given) return { url: given, owned: false, stop: async () => {}, kill: notOurs, restart: notOurs };
  const missing = mongoMissing();
  if (missing) throw new Error(missing);
  const folder = await mkdtemp(join(tmpdir(), 'carillon-mongo-'));
  const port = await freePort();
  const mongod = findProgram('mongod');
  const server = mongod ? mongodServer(mongod, port, folder) : await javaServer(port, folder, options);
  await server.start();
  return {
    url: `mongodb://127.0.0.1:${port}/`,
    owned: true,
    async stop() {
      await server.kill('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
    kill: (signal) => server.kill(signal),
    async restart() {
      await server.kill('SIGTERM');
      await server.start();
    },
  };
}

async function notOurs(): Promise<never> {
  throw new Error('the server that MONGODB_URL names cannot be killed or restarted from here');
}

function mongodServer(file: string, port: number, folder: string): ChildServer {
  return new ChildServer({
    file,
    args: ['--bind_ip', '127.0.0.1', '--port', String(port), '--dbpath', folder],
    ready: /Waiting for connections/,
    deadlineMs: START_DEADLINE_MS,
  });
}

async function javaServer(port: number, folder: string, options: StartMongoOptions): Promise<ChildServer> {
  await fetchJars();
  const data = options.persistent ? [join(folder, 'data.mv')] : [];
  return new ChildServer({
    file: 'java',
    // A small heap and the plain collector: the machine is shared with what is tested.
    args: [
      '-Xmx512m',
      '-XX:+UseSerialGC',
      '-cp',
      join(CACHE, '*'),
      join(SOURCES, 'Launcher.java'),
      String(port),
      ...data,
    ],
    ready: /listening \d+/,
    deadlineMs: START_DEADLINE_MS,
  });
}

/** Once per checkout. The folder gets its name only when it is complete, so that a broken download leaves nothing. */
async function fetchJars(): Promise<void> {
  if (await exists(CACHE)) return;
  await mkdir(join(CACHE, '..'), { recursive: true });
  const partial = await mkdtemp(`${CACHE}-`);
  const pom = join(SOURCES, 'pom.xml');
  const goal = 'dependency:copy-dependencies';
  await promisify(execFile)('mvn', ['-q', '-B', '-f', pom, goal, `-DoutputDirectory=${partial}`], {
    timeout: MONGO_START_DEADLINE_MS - START_DEADLINE_MS,
  });
  try {
    await rename(partial, CACHE);
  } catch (thrown) {
    // Another test process was faster.
    await rm(partial, { recursive: true, force: true });
    if (!(await exists(CACHE))) throw thrown;
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
