/** What the callers and the vendor know: every answer that they were given. */
import { ConnectError } from '@connectrpc/connect';
import type {
  CancelResult,
  SendNotificationResponse,
  SendResult,
} from '../../gen/carillon/v1/notification_service_pb.js';
import type { Received } from '../support/crash-vendor.ts';
import { receiptId } from '../support/crash-vendor.ts';
import { insist } from './caller.ts';
import type { Order } from './orders.ts';
import type { Slot } from './service-process.ts';

export class Ledger {
  readonly #slots: readonly Slot[];
  readonly #faults: string[] = [];
  readonly #idsByKey = new Map<string, string>();
  /** By the notification's id. */
  readonly accepted = new Map<string, Order>();
  readonly cancels = new Map<string, CancelResult>();
  /** The vendor's reports that were answered 200, by the receipt's id: the call that each is about. */
  readonly acknowledged = new Map<string, Received>();
  /** Sends that were answered, repeats included. */
  answers = 0;

  constructor(slots: readonly Slot[]) {
    this.#slots = slots;
  }

  /** Answers that the contract does not allow. */
  get faults(): readonly string[] {
    return this.#faults;
  }

  /** A call that no repeat could save. */
  fail(failure: unknown): void {
    this.#faults.push(`a call failed for good: ${String(failure)}`);
  }

  acknowledge(call: Received): void {
    this.acknowledged.set(receiptId(call), call);
  }

  async send(order: Order): Promise<readonly string[]> {
    const answer = await insist(this.#slots, (client, options) => client.sendNotification(order.request, options));
    const ids = this.#note(order, answer);
    if (order.cancel) await Promise.all(ids.map((id) => this.#cancel(id)));
    return ids;
  }

  async sendBatch(orders: readonly Order[]): Promise<void> {
    const requests = orders.map(({ request }) => request);
    const results = await insist(this.#slots, async (client, options) => {
      const answer = await client.batchSendNotifications({ requests }, options);
      return allAnswered(answer.results);
    });
    orders.forEach((order, index) => this.#noteResult(order, results[index]));
  }

  /** What the stream did not answer before it broke is sent again on the next. */
  async sendStream(orders: readonly Order[]): Promise<void> {
    const open = new Map(orders.map((order, index) => [BigInt(index), order]));
    await insist(this.#slots, async (client, options) => {
      const requests = [...open].map(([sequence, { request }]) => ({ sequence, request }));
      for await (const { sequence, result } of client.sendNotificationStream(each(requests), options)) {
        const order = open.get(sequence);
        if (!order || !result) continue;
        const [answered] = allAnswered([result]);
        this.#noteResult(order, answered);
        open.delete(sequence);
      }
    });
    if (open.size > 0) this.#faults.push(`a stream ended well without ${open.size} of its answers`);
  }

  async redrive(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await insist(this.#slots, (client, options) =>
      client.retryNotifications({ selection: { case: 'ids', value: { ids: [...ids] } } }, options),
    );
  }

  async #cancel(id: string): Promise<void> {
    const { result } = await insist(this.#slots, (client, options) => client.cancelNotification({ id }, options));
    this.cancels.set(id, result);
  }

  #noteResult(order: Order, result: SendResult | undefined): void {
    if (result?.result.case === 'accepted') this.#note(order, result.result.value);
    else this.#faults.push(`${order.key} has no answer in its batch`);
  }

  #note(order: Order, answer: SendNotificationResponse): readonly string[] {
    this.answers++;
    const ids = answer.notifications.map(({ id }) => id);
    for (const id of ids) this.accepted.set(id, order);
    const wanted = order.request.notification?.channels?.length;
    if (ids.length !== wanted) this.#faults.push(`${order.key} asked for ${wanted} channels and has ${ids.length}`);
    const all = ids.join(' ');
    if ((this.#idsByKey.get(order.key) ?? all) !== all) this.#faults.push(`${order.key} was accepted twice`);
    this.#idsByKey.set(order.key, all);
    return ids;
  }
}

/** The items of a batch fail one by one: one that failed makes the whole batch be sent again, or be given up. */
function allAnswered(results: readonly SendResult[]): readonly SendResult[] {
  for (const { result } of results) {
    if (result.case === 'error') throw new ConnectError(result.value.reason, result.value.code);
  }
  return results;
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}
