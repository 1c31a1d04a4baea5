import type { Clock } from '../domain/clock.ts';
import type { Random } from '../domain/id.ts';
import type { Channel, NotificationSpec, RenderedContent } from '../domain/notification.ts';
import { decide } from './decide.ts';
import type { Verdict } from './decide.ts';
import { RenderError } from './render-error.ts';
import { resolve } from './resolve.ts';
import type { ContentCheck, NotificationRequest } from './resolve.ts';

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
  readonly providers: (channel: Channel) => readonly { readonly name: string }[];
  readonly render: (spec: NotificationSpec, now: number) => RenderedContent;
}

/** Takes the decisions of a send and tells them. Stores nothing; bad input is refused as a send refuses it. */
export function explain(tenant: string, request: NotificationRequest, options: ExplainOptions): Explanation[] {
  const { clock, random, checkContent } = options;
  const now = clock.now();
  const ids = { tenant, groupId: random.id(now), ids: request.channels.map(() => random.id(now)) };
  return resolve(request, ids, now, checkContent).map((spec) => explainOne(spec, now, options));
}

function explainOne(spec: NotificationSpec, now: number, options: ExplainOptions): Explanation {
  const providers = options.providers(spec.channel).map((provider) => provider.name);
  const verdict = decide(spec, { now, hasProvider: providers.length > 0 });
  const base = { channel: spec.channel, providers };
  try {
    return { ...base, verdict, rendered: options.render(spec, now) };
  } catch (thrown) {
    if (!(thrown instanceof RenderError)) throw thrown;
    const failed: Verdict = { verdict: 'fail', reason: 'render_failed', layer: 'content' };
    return { ...base, verdict: verdict.verdict === 'send' ? failed : verdict, detail: thrown.message };
  }
}
