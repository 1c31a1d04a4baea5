/**
 * Every provider, by the name it has in the configuration. A module, and with it the library it needs, is loaded only when
 * a route names it. A new provider costs its own file, its test and one line in this table.
 */
import { invalidField } from '../errors.ts';
import { CHANNELS, type Channel } from '../domain/notification.ts';
import type { SmtpOptions } from './email/smtp.ts';
import type { Provider } from './provider.ts';
import type { WebhookOptions } from './webhook/http.ts';

type Open = (channel: Channel, options: unknown) => Provider;

interface Entry {
  readonly channels: readonly Channel[];
  readonly load: () => Promise<Open>;
}

/**
 * The configuration has checked the options against the provider's own keys; here, where a name picks the provider, their
 * type is only given back.
 */
const PROVIDERS: Readonly<Record<string, Entry>> = {
  smtp: {
    channels: ['email'],
    load: async () => {
      const { createSmtp } = await import('./email/smtp.ts');
      return (_channel, options) => createSmtp(options as SmtpOptions);
    },
  },
  http: {
    channels: ['webhook'],
    load: async () => {
      const { createWebhook } = await import('./webhook/http.ts');
      return (_channel, options) => createWebhook(options as WebhookOptions);
    },
  },
  store: {
    channels: ['in_app'],
    load: async () => {
      const { createInApp } = await import('./in-app/store.ts');
      return () => createInApp();
    },
  },
  capture: {
    channels: CHANNELS,
    load: async () => {
      const { createCapture } = await import('./capture.ts');
      return (channel) => createCapture(channel);
    },
  },
};

/** The names a route of the channel may use. */
export function providersFor(channel: Channel): readonly string[] {
  return Object.keys(PROVIDERS).filter((name) => PROVIDERS[name]?.channels.includes(channel));
}

export interface RouteEntry {
  readonly provider: string;
  readonly options: unknown;
}

/** The opened providers of every channel, in the order in which they are tried. */
export interface Routes extends AsyncDisposable {
  for(channel: Channel): readonly Provider[];
}

/**
 * Opens the providers of all routes.
 * @throws CarillonError INVALID_FIELD for a provider that does not exist or does not serve the channel; those opened
 * before it are closed again.
 */
export async function openProviders(routes: Readonly<Record<Channel, readonly RouteEntry[]>>): Promise<Routes> {
  await using opened = new AsyncDisposableStack();
  const byChannel = new Map<Channel, Provider[]>();
  for (const channel of CHANNELS) {
    const providers: Provider[] = [];
    for (const route of routes[channel]) {
      providers.push(opened.use(await openOne(channel, route)));
    }
    byChannel.set(channel, providers);
  }
  const owned = opened.move();
  return {
    for: (channel) => byChannel.get(channel) ?? [],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function openOne(channel: Channel, route: RouteEntry): Promise<Provider> {
  const names = providersFor(channel);
  const entry = names.includes(route.provider) ? PROVIDERS[route.provider] : undefined;
  if (entry === undefined) {
    throw invalidField(
      `routes.${channel}`,
      `no provider '${route.provider}' for this channel, only ${names.join(', ')}`,
    );
  }
  const open = await entry.load();
  return open(channel, route.options);
}
