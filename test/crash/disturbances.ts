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
/** Of the kills in a cluster, so many are of nats-server. */
const NATS_SHARE = 0.25;
const NATS_AWAY = { least: 50, most: 800 };

const between = ({ least, most }: { least: number; most: number }, random: () => number): number =>
  least + (most - least) * random();

/** `kill -9` of a process of the service, or of nats-server, and its restart; answers how many of each. */
export async function killAtRandom({ stage, random, times }: DisturbedOptions): Promise<Record<string, number>> {
  const killed = { service: 0, 'nats-server': 0 };
  for (let kill = 0; kill < times; kill++) {
    await delay(between(LIFE, random));
    const { nats } = stage.stores;
    if (nats && random() < NATS_SHARE) {
      killed['nats-server']++;
      await nats.kill('SIGKILL');
      await delay(between(NATS_AWAY, random));
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

/** The network between one process and MongoDB breaks every connection, or swallows everything, for a while. */
export async function cutAtRandom({ stage, random, times }: DisturbedOptions): Promise<Record<string, number>> {
  const cuts = { reset: 0, 'black-hole': 0 };
  const proxy = stage.stores.mongoProxy;
  if (!proxy) throw new Error('this pair has no network to cut');
  for (let cut = 0; cut < times; cut++) {
    await delay(between(LIFE, random));
    const mode = cut % 2 === 0 ? 'reset' : 'black-hole';
    cuts[mode]++;
    proxy.mode(mode);
    await delay(between(CUT, random));
    proxy.mode('pass');
  }
  return cuts;
}
