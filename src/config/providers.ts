/**
 * Providers in the configuration. Their keys come from their own files, so that a new one changes nothing here: each has a
 * section with its settings and, unless it has no limits, those that every place in a channel's list has.
 */
import { CHANNELS, type Channel } from '../domain/notification.ts';
import type { Configured, ProviderDefinition, Senders } from '../providers/definition.ts';
import * as registry from '../providers/registry.ts';
import type { RouteConfig } from '../providers/routes.ts';
import { whole, type Setting, type Settings } from '../providers/settings.ts';
import { schemaOf, type KeySpec, type Schema, type Section, type Value } from './schema.ts';
import type { Values } from './values.ts';

export type ConfiguredRoutes = Readonly<Record<Channel, readonly RouteConfig[]>>;

const DEFINITIONS: readonly ProviderDefinition[] = Object.values(registry);

const LIMITS: Settings = {
  weight: whole(
    'Share of the notifications that go to this provider first, against the other weights of the channel; 0: only in its ' +
      'turn by the list.',
    0,
    [0, 1_000],
  ),
  maxPerMinute: whole(
    'In any minute at most this and burst together are given to it, over all processes. 0: no limit.',
    0,
    [0, 10_000_000],
  ),
  burst: whole('With max_per_minute: how many may be given to it at once.', 1, [1, 10_000_000]),
  maxPerDay: whole(
    'At most so many are given to it on one day (UTC), over all processes. 0: no quota.',
    0,
    [0, 1_000_000_000],
  ),
};

const SENDER_KEYS = [
  'notifications.default_sender_email',
  'notifications.default_sender_name',
  'notifications.default_sms_sender',
] as const;

/** The documented default file, with the sections of the providers and their names in the lists of their channels. */
export function withProviders(schema: Schema, definitions: readonly ProviderDefinition[] = DEFINITIONS): Schema {
  const named = schema.sections.map((section) => ({
    ...section,
    keys: section.keys.map((key) => withNames(key, definitions)),
  }));
  return schemaOf(definitions.reduce<readonly Section[]>(withSection, named));
}

function withNames(key: KeySpec, definitions: readonly ProviderDefinition[]): KeySpec {
  const channel = CHANNELS.find((one) => listKey(one) === key.path);
  if (channel === undefined) return key;
  return { ...key, words: definitions.filter(({ channels }) => channels.includes(channel)).map(({ name }) => name) };
}

/** Behind the last section of its channel; a section that is there already gets the keys and the explanation as well. */
function withSection(sections: readonly Section[], definition: ProviderDefinition): readonly Section[] {
  const keys = keysOf(definition).map(([, path, setting]) => specOf(path, setting));
  if (keys.length === 0) return sections;
  const path = sectionOf(definition);
  const own = sections.findIndex((section) => section.path === path);
  if (own !== -1) {
    return sections.map((section, index) =>
      index === own
        ? { path, doc: `${section.doc} ${definition.doc}`.trim(), keys: [...section.keys, ...keys] }
        : section,
    );
  }
  const parent = path.slice(0, path.lastIndexOf('.'));
  const last = sections.findLastIndex((section) => section.path === parent || section.path.startsWith(`${parent}.`));
  return sections.toSpliced(last + 1, 0, { path, doc: definition.doc, keys });
}

const specOf = (path: string, { kind, fallback, doc, ...rules }: Setting<unknown>): KeySpec => ({
  path,
  kind,
  fallback,
  doc: rules.needed ? `${doc} Needed.` : doc,
  secret: rules.secret ?? false,
  required: false,
  items: [],
  ...(rules.words && { words: rules.words }),
  ...(rules.format && { format: rules.format }),
  ...(rules.range && { range: rules.range }),
});

/** Of each setting its name in the code, its key and itself. */
function keysOf(definition: ProviderDefinition): readonly (readonly [string, string, Setting<unknown>])[] {
  const section = sectionOf(definition);
  const settings = { ...definition.settings, ...(definition.unlimited ? {} : LIMITS) };
  return Object.entries(settings).map(([name, setting]) => [name, `${section}.${snakeCase(name, setting)}`, setting]);
}

