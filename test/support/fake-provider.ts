import type { Channel } from '../../src/domain/notification.ts';
import type { Call, Message, Provider, SendResult } from '../../src/providers/provider.ts';

export type Script = (call: FakeCall, n: number) => SendResult | Promise<SendResult>;

export interface FakeCall extends Call {
  readonly message: Message;
}

export const SENT: SendResult = { outcome: 'sent', messageId: 'm-1' };
export const DOWN: SendResult = { outcome: 'temporary_failure', providerDown: true, code: '503' };
export const BUSY: SendResult = { outcome: 'temporary_failure', providerDown: false, code: '451' };
export const UNKNOWN: SendResult = { outcome: 'unknown', code: 'timeout' };

/** A provider that says what a test wants it to say, and keeps its calls. */
export class FakeProvider implements Provider {
  readonly name: string;
  readonly channel: Channel;
  readonly calls: FakeCall[] = [];
  readonly #script: Script;

  constructor(name: string, script: SendResult | Script, channel: Channel = 'email') {
    this.name = name;
    this.channel = channel;
    this.#script = typeof script === 'function' ? script : () => script;
  }

  async send(message: Message, call: Call): Promise<SendResult> {
    const kept = { ...call, message };
    this.calls.push(kept);
    return this.#script(kept, this.calls.length);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
