/** Wires the pipeline and the servers to the ports they are given, and takes it all down again in order. */
import { randomBytes } from 'node:crypto';
import type { Config } from './config.ts';
import { systemClock } from './domain/clock.ts';
import type { Clock } from './domain/clock.ts';
import { systemRandom } from './domain/id.ts';
import type { Random } from './domain/id.ts';
import { CHANNELS } from './domain/notification.ts';
import type { Channel, NotificationSpec, RenderedContent } from './domain/notification.ts';
import type { Events } from './events.ts';
import type { Feed } from './feed/feed.ts';
import { createCallbacks } from './http/callbacks.ts';
import { Acceptor } from './pipeline/accept.ts';
import { Deliverer } from './pipeline/deliver.ts';
import { Dispatcher } from './pipeline/dispatch.ts';
import { Limiter } from './pipeline/limit.ts';
import type { RateLimit } from './pipeline/limit.ts';
import { toMessage } from './pipeline/message.ts';
import { Publisher } from './pipeline/publish.ts';
import { Quota } from './pipeline/quota.ts';
import { Receipts } from './pipeline/receipts.ts';
import type { Renderer } from './pipeline/render.ts';
import { Retention } from './pipeline/retention.ts';
import { Router, destinationOf, routeName } from './pipeline/route.ts';
import { Rows } from './pipeline/rows.ts';
import { Scheduler } from './pipeline/scheduler.ts';
import { Suppressor } from './pipeline/suppress.ts';
import { WatchHub } from './pipeline/watch.ts';
import { Worker } from './pipeline/worker.ts';
import type { Route } from './providers/provider.ts';
import type { Queue } from './queue/queue.ts';
import { Readiness } from './readiness.ts';
import type { ServiceImplementation } from './rpc/handler.ts';
import { createNotificationService } from './rpc/notification-service.ts';
import { createPreferenceService } from './rpc/preference-service.ts';
import { createVerificationService } from './rpc/verification-service.ts';
import { startServer } from './server.ts';
import type { PageHandler, Server, ServerOptions } from './server.ts';
import type { Storage } from './storage/storage.ts';

export interface Ports {
  readonly storage: Storage;
  readonly queue: Queue;
  readonly feed: Feed;
  readonly routes: (channel: Channel) => readonly Route[];
}