const snakeCase = (name: string, { suffix = '' }: Setting<unknown>): string =>
  name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) + suffix;

function sectionOf({ name, channels: [channel], section }: ProviderDefinition): string {
  if (section !== undefined) return section;
  if (channel === undefined) throw new Error(`the provider ${name} has no channel`);
  return `${channelSection(channel)}.${name}`;
}

const channelSection = (channel: Channel): string => `notifications.${channel === 'webhook' ? 'webhooks' : channel}`;
const listKey = (channel: Channel): string => `${channelSection(channel)}.providers`;

/** The providers that a channel's list names, in its order. */
function named(channel: Channel, v: Values): ProviderDefinition[] {
  return v.strings(listKey(channel)).map((name) => {
    const found = DEFINITIONS.find((one) => one.name === name && one.channels.includes(channel));
    if (found === undefined) throw new Error(`${listKey(channel)} was not checked`);
    return found;
  });
}

function configure(definition: ProviderDefinition, v: Values): Configured {
  const paths = new Map(keysOf(definition).map(([name, path]) => [name, path]));
  return definition.configure((name) => v.value(paths.get(name) ?? name));
}

/**
 * What the providers named in the lists cannot work with. The sections of the others have been checked key by key; what
 * they lack is no fault until they are named.
 * @returns one sentence for each fault
 */
export function brokenProviders(v: Values, refused: ReadonlySet<string>): string[] {
  return CHANNELS.flatMap((channel) =>
    refused.has(listKey(channel)) ? [] : named(channel, v).flatMap((definition) => faultsOf(definition, v, refused)),
  );
}

function faultsOf(definition: ProviderDefinition, v: Values, refused: ReadonlySet<string>): readonly string[] {
  const keys = keysOf(definition);
  const missing = keys
    .filter(([, path, { needed }]) => needed && !refused.has(path) && isEmpty(v.value(path)))
    .map(([, path]) => `${path} must be given for the provider ${definition.name}`);
  // A verdict on a value that was refused already would only confuse.
  const sound = ![...keys.map(([, path]) => path), ...SENDER_KEYS].some((path) => refused.has(path));
  return sound ? [...missing, ...configure(definition, v).faults(sendersOf(v))] : missing;
}

const isEmpty = (value: Value): boolean => value === '' || (Array.isArray(value) && value.length === 0);

export function routesOf(v: Values): ConfiguredRoutes {
  const routes = (channel: Channel): readonly RouteConfig[] => named(channel, v).map((one) => routeOf(one, v));
  return {
    email: routes('email'),
    sms: routes('sms'),
    push: routes('push'),
    webhook: routes('webhook'),
    in_app: routes('in_app'),
    slack: routes('slack'),
    discord: routes('discord'),
  };
}

function routeOf(definition: ProviderDefinition, v: Values): RouteConfig {
  const route = { provider: definition.name, configured: configure(definition, v) };
  if (definition.unlimited) return { ...route, weight: 0 };
  const section = sectionOf(definition);
  const perMinute = v.number(`${section}.max_per_minute`);
  const burst = v.number(`${section}.burst`);
  const maxPerDay = v.number(`${section}.max_per_day`);
  return {
    ...route,
    weight: v.number(`${section}.weight`),
    ...(perMinute > 0 && { limit: { perMinute, burst } }),
    ...(maxPerDay > 0 && { maxPerDay }),
  };
}

export function sendersOf(v: Values): Senders {
  const emailAddress = v.optional('notifications.default_sender_email');
  const emailName = v.optional('notifications.default_sender_name');
  const sms = v.optional('notifications.default_sms_sender');
  return {
    ...(emailAddress !== undefined && { emailAddress }),
    ...(emailName !== undefined && { emailName }),
    ...(sms !== undefined && { sms }),
  };
}
