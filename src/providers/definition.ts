import type { Value } from '../config/schema.ts';
import type { Clock } from '../domain/clock.ts';
import type { Channel } from '../domain/notification.ts';
import type { Provider } from './provider.ts';
import type { Settings, SettingsOf } from './settings.ts';

/** What the configuration says beside a provider's own settings. */
export interface Senders {
  readonly emailAddress?: string;
  /** Also of an address that a provider has of its own, where that comes without a name. */
  readonly emailName?: string;
  /** A number in E.164 form or an alphanumeric name. */
  readonly sms?: string;
}

export interface OpenContext {
  /** Its name in the configuration. */
  readonly name: string;
  readonly channel: Channel;
  readonly senders: Senders;
  /** Where the service calls back; not given: it cannot reach this one (`server.public_url` is empty). */
  readonly callbackUrl?: string;
  readonly clock: Clock;
}

/** A provider with the settings it was given. */
export interface Configured {
  /** What cannot work, one sentence each, without a secret. */
  faults(senders: Senders): readonly string[];
  open(context: OpenContext): Promise<Provider>;
}

export interface ProviderDefinition {
  readonly name: string;
  readonly channels: readonly Channel[];
  /** The section of its settings; `notifications.<channel>.<name>` unless given. */
  readonly section?: string;
  /** Weight, rate limit and quota mean nothing to it. */
  readonly unlimited?: boolean;
  /** For the head of its section in docs/config.md. */
  readonly doc: string;
  readonly settings: Settings;
  /** @param value the checked value of a setting, by its name in the code */
  configure(value: (name: string) => Value): Configured;
}

interface Given<S extends Settings> extends Omit<ProviderDefinition, 'configure' | 'settings'> {
  readonly settings: S;
  /** What the single settings allow but their combination does not. */
  readonly faults?: (settings: SettingsOf<S>, senders: Senders) => readonly string[];
  /** Imports the vendor's library here, not at the head of the file: a start loads those of its own routes only. */
  readonly open: (settings: SettingsOf<S>, context: OpenContext) => Provider | Promise<Provider>;
}

/** Ties a provider's settings to what it is opened with. */
export function defineProvider<S extends Settings>(given: Given<S>): ProviderDefinition {
  const { settings, faults, open, ...rest } = given;
  return {
    ...rest,
    settings,
    configure: (value) => {
      const entries = Object.entries(settings).map(([name, setting]) => [name, setting.read(value(name))]);
      // Each entry was read by its own setting, which is what SettingsOf says.
      const values = Object.fromEntries(entries) as SettingsOf<S>;
      return {
        faults: (senders) => faults?.(values, senders) ?? [],
        open: async (context) => open(values, context),
      };
    },
  };
}
