/** Everything around one trial: stores, processes, vendor and its reports, watcher, callers; and how the trial ends. */
import type { Notification } from '../../gen/carillon/v1/notification_pb.js';
import { Status } from '../../gen/carillon/v1/notification_pb.js';
import { scaledClock } from '../support/crash-time.ts';
import type { TimeScale } from '../support/crash-time.ts';
import { startVendor } from '../support/crash-vendor.ts';
import type { Vendor } from '../support/crash-vendor.ts';
import { eventually } from '../support/eventually.ts';
import type { Clock } from '../../src/domain/clock.ts';
import { insist } from './caller.ts';
import { judge } from './judge.ts';
import type { Verdict } from './judge.ts';
import { Ledger } from './ledger.ts';
import { Reports } from './reports.ts';
import type { ReportTimes } from './reports.ts';
import { Slot } from './service-process.ts';
import { openStores } from './stores.ts';
import type { PairName, Stores } from './stores.ts';
import { Watcher } from './watcher.ts';

/** So many of the service's seconds in one: a lost hint is found after 3 s instead of a minute. */
export const FACTOR = 20;
const PAGE = 100;
/** How long the service may take to bring everything to its end once nothing kills it any more. */
const END_DEADLINE = 120_000;
const CLEAN_DEADLINE = 60_000;

export interface Outcome extends Verdict {
  readonly accepted: number;
  readonly calls: number;
  /** Reports of the vendor that were answered 200, repeats not counted. */
  readonly receipts: number;
  /** Times the watcher went on from its token. */
  readonly resumptions: number;
}

export interface StageOptions {
  /** At most as many as the pair has backends. Default 1. */
  readonly processes?: number;
  /** How long the vendor takes over an answer, real milliseconds. Default: no time. */
  readonly thinks?: () => number;
  /** What the vendor reports of what it took. Default: nothing. */
  readonly reports?: ReportTimes;
}

interface Parts {
  readonly stores: Stores;
  readonly slots: readonly Slot[];
  readonly vendor: Vendor;
  readonly reports: Reports;
  readonly watcher: Watcher;
  readonly ledger: Ledger;
  readonly clock: Clock;
}

export class Stage implements AsyncDisposable {
  readonly stores: Stores;
  readonly slots: readonly Slot[];
  readonly vendor: Vendor;
  readonly reports: Reports;
  readonly watcher: Watcher;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly #owned: AsyncDisposableStack;

  static async open(pair: PairName, options: StageOptions = {}): Promise<Stage> {
    const { processes = 1, thinks = () => 0, reports: times = () => [] } = options;
    await using opening = new AsyncDisposableStack();
    const scale: TimeScale = { epoch: Date.now(), factor: FACTOR };
    const clock = scaledClock(scale);
    const stores = opening.use(await openStores(pair));
    // The processes need the vendor's port; what the vendor took is reported to them.
    const slots: Slot[] = [];
    const ledger = new Ledger(slots);
    const reports = new Reports(slots, ledger, times);
    const vendor = opening.use(await startVendor({ clock, thinks, onTaken: (call) => reports.begin(call) }));
    for (const backend of stores.backends.slice(0, processes)) {
      slots.push(opening.use(new Slot({ backend, scale, vendorPort: vendor.port })));
    }
    opening.use(reports);
    const watcher = new Watcher(slots);
    opening.defer(() => watcher.stop());
    return new Stage({ stores, slots, vendor, reports, watcher, ledger, clock }, opening.move());
  }

  private constructor(parts: Parts, owned: AsyncDisposableStack) {
    this.stores = parts.stores;
    this.slots = parts.slots;
    this.vendor = parts.vendor;
    this.reports = parts.reports;
    this.watcher = parts.watcher;
    this.ledger = parts.ledger;
    this.clock = parts.clock;
    this.#owned = owned;
  }

  async start(): Promise<void> {
    await Promise.all(this.slots.map((slot) => slot.start()));
    await this.watcher.standing;
  }

  /** Waits until every notification has ended and nothing is left over, stops the service, and judges. */
  async conclude(): Promise<Outcome> {
    await this.settled();
    await this.reports.answered();
    const faults: string[] = [];
    const left = { receipts: 1, waking: 1, unpublished: 1, jobs: 1 };
    try {
      await eventually(
        'nothing is left over',
        async () => {
          Object.assign(left, await this.stores.leftovers());
          return Object.values(left).every((count) => count === 0);
        },
        CLEAN_DEADLINE,
      );
    } catch (thrown) {
      faults.push(`left over at the end: ${JSON.stringify(left)} (${String(thrown)})`);
    }
    const rows = await this.#rows();
    await this.#watcherCaughtUp(rows);
    await this.watcher.stop();
    await Promise.all(this.slots.map((slot) => slot.stop()));
    const verdict = judge({
      accepted: this.ledger.accepted,
      cancels: this.ledger.cancels,
      acknowledged: this.ledger.acknowledged,
      received: this.vendor.received,
      seen: this.watcher.seen,
      rows,
    });
    return {
      ...verdict,
      faults: [
        ...faults,
        ...this.ledger.faults,
        ...this.watcher.faults,
        ...this.slots.flatMap((slot) => [...slot.faults, ...errorsIn(slot.output)]),
        ...verdict.faults,
      ],
      accepted: this.ledger.accepted.size,
      calls: this.vendor.received.length,
      receipts: this.ledger.acknowledged.size,
      resumptions: this.watcher.resumptions,
    };
  }

  /** Waits until no notification is under way. */
  async settled(): Promise<void> {
    const underWay = async (status: Status): Promise<boolean> => {
      const page = await insist(this.slots, (client, options) =>
        client.listNotifications({ filter: { status }, pageSize: 1 }, options),
      );
      return page.notifications.length > 0;
    };
    await eventually(
      'every notification has ended',
      async () =>
        !((await underWay(Status.PENDING)) || (await underWay(Status.QUEUED)) || (await underWay(Status.PROCESSING))),
      END_DEADLINE,
    );
  }

  async #rows(): Promise<Notification[]> {
    const rows: Notification[] = [];
    let pageToken = '';
    do {
      const page = await insist(this.slots, (client, options) =>
        client.listNotifications({ pageSize: PAGE, pageToken }, options),
      );
      rows.push(...page.notifications);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    return rows;
  }

  /** Past the deadline the judge says what is missing. */
  async #watcherCaughtUp(rows: readonly Notification[]): Promise<void> {
    const end = Date.now() + CLEAN_DEADLINE;
    const behind = (): boolean => rows.some(({ id, version }) => this.watcher.version(id) < Number(version));
    while (behind() && Date.now() < end) await this.clock.sleep(FACTOR * 50);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

/** The log has only what nobody expected; that a store was away while it was kept away is expected. */
function errorsIn(output: string): string[] {
  const lines = output.split('\n').filter((line) => line.includes('"level":"error"'));
  const unexpected = lines.filter((line) => !line.includes('"reason":"STORE_UNAVAILABLE"'));
  return unexpected.map((line) => `the service logged ${line.slice(0, 1_000)}`);
}
