import { SECOND } from '../../src/domain/clock.ts';
import { Limiter } from '../../src/pipeline/limit.ts';
import type { RateLimit } from '../../src/pipeline/limit.ts';
import { Quota } from '../../src/pipeline/quota.ts';
import { Router, routeName } from '../../src/pipeline/route.ts';
import type { RouterOptions } from '../../src/pipeline/route.ts';
import type { Provider, Route } from '../../src/providers/provider.ts';
import type { Pipeline } from './fake-pipeline.ts';

/** A circuit opens after so many faults in a row, for so long. */
export const CIRCUIT: RouterOptions['circuit'] = { failures: 5, openMs: 30 * SECOND, maxOpenMs: 300 * SECOND };

export const aRoute = (provider: Provider, more: Partial<Route> = {}): Route => ({ provider, weight: 0, ...more });

/** A router of real limits and circuits, over the same routes for every channel. */
export function openRouter(
  pipeline: Pick<Pipeline, 'storage' | 'clock' | 'events'>,
  routes: readonly Route[],
  more: Partial<RouterOptions> = {},
): Router {
  const { storage, clock, events } = pipeline;
  const limits = routes.flatMap(({ provider, limit }): [string, RateLimit][] =>
    limit ? [[routeName(provider), limit]] : [],
  );
  return new Router({
    routes: () => routes,
    limiter: new Limiter(new Map(limits), storage, clock),
    quota: new Quota(storage, clock, events),
    circuit: CIRCUIT,
    attemptDeadline: 45 * SECOND,
    clock,
    events,
    ...more,
  });
}