export interface ServiceOptions {
  readonly config: Config;
  /** Stay open until the service is closed; whoever opened them disposes of them. */
  readonly ports: Ports;
  readonly renderer: Renderer;
  readonly events: Events;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface Service {
  /** Where the API listens; without the role `api` only health and reflection answer there. */
  readonly addresses: Server['addresses'];
  /** Stops intake, finishes or gives back what is in flight, publishes what is known; ends within the deadline. */
  close(deadlineMs: number): Promise<void>;
}

/** What every role builds on. */
interface Core {
  readonly clock: Clock;
  readonly random: Random;
  readonly publisher: Publisher;
  readonly rows: Rows;
  readonly dispatcher: Dispatcher;
  readonly limiter: Limiter;
  readonly router: Router;
  readonly suppressor: Suppressor;
  readonly receipts: Receipts;
}

/** Of the deadline of a shutdown, the part after which provider calls are aborted. */
const PATIENCE = 0.6;

export async function startService(options: ServiceOptions): Promise<Service> {
  const { config, ports, events } = options;
  const { storage, queue, feed } = ports;
  // Taken down in the opposite order, also when a later part cannot start.
  await using starting = new AsyncDisposableStack();
  const core = await openCore(options, starting);
  const { clock } = core;
  const has = (role: Config['roles'][number]): boolean => config.roles.includes(role);
  const hasApi = has('api');
  const services = hasApi
    ? [
        notificationService(options, core, starting.use(new WatchHub(feed))),
        createPreferenceService(core),
        createVerificationService({ smsRoute: () => ports.routes('sms') }),
      ]
    : [];
  // Accepting goes on while the queue is away, so the readiness of the API is the store's alone.
  const checks = hasApi ? [() => storage.ping()] : [() => storage.ping(), () => queue.ping()];
  const readiness = starting.use(new Readiness(checks, clock));
  const impatience = new AbortController();
  if (has('worker')) starting.defer(startWorkers(options, core, impatience.signal));
  if (has('scheduler')) starting.use(startScheduler(options, core));
  const pages = hasApi ? callbacksOf(options, core) : undefined;
  const server = await startServer(serverOptions(config, events, { services, readiness, ...(pages && { pages }) }));
  const running = starting.move();

  return {
    addresses: server.addresses,
    async close(deadlineMs) {
      const timer = setTimeout(() => impatience.abort(), deadlineMs * PATIENCE);
      await server.close(deadlineMs * PATIENCE);
      await running.disposeAsync();
      clearTimeout(timer);
    },
  };
}

/** Builds what every role stands on; `owner` disposes of it. */
async function openCore(options: ServiceOptions, owner: AsyncDisposableStack): Promise<Core> {
  const { config, ports, events, clock = systemClock, random = systemRandom } = options;
  const { storage, queue, feed, routes } = ports;
  const publisher = owner.use(new Publisher({ feed, storage, clock, events }));
  const { maxOutbox } = config.limits;
  const dispatcher = owner.use(new Dispatcher({ queue, storage, clock, events, maxOutbox }));
  const rows = new Rows(storage, publisher);
  const limiter = new Limiter(limitsOf(config, routes), storage, clock);
  const router = new Router({
    routes,
    limiter,
    quota: new Quota(storage, clock, events),
    circuit: config.circuit,
    attemptDeadline: config.worker.attemptDeadlineMs,
    clock,
    events,
  });
  const secret = await storage.sharedSecret('suppressions', randomBytes(32).toString('hex'));
  const suppressor = new Suppressor({ storage, clock, secret });
  const receipts = owner.use(new Receipts({ storage, rows, suppressor, clock, events }));
  return { clock, random, publisher, dispatcher, rows, limiter, router, suppressor, receipts };
}

/** Of the channels by their names, of the providers by their routes'. */
function limitsOf({ rateLimits }: Config, routes: Ports['routes']): ReadonlyMap<string, RateLimit> {
  const ofChannels = rateLimits.map(
    ({ channel, maxPerMinute, burst }) => [channel, { perMinute: maxPerMinute, burst }] as const,
  );
  const ofProviders = CHANNELS.flatMap(routes).flatMap(({ provider, limit }) =>
    limit ? [[routeName(provider), limit] as const] : [],
  );
  return new Map<string, RateLimit>([...ofChannels, ...ofProviders]);
}

function notificationService(
  { config, ports, renderer, events }: ServiceOptions,
  core: Core,
  hub: WatchHub,
): ServiceImplementation {
  const { storage, feed } = ports;
  const checkContent = (spec: NotificationSpec): void => renderer.check(spec);
  const render = (spec: NotificationSpec, now: number): RenderedContent => renderer.render(spec, now);
  const acceptor = new Acceptor({
    ...core,
    storage,
    feed,
    events,
    checkContent,
    keyLife: config.retention.idempotencyMs,
  });
  return createNotificationService({
    ...core,
    acceptor,
    storage,
    hub,
    events,
    explain: { ...core, checkContent, render },
    redrive: { ...core, storage, contentMs: config.retention.contentMs },
  });
}

/** Without a public address no service was told where to call back. */
function callbacksOf({ config, ports, events }: ServiceOptions, core: Core): PageHandler | undefined {
  const { publicUrl } = config.server;
  if (publicUrl === undefined) return undefined;
  const providers = CHANNELS.flatMap(ports.routes).map(({ provider }) => provider);
  return createCallbacks({ ...core, providers, publicUrl, storage: ports.storage, events });
}

function serverOptions(
  { server, auth }: Config,
  events: Events,
  served: Pick<ServerOptions, 'services' | 'readiness' | 'pages'>,
): ServerOptions {
  return {
    ...served,
    grpc: server.grpc,
    http: server.http,
    ...(server.tls && { tls: server.tls }),
    keys: auth.keys,
    maxStreams: server.maxStreams,
    maxMessageBytes: server.maxMessageBytes,
    onError: (context, error) =>
      events.callFailed(
        { method: context?.method ?? '', protocol: context?.protocol ?? '', tenant: context?.tenant ?? '' },
        error,
      ),
  };
}

/** Answers how to stop them: takes no more jobs, waits for those under way, which `impatience` aborts. */
function startWorkers(
  { config, ports, renderer, events }: ServiceOptions,
  core: Core,
  impatience: AbortSignal,
): () => Promise<void> {
  const { storage, queue } = ports;
  const { clock, receipts } = core;
  const hasCallbacks = (channel: Channel): boolean => ports.routes(channel).some(({ provider }) => provider.receive);
  const deliverer = new Deliverer({
    ...core,
    render: (row, now) => renderer.render(row.spec, now),
    compose: async ({ spec, state }, rendered, target) => {
      const attachments = spec.attachmentCount > 0 ? await storage.loadAttachments(spec.id) : [];
      const destination = destinationOf(spec, state.targets[target]?.address ?? '');
      return toMessage(spec, rendered, { ...destination, attachments });
    },
    suppressFrom: (row, provider, target, result) => receipts.suppressFrom(row, provider, target, result),
    onSettled: ({ spec }) => {
      if (hasCallbacks(spec.channel)) receipts.applyTo([spec.id]);
    },
    events,
    backoff: config.retry,
    ...(config.webhookRetry && { webhookRetry: config.webhookRetry }),
    attemptDeadline: config.worker.attemptDeadlineMs,
    lease: config.worker.leaseMs,
    signal: impatience,
  });
  const workers = CHANNELS.map(
    (channel) =>
      new Worker({
        channel,
        concurrency: config.worker.concurrency[channel],
        queue,
        storage,
        deliverer,
        clock,
        events,
      }),
  );
  return async () => {
    await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
    await deliverer.drained();
  };
}

function startScheduler({ config, ports, events }: ServiceOptions, core: Core): Scheduler {
  const { storage, queue } = ports;
  const { settledMs, contentMs } = config.retention;
  return new Scheduler({
    ...core,
    storage,
    queue,
    events,
    retention: new Retention({ ...core, storage, settledMs, contentMs }),
    backoff: config.retry,
    ...(config.webhookRetry && { webhookRetry: config.webhookRetry }),
  });
}
