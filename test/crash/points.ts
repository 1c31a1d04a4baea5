/**
 * A process that dies right before and right after the n-th call of a port that concerns one notification, for every n. One
 * life follows the other on the same store, so each also finds what the ones before it have left.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Channel, ReceiptKind, Status } from '../../gen/carillon/v1/notification_pb.js';
import { LAST_WORDS } from '../support/crash-point.ts';
import type { CrashPoint } from '../support/crash-point.ts';
import { REPORTED } from '../support/crash-plans.ts';
import type { PlanName } from '../support/crash-plans.ts';
import { order } from './orders.ts';
import type { ServiceProcess } from './service-process.ts';
import { Stage } from './stage.ts';
import type { Outcome } from './stage.ts';
import type { PairName } from './stores.ts';

/** Which call it is that the process does not survive. */
export type Spot = Pick<CrashPoint, 'call' | 'name'>;

export interface PointsOptions {
  readonly pair: PairName;
  /** For each plan, which of its calls; `undefined`: every one, until the notification is done with. */
  readonly plans: ReadonlyMap<PlanName, readonly Spot[] | undefined>;
}

export interface PointsOutcome extends Outcome {
  /** Where the process died, in its own words, each plan with its first. */
  readonly deaths: readonly string[];
}

/** More calls than any plan leads to. */
const MAX_CALLS = 100;
/** After the last event of a notification, how long its last calls may take; real milliseconds. */
const AFTER_THE_END = 3_000;
const LIFE_DEADLINE = 30_000;
const POLL = 10;

export async function runPoints({ pair, plans }: PointsOptions): Promise<PointsOutcome> {
  await using stage = await Stage.open(pair, { reports: ({ type }) => (REPORTED.has(type) ? [0] : []) });
  const deaths: string[] = [];
  const sends: Promise<readonly string[]>[] = [];
  // The first life ends by nothing: the watcher needs a place to begin.
  await stage.start();
  await stage.slots[0]?.end();
  for (const [plan, chosen] of plans) {
    const spots = chosen ?? Array.from({ length: MAX_CALLS }, (_, index): Spot => ({ call: index + 1 }));
    for (const spot of spots) {
      const place = `${plan} ${spot.name ?? 'call'} ${spot.call}`;
      const words: (string | undefined)[] = [];
      for (const when of ['before', 'after'] as const) {
        const key = `${place.replaceAll(/\W/g, '-')}-${when === 'before' ? 1 : 2}`;
        const life = new Life(stage, { ...spot, key, ids: [], when });
        words.push(await life.run(plan, sends));
      }
      deaths.push(...words.flatMap((word) => (word === undefined ? [] : [`${place}: ${word}`])));
      // So many calls are not made for this plan.
      if (words.every((word) => word === undefined)) break;
    }
  }
  await stage.slots[0]?.start();
  await Promise.all(sends);
  return { ...(await stage.conclude()), deaths };
}

class Life {
  readonly #stage: Stage;
  readonly #point: CrashPoint;

  constructor(stage: Stage, point: CrashPoint) {
    this.#stage = stage;
    this.#point = point;
  }

  /** Answers the process's last words; undefined when it came through. */
  async run(plan: PlanName, sends: Promise<readonly string[]>[]): Promise<string | undefined> {
    const { slots, ledger } = this.#stage;
    const [slot] = slots;
    if (!slot) throw new Error('a stage has a place for a process');
    const process = await slot.start(this.#point);
    let ids: readonly string[] = [];
    const channels = [plan === 'partial' ? Channel.PUSH : Channel.EMAIL];
    const sending = ledger.send(order(this.#point.key, { plan, channels })).then((answered) => (ids = answered));
    sends.push(sending);
    const deadline = Date.now() + LIFE_DEADLINE;
    while (process.running && !this.#isOver(ids) && Date.now() < deadline) await delay(POLL);
    if (process.running) await Promise.race([process.ended, delay(AFTER_THE_END, undefined, { ref: false })]);
    const died = !process.running;
    await slot.end();
    return died ? lastWords(process) : undefined;
  }

  #isOver(ids: readonly string[]): boolean {
    const { watcher, reports, ledger } = this.#stage;
    const over = (id: string): boolean => {
      const seen = watcher.seen.get(id) ?? [];
      const status = seen.at(-1)?.status ?? Status.PENDING;
      if ([Status.PENDING, Status.QUEUED, Status.PROCESSING].includes(status) || reports.isUnderWay(id)) return false;
      const applied = new Set(
        seen.filter(({ receipt }) => receipt !== ReceiptKind.UNSPECIFIED).map(({ version }) => version),
      );
      return [...ledger.acknowledged.values()].filter((call) => call.id === id).length <= applied.size;
    };
    return ids.length > 0 && ids.every(over);
  }
}

function lastWords({ output }: ServiceProcess): string {
  const at = output.lastIndexOf(LAST_WORDS);
  // Anything else is a fault of the test or of the service, and says so in its output.
  if (at < 0) throw new Error(`the service died by itself: ${output}`);
  return output.slice(at + LAST_WORDS.length).trim();
}
