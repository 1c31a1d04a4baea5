/** Callers of all kinds at a steady rate, while something goes wrong; then what became of it all. */
import { setTimeout as delay } from 'node:timers/promises';
import { cutAtRandom, killAtRandom, killMongod } from './disturbances.ts';
import { randomOrder, seeded } from './orders.ts';
import type { Order } from './orders.ts';
import type { ReportTimes } from './reports.ts';
import { Stage } from './stage.ts';
import type { Outcome } from './stage.ts';
import type { PairName } from './stores.ts';

export interface LoadOptions {
  readonly pair: PairName;
  readonly seed: number;
  readonly trouble: keyof typeof TROUBLES;
  readonly times: number;
  /** Sends a second that are begun while the service answers. */
  readonly rate: number;
}

export interface LoadOutcome extends Outcome {
  readonly disturbed: Readonly<Record<string, number>>;
  /** Notifications accepted a second, outages included. */
  readonly perSecond: number;
}

const TROUBLES = { kills: killAtRandom, cuts: cutAtRandom, 'mongod kills': killMongod } as const;

const TICK = 50;
/** The vendor's answers take up to so long, so that at any moment some calls are under way. */
const MAX_THINKING = 200;
/** Sends without an answer; beyond it callers wait, as the service is away. */
const MAX_OPEN = 500;
/** Of each tick's sends, these go as a batch, these on a stream, and the rest one by one. */
const BATCH_SHARE = 0.6;
const STREAM_SHARE = 0.2;
/** Callers that send twice with one key, at the same moment. */
const TWICE_SHARE = 0.03;
/** Of what the vendor took it reports so many; of those some at once, next to its answer, and some twice. */
const REPORTED_SHARE = 0.75;
const AT_ONCE_SHARE = 0.3;
const REPEATED_SHARE = 0.2;
/** The others come so much later, real milliseconds: some before a call that is repeated, some behind it. */
const MAX_REPORT_DELAY = 600;

class Callers {
  readonly #stage: Stage;
  readonly #random: () => number;
  readonly #perTick: number;
  readonly #open = new Set<Promise<unknown>>();
  #made = 0;
  #openSends = 0;

  constructor(stage: Stage, random: () => number, rate: number) {
    this.#stage = stage;
    this.#random = random;
    this.#perTick = Math.ceil((rate * TICK) / 1_000);
  }

  async callUntil(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      if (this.#openSends < MAX_OPEN) this.#tick();
      await delay(TICK);
    }
    while (this.#open.size > 0) await Promise.all(this.#open);
  }

  #tick(): void {
    const { ledger } = this.#stage;
    const batch = this.#orders(BATCH_SHARE);
    const stream = this.#orders(STREAM_SHARE);
    const single = this.#orders(1 - BATCH_SHARE - STREAM_SHARE);
    this.#track(batch.length, ledger.sendBatch(batch));
    this.#track(stream.length, ledger.sendStream(stream));
    for (const order of single) {
      this.#track(1, ledger.send(order));
      if (this.#random() < TWICE_SHARE) this.#track(1, ledger.send(order));
    }
  }

  #orders(share: number): Order[] {
    const now = this.#stage.clock.now();
    const count = Math.max(1, Math.round(this.#perTick * share));
    return Array.from({ length: count }, () => randomOrder(`n${++this.#made}`, this.#random, now));
  }

  #track(sends: number, call: Promise<unknown>): void {
    this.#openSends += sends;
    const tracked: Promise<void> = call
      .then(
        () => undefined,
        (failure: unknown) => this.#stage.ledger.fail(failure),
      )
      .finally(() => {
        this.#openSends -= sends;
        this.#open.delete(tracked);
      });
    this.#open.add(tracked);
  }
}

function randomReports(random: () => number): ReportTimes {
  return () => {
    if (random() >= REPORTED_SHARE) return [];
    const after = random() < AT_ONCE_SHARE ? 0 : MAX_REPORT_DELAY * random();
    return random() < REPEATED_SHARE ? [after, after] : [after];
  };
}

export async function runLoad({ pair, seed, trouble, times, rate }: LoadOptions): Promise<LoadOutcome> {
  const random = seeded(seed);
  const thinking = seeded(seed + 2);
  await using stage = await Stage.open(pair, {
    processes: 2,
    thinks: () => MAX_THINKING * thinking(),
    reports: randomReports(seeded(seed + 3)),
  });
  await stage.start();
  const stop = new AbortController();
  const started = Date.now();
  const calling = new Callers(stage, random, rate).callUntil(stop.signal);
  // A seed of its own, so that the kills do not move the sends.
  const disturbed = await TROUBLES[trouble]({ stage, random: seeded(seed + 1), times });
  stop.abort();
  await calling;
  const seconds = (Date.now() - started) / 1_000;
  await redriveSome(stage);
  const outcome = await stage.conclude();
  return { ...outcome, disturbed, perSecond: outcome.accepted / seconds };
}

/** Those that had only failed as often as their first run allows, in a second one. */
async function redriveSome(stage: Stage): Promise<void> {
  await stage.settled();
  const ids = [...stage.ledger.accepted].flatMap(([id, { plan }]) => (plan === 'at.last.on.re-drive' ? [id] : []));
  for (let from = 0; from < ids.length; from += 500) await stage.ledger.redrive(ids.slice(from, from + 500));
}
