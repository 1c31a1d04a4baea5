/** What the vendor reports of what it took: callbacks, each repeated until it is answered 200, as vendors do. */
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { eventually } from '../support/eventually.ts';
import { reportOf } from '../support/crash-vendor.ts';
import type { Received } from '../support/crash-vendor.ts';
import type { Ledger } from './ledger.ts';
import type { Slot } from './service-process.ts';

/** When each callback of one message goes out, real milliseconds after it was taken; none: it is never reported. */
export type ReportTimes = (call: Received) => readonly number[];

/** A repeat waits so long, real milliseconds, and twice as long each time: who hammers a service keeps it from coming up. */
const REPEAT_AFTER = { first: 50, most: 1_000 };
/** Callbacks at a time to one process. */
const CONNECTIONS = 16;
/** Reports without an answer; what is taken beyond it is not reported, or they would outgrow what a busy machine can serve. */
const MAX_OPEN = 200;
const CALL_DEADLINE = 5_000;
/** How long the answers may take once nothing kills the service any more; before, a vendor has patience for hours. */
const END_DEADLINE = 120_000;

const TAKEN = 200;
/** The service asks to come again. */
const AWAY = 503;

export class Reports implements AsyncDisposable {
  readonly #slots: readonly Slot[];
  readonly #ledger: Ledger;
  readonly #times: ReportTimes;
  readonly #agent = new Agent({ connections: CONNECTIONS });
  readonly #stop = new AbortController();
  /** Those under way, each with its notification. */
  readonly #running = new Map<Promise<void>, string>();
  #turn = 0;

  /** @param slots those that are there once the vendor takes something */
  constructor(slots: readonly Slot[], ledger: Ledger, times: ReportTimes) {
    this.#slots = slots;
    this.#ledger = ledger;
    this.#times = times;
  }

  /** The vendor took it; what it reports follows. */
  begin(call: Received): void {
    if (this.#running.size >= MAX_OPEN) return;
    for (const after of this.#times(call)) {
      const running: Promise<void> = this.#insist(call, after)
        .catch((failure: unknown) => {
          if (!this.#stop.signal.aborted) this.#ledger.fail(failure);
        })
        .finally(() => this.#running.delete(running));
      this.#running.set(running, call.id);
    }
  }

  /** True while a report of this notification is still to come, or has no answer. */
  isUnderWay(id: string): boolean {
    return this.#running.values().some((notificationId) => notificationId === id);
  }

  /** Waits until every report is answered. @throws Error past the deadline */
  async answered(): Promise<void> {
    await eventually('every report is answered', () => this.#running.size === 0, END_DEADLINE);
  }

  async #insist(call: Received, after: number): Promise<void> {
    const { signal } = this.#stop;
    await delay(after, undefined, { signal });
    for (let pause = REPEAT_AFTER.first; ; pause = Math.min(2 * pause, REPEAT_AFTER.most)) {
      // Whatever became of the call, as the process was killed in the middle of it: a vendor comes again.
      const answer = await this.#post(call).catch((thrown: unknown) => String(thrown));
      if (answer === TAKEN) return this.#ledger.acknowledge(call);
      if (typeof answer === 'number' && answer !== AWAY)
        throw new Error(`a report of ${call.id} was answered ${answer}`);
      await delay(pause, undefined, { signal });
    }
  }

  /** One try, at one process after the other. */
  async #post(call: Received): Promise<number> {
    const slot = this.#slots[this.#turn++ % this.#slots.length];
    if (!slot) throw new Error('a stage has a place for a process');
    const { httpUrl } = await slot.up();
    const { statusCode, body } = await request(`${httpUrl}/callbacks/${call.provider}`, {
      method: 'POST',
      body: JSON.stringify([reportOf(call)]),
      dispatcher: this.#agent,
      signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(CALL_DEADLINE)]),
    });
    await body.dump();
    return statusCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#agent.destroy();
  }
}
