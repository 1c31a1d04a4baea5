/** What goes wrong while callers go on calling. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Stage } from './stage.ts';

export interface DisturbedOptions {
  readonly stage: Stage;
  readonly random: () => number;
  /** How often something is killed or cut. */
  readonly times: number;
}

/** Real milliseconds between a restart and the next kill. */
const LIFE = { least: 200, most: 2_000 };
/** How long the network is cut. */
const CUT = { least: 300, most: 3_000 };
/** In a cluster, each of so many kills is of nats-server. */
const NATS_TURN = 4;
const SERVER_AWAY = { least: 50, most: 800 };

/** On a busy machine a life lasts until it has answered so many sends: before, there is little to lose. */
const ANSWERS = { least: 1, most: 60 };
const ANSWERS_DEADLINE = 10_000;
const POLL = 5;

const between = ({ least, most }: { least: number; most: number }, random: () => number): number =>
  least + (most - least) * random();

/** A random time in which the service also got something done. */
async function live({ stage, random }: DisturbedOptions): Promise<void> {
  const wanted = stage.ledger.answers + between(ANSWERS, random);
  await delay(between(LIFE, random));
  const deadline = Date.now() + ANSWERS_DEADLINE;
  while (stage.ledger.answers < wanted && Date.now() < deadline) await delay(POLL);
}

/** `kill -9` of a process of the service, or of nats-server, and its restart; answers how many of each. */
export async function killAtRandom(options: DisturbedOptions): Promise<Record<string, number>> {
  const { stage, random, times } = options;
  const killed = { service: 0, 'nats-server': 0 };
  for (let kill = 0; kill < times; kill++) {
    await live(options);
    const { nats } = stage.stores;
    if (nats && kill % NATS_TURN === 1) {
      killed['nats-server']++;
      await nats.kill('SIGKILL');
      await delay(between(SERVER_AWAY, random));
      await nats.restart();
    } else {
      killed.service++;
      const slot = stage.slots[Math.floor(random() * stage.slots.length)];
      await slot?.end('SIGKILL');
      await slot?.start();
    }
  }
  return killed;
}

/** `kill -9` of the database, and its restart on the same files. */
export async function killMongod(options: DisturbedOptions): Promise<Record<string, number>> {
  const { stage, random, times } = options;
  const { mongo } = stage.stores;
  if (!mongo) throw new Error('this pair has no mongod to kill');
  for (let kill = 0; kill < times; kill++) {
    await live(options);
    await mongo.kill('SIGKILL');
    await delay(between(SERVER_AWAY, random));
    await mongo.restart();
  }
  return { mongod: times };
}

/** The network between one process and MongoDB breaks every connection, or swallows everything, for a while. */
export async function cutAtRandom(options: DisturbedOptions): Promise<Record<string, number>> {
  const { stage, random, times } = options;
  const cuts = { reset: 0, 'black-hole': 0 };
  const proxy = stage.stores.mongoProxy;
  if (!proxy) throw new Error('this pair has no network to cut');
  for (let cut = 0; cut < times; cut++) {
    await live(options);
    const mode = cut % 2 === 0 ? 'reset' : 'black-hole';
    cuts[mode]++;
    proxy.mode(mode);
    await delay(between(CUT, random));
    proxy.mode('pass');
  }
  return cuts;
}
