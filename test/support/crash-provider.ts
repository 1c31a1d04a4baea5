/** The service's side of the vendor: a provider that tells the vendor everything and believes its answers and reports. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Channel } from '../../src/domain/notification.ts';
import type { ProviderReceipt } from '../../src/domain/receipt.ts';
import type { Provider, Receive, SendResult } from '../../src/providers/provider.ts';
import type { VendorAnswer } from './crash-plans.ts';
import type { VendorCall, VendorReply } from './crash-vendor.ts';

/** How long the vendor's rate limit asks to wait, in the service's milliseconds. */
const RETRY_AFTER = 2_000;

const RESULTS: Readonly<Record<VendorAnswer, SendResult>> = {
  sent: { outcome: 'sent', messageId: 'taken' },
  busy: { outcome: 'temporary_failure', providerDown: false },
  down: { outcome: 'temporary_failure', providerDown: true },
  limited: { outcome: 'rate_limited', retryAfterMs: RETRY_AFTER, recipientOnly: true },
  error: { outcome: 'provider_error' },
  rejected: { outcome: 'permanent_failure' },
  invalid: { outcome: 'invalid_recipient' },
  lost: { outcome: 'unknown' },
  hang: { outcome: 'unknown' },
};

const receive: Receive = async ({ body }) => {
  // Written by the vendor.
  const receipts = JSON.parse(body.toString()) as ProviderReceipt[];
  return { kind: 'genuine', receipts };
};

export class VendorClient {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (result: SendResult) => void>();
  #calls = 0;

  static async connect(port: number): Promise<VendorClient> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new VendorClient(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    createInterface(socket).on('line', (line) => {
      // Written by the vendor.
      const { number, answer } = JSON.parse(line) as VendorReply;
      this.#waiting.get(number)?.(RESULTS[answer]);
    });
  }

  /** Two for each channel, so that there is one to fail over to. */
  providers(channel: Channel): readonly Provider[] {
    return ['first', 'second'].map((name) => ({
      name,
      channel,
      send: ({ notificationId: id, type, to }, { key, signal }) => {
        const call: VendorCall = { number: ++this.#calls, id, type, to, key, provider: name };
        return this.#call(call, signal);
      },
      receive,
      async [Symbol.asyncDispose]() {},
    }));
  }

  async #call(call: VendorCall, signal: AbortSignal): Promise<SendResult> {
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    const giveUp = (): void => resolve({ outcome: 'unknown', code: 'aborted' });
    if (signal.aborted) return { outcome: 'temporary_failure', providerDown: false };
    signal.addEventListener('abort', giveUp, { once: true });
    this.#waiting.set(call.number, resolve);
    this.#socket.write(`${JSON.stringify(call)}\n`);
    const result = await promise;
    this.#waiting.delete(call.number);
    signal.removeEventListener('abort', giveUp);
    return result;
  }

  end(): void {
    this.#socket.destroy();
  }
}
