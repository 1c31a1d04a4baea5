/** A deliverer on a real store, with providers that say what a test wants. */
import { SECOND } from '../../src/domain/clock.ts';
import { systemRandom } from '../../src/domain/id.ts';
import type { Notification } from '../../src/domain/notification.ts';
import { Deliverer } from '../../src/pipeline/deliver.ts';
import type { Delivered, DelivererOptions } from '../../src/pipeline/deliver.ts';
import { hintFor } from '../../src/pipeline/dispatch.ts';
import { Limiter } from '../../src/pipeline/limit.ts';
import type { RateLimit } from '../../src/pipeline/limit.ts';
import type { EmailMessage, Provider, Route } from '../../src/providers/provider.ts';
import { FakeJob } from './fake-queue.ts';
import { aRoute, openRouter } from './fake-router.ts';
import { openPipeline } from './fake-pipeline.ts';
import type { Pipeline, PipelineFaults } from './fake-pipeline.ts';
import { DEFAULT_BACKOFF, aRendered } from './sample.ts';

export const LEASE = 75 * SECOND;

export interface DeliverySetup extends PipelineFaults, Partial<Pick<DelivererOptions, 'render' | 'signal'>> {
  readonly providers: readonly (Provider | Route)[];
  readonly limit?: RateLimit;
  /** Of the real clock, as the abort of an attempt is a real timer. Default: none in a test's time. */
  readonly attemptDeadline?: number;
}

export interface Delivery extends Pipeline {
  readonly deliverer: Deliverer;
  /** Stores a new row without telling anybody. */
  insert(row: Notification): Promise<Notification>;
  /** Hands out a job for the row as the store has it now. */
  deliver(row: Notification, deliveries?: number): Promise<Delivered>;
}

function aMessage({ spec, state }: Notification, target: number): EmailMessage {
  const { id: notificationId, type, tenant, priority } = spec;
  const to = state.targets[target]?.address ?? '';
  const empty = { cc: [], bcc: [], headers: {}, attachments: [] };
  return { channel: 'email', notificationId, type, tenant, priority, to, subject: 'Hello', ...empty };
}

export async function openDelivery(setup: DeliverySetup): Promise<Delivery> {
  const pipeline = await openPipeline(setup);
  const { clock, storage } = pipeline;
  const limits = new Map(setup.limit ? [['email', setup.limit] as const] : []);
  const routesOf = (): Route[] => setup.providers.map((one) => ('provider' in one ? one : aRoute(one)));
  const deliverer = new Deliverer({
    ...pipeline,
    limiter: new Limiter(limits, storage, clock),
    router: openRouter(pipeline, routesOf(), { routes: routesOf }),
    suppressFrom: (row, provider, target, result) => pipeline.receipts.suppressFrom(row, provider, target, result),
    onSettled: ({ spec }) => pipeline.receipts.applyTo([spec.id]),
    render: setup.render ?? (() => aRendered()),
    compose: async (row, _rendered, target) => aMessage(row, target),
    random: systemRandom,
    backoff: DEFAULT_BACKOFF,
    attemptDeadline: setup.attemptDeadline ?? 45 * SECOND,
    lease: LEASE,
    signal: setup.signal ?? new AbortController().signal,
  });
  return {
    ...pipeline,
    deliverer,
    async insert(row) {
      await storage.insert([row]);
      return row;
    },
    async deliver(row, deliveries = 1) {
      const found = await pipeline.stored(row.spec.id);
      return deliverer.deliver(new FakeJob(hintFor(found), deliveries), found);
    },
  };
}
