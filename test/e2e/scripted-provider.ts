import type { Channel } from '../../src/domain/notification.ts';
import type { Call, Message, Provider, SendResult } from '../../src/providers/provider.ts';
import type { Ports } from '../../src/service.ts';

export interface ProviderCall {
  readonly message: Message;
  readonly key: string;
}

export interface ScriptedProvider extends Provider {
  readonly calls: readonly ProviderCall[];
}

/** A provider that keeps its calls and answers what the script says; `turn` counts its calls from 1. */
export function scriptedProvider(
  channel: Channel,
  name: string,
  script: (message: Message, turn: number, call: Call) => SendResult | Promise<SendResult>,
): ScriptedProvider {
  const calls: ProviderCall[] = [];
  return {
    name,
    channel,
    calls,
    async send(message, call) {
      calls.push({ message, key: call.key });
      return script(message, calls.length, call);
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** Puts these providers, in this order, in the place of their channel's. */
export function through(...providers: readonly Provider[]): (ports: Ports) => Ports {
  return (ports) => ({
    ...ports,
    routes: (channel) => {
      const ours = providers.filter((provider) => provider.channel === channel);
      return ours.length > 0 ? ours.map((provider) => ({ provider, weight: 0 })) : ports.routes(channel);
    },
  });
}

export const SENT: SendResult = { outcome: 'sent' };
export const DOWN: SendResult = { outcome: 'temporary_failure', providerDown: true, code: 'ECONNREFUSED' };
export const BUSY: SendResult = { outcome: 'temporary_failure', providerDown: false, code: '451' };
export const LOST: SendResult = { outcome: 'unknown', code: 'no_answer' };

type Script = Parameters<typeof scriptedProvider>[2];

/**
 * Providers of one channel that answer by the type of the notification, so that one service serves many tests. A type that
 * has no script is sent.
 */
export class Playbook {
  readonly providers: readonly [ScriptedProvider, ScriptedProvider];
  readonly #scripts = new Map<string, Script>();

  constructor(channel: Channel) {
    const one = (name: string): ScriptedProvider =>
      scriptedProvider(channel, name, (message, _turn, call) => {
        const script = this.#scripts.get(`${name} ${message.type}`);
        return script ? script(message, this.calls(message.type, name).length, call) : SENT;
      });
    this.providers = [one('first'), one('second')];
  }

  /** Its turn counts the calls of that provider for that type. */
  on(type: string, script: Script, name = 'first'): void {
    this.#scripts.set(`${name} ${type}`, script);
  }

  /** Holds every call for the type until it is let go with an answer. */
  hold(type: string): { release(result: SendResult): void } {
    const answer = Promise.withResolvers<SendResult>();
    this.on(type, (_message, _turn, { signal }) => Promise.race([answer.promise, lostWhen(signal)]));
    return { release: answer.resolve };
  }

  calls(type: string, name = 'first'): readonly ProviderCall[] {
    const provider = this.providers.find((one) => one.name === name);
    return provider?.calls.filter(({ message }) => message.type === type) ?? [];
  }
}

const lostWhen = (signal: AbortSignal): Promise<SendResult> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(LOST), { once: true }));
