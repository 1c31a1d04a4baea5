/** The providers of a configuration, opened: each with the library it needs, which is loaded only now. */
import type { Clock } from '../domain/clock.ts';
import { CHANNELS, type Channel } from '../domain/notification.ts';
import type { Configured, Senders } from './definition.ts';
import type { Route } from './provider.ts';

/** A provider in its place in a channel's list, with the settings it was given, not yet opened. */
export interface RouteConfig extends Omit<Route, 'provider'> {
  /** Its name. */
  readonly provider: string;
  readonly configured: Configured;
}

export interface RoutesContext {
  readonly senders: Senders;
  /** Where the Internet reaches this service, without a slash at its end; not given: it does not. */
  readonly publicUrl?: string | undefined;
  readonly clock: Clock;
}

/** The opened providers of every channel, in the order of its list. */
export interface Routes extends AsyncDisposable {
  for(channel: Channel): readonly Route[];
}

/**
 * Opens the providers of all routes; a provider that stands in the lists of two channels once for each.
 * @throws what the provider throws that cannot be opened; those opened before it are closed again
 */
export async function openRoutes(
  routes: Readonly<Record<Channel, readonly RouteConfig[]>>,
  context: RoutesContext,
): Promise<Routes> {
  await using opened = new AsyncDisposableStack();
  const byChannel = new Map<Channel, readonly Route[]>();
  for (const channel of CHANNELS) {
    const list: Route[] = [];
    for (const config of routes[channel]) {
      const route = await openRoute(channel, config, context);
      opened.use(route.provider);
      list.push(route);
    }
    byChannel.set(channel, list);
  }
  const owned = opened.move();
  return {
    for: (channel) => byChannel.get(channel) ?? [],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function openRoute(
  channel: Channel,
  { provider: name, configured, ...place }: RouteConfig,
  { senders, publicUrl, clock }: RoutesContext,
): Promise<Route> {
  const callback = publicUrl === undefined ? {} : { callbackUrl: `${publicUrl}/callbacks/${name}` };
  return { ...place, provider: await configured.open({ name, channel, senders, clock, ...callback }) };
}
