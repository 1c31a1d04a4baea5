import type { Clock } from '../domain/clock.ts';
import type { Random } from '../domain/id.ts';
import { addressesOf } from '../domain/notification.ts';
import type { Channel, NotificationSpec, RenderedContent } from '../domain/notification.ts';
import { assess } from './decide.ts';
import type { Verdict } from './decide.ts';
import { RenderError } from './render-error.ts';
import { resolve } from './resolve.ts';
import type { ContentCheck, NotificationRequest } from './resolve.ts';
import type { Router } from './route.ts';
import type { Suppressor } from './suppress.ts';

export interface Explanation {
  readonly channel: Channel;
  readonly verdict: Verdict;
  readonly rendered?: RenderedContent;
  /** The providers in the order in which they would be tried. */
  readonly providers: readonly string[];
  /** What could not be rendered. */
  readonly detail?: string;
}

export interface ExplainOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly checkContent: ContentCheck;
  readonly router: Router;
  readonly suppressor: Suppressor;
  readonly render: (spec: NotificationSpec, now: number) => RenderedContent;
}

/** Takes the decisions of a send and tells them. Stores nothing; bad input is refused as a send refuses it. */
export async function explain(
  tenant: string,
  request: NotificationRequest,
  options: ExplainOptions,
): Promise<Explanation[]> {
  const { clock, random, checkContent } = options;
  const now = clock.now();
  const ids = { tenant, groupId: random.id(now), ids: request.channels.map(() => random.id(now)) };
  const specs = resolve(request, ids, now, checkContent);
  return await Promise.all(specs.map((spec) => explainOne(spec, now, options)));
}

async function explainOne(spec: NotificationSpec, now: number, options: ExplainOptions): Promise<Explanation> {
  const addresses = addressesOf(spec.recipient, spec.channel);
  const { verdict, open } = await assess(spec, addresses, now, options);
  const names = open.flatMap((address) => options.router.order(spec, address).map(({ name }) => name));
  const providers = [...new Set(names)];
  const base = { channel: spec.channel, providers };
  try {
    return { ...base, verdict, rendered: options.render(spec, now) };
  } catch (thrown) {
    if (!(thrown instanceof RenderError)) throw thrown;
    const failed: Verdict = { verdict: 'fail', reason: 'render_failed', layer: 'content' };
    return { ...base, verdict: verdict.verdict === 'send' ? failed : verdict, detail: thrown.message };
  }
}
