/** A watcher of everything, which goes on after each interruption from the last token that it saw. */
import { setTimeout as delay } from 'node:timers/promises';
import { Code, ConnectError } from '@connectrpc/connect';
import type { NotificationEvent, Reason, ReceiptKind, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { ServiceProcess, Slot } from './service-process.ts';

export interface Seen {
  readonly version: number;
  readonly status: Status;
  readonly reason: Reason;
  readonly receipt: ReceiptKind;
}

const RETRY_AFTER = 25;

export class Watcher {
  readonly #slots: readonly Slot[];
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  readonly #standing = Promise.withResolvers<void>();
  #token: string | undefined;
  readonly #faults: string[] = [];
  /** In the order of arrival, repeats included. */
  readonly seen = new Map<string, Seen[]>();
  resumptions = -1;

  constructor(slots: readonly Slot[]) {
    this.#slots = slots;
    this.#running = this.#run();
  }

  /** Resolves once there is a token from which on nothing can be missed. */
  get standing(): Promise<void> {
    return this.#standing.promise;
  }

  /** Ends of the watch that the contract does not allow. */
  get faults(): readonly string[] {
    return this.#faults;
  }

  /** The last version that came. */
  version(id: string): number {
    return Math.max(0, ...(this.seen.get(id) ?? []).map(({ version }) => version));
  }

  async #run(): Promise<void> {
    const stopped = new Promise<undefined>((resolve) => {
      this.#stop.signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    while (!this.#stop.signal.aborted) {
      const process = await Promise.race([...this.#slots.map((slot) => slot.up()), stopped]);
      if (!process) return;
      await this.#follow(process);
      if (!this.#stop.signal.aborted) await delay(RETRY_AFTER);
    }
  }

  async #follow(process: ServiceProcess): Promise<void> {
    const request = this.#token === undefined ? {} : { afterToken: this.#token };
    this.resumptions++;
    try {
      for await (const { event, token } of process.client.watchNotifications(request, { signal: this.#stop.signal })) {
        this.#token = token;
        this.#standing.resolve();
        if (!event) continue;
        this.#note(event);
      }
    } catch (thrown) {
      const { code, message } = ConnectError.from(thrown);
      const allowed = code === Code.Unavailable || code === Code.ResourceExhausted || this.#stop.signal.aborted;
      if (!allowed && !(await process.isEnding())) this.#faults.push(`the watch ended with ${Code[code]}: ${message}`);
    }
  }

  #note({ notificationId, version, status, reason, receipt }: NotificationEvent): void {
    const seen = { version: Number(version), status, reason, receipt };
    const before = this.seen.get(notificationId);
    if (before) before.push(seen);
    else this.seen.set(notificationId, [seen]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}
