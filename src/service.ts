/** Wires the pipeline and the servers to the ports they are given, and takes it all down again in order. */
import type { Config } from './config.ts';
import { systemClock } from './domain/clock.ts';
import type { Clock } from './domain/clock.ts';
import { systemRandom } from './domain/id.ts';
import type { Random } from './domain/id.ts';
import { CHANNELS } from './domain/notification.ts';
import type { Channel, NotificationSpec, RenderedContent } from './domain/notification.ts';
import type { Events } from './events.ts';
import type { Feed } from './feed/feed.ts';
import { Acceptor } from './pipeline/accept.ts';
import { Deliverer } from './pipeline/deliver.ts';
import { Dispatcher } from './pipeline/dispatch.ts';
import { Limiter } from './pipeline/limit.ts';
import { toMessage } from './pipeline/message.ts';
import { Publisher } from './pipeline/publish.ts';
import type { Renderer } from './pipeline/render.ts';
import { Retention } from './pipeline/retention.ts';
import { Rows } from './pipeline/rows.ts';
import { Scheduler } from './pipeline/scheduler.ts';
import { WatchHub } from './pipeline/watch.ts';
import { Worker } from './pipeline/worker.ts';
import type { Provider } from './providers/provider.ts';
import type { Queue } from './queue/queue.ts';
import { Readiness } from './readiness.ts';
import type { ServiceImplementation } from './rpc/handler.ts';
import { createNotificationService } from './rpc/notification-service.ts';
import { startServer } from './server.ts';
import type { Server, ServerOptions } from './server.ts';
import type { Storage } from './storage/storage.ts';

export interface Ports {
  readonly storage: Storage;
  readonly queue: Queue;
  readonly feed: Feed;
  readonly providers: (channel: Channel) => readonly Provider[];
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
}

/** Of the deadline of a shutdown, the part after which provider calls are aborted. */
const PATIENCE = 0.6;

export async function startService(options: ServiceOptions): Promise<Service> {
  const { config, ports, events, clock = systemClock, random = systemRandom } = options;
  const { storage, queue, feed } = ports;
  // Taken down in the opposite order, also when a later part cannot start.
  await using starting = new AsyncDisposableStack();
  const publisher = starting.use(new Publisher({ feed, storage, clock, events }));
  const dispatcher = starting.use(
    new Dispatcher({ queue, storage, clock, events, maxOutbox: config.limits.maxOutbox }),
  );
  const core: Core = { clock, random, publisher, dispatcher, rows: new Rows(storage, publisher) };
  const has = (role: Config['roles'][number]): boolean => config.roles.includes(role);
  const hasApi = has('api');
  const services = hasApi ? [notificationService(options, core, starting.use(new WatchHub(feed)))] : [];
  // Accepting goes on while the queue is away, so the readiness of the API is the store's alone.
  const checks = hasApi ? [() => storage.ping()] : [() => storage.ping(), () => queue.ping()];
  const readiness = starting.use(new Readiness(checks, clock));
  const impatience = new AbortController();
  if (has('worker')) starting.defer(startWorkers(options, core, impatience.signal));
  if (has('scheduler')) starting.use(startScheduler(options, core));
  const server = await startServer(serverOptions(config, events, { services, readiness }));
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

function notificationService(
  { config, ports, renderer, events }: ServiceOptions,
  core: Core,
  hub: WatchHub,
): ServiceImplementation {
  const { storage, feed, providers } = ports;
  const { clock, random } = core;
  const checkContent = (spec: NotificationSpec): void => renderer.check(spec);
  const render = (spec: NotificationSpec, now: number): RenderedContent => renderer.render(spec, now);
  const acceptor = new Acceptor({
    ...core,
    storage,
    feed,
    events,
    checkContent,
    hasProvider: (channel) => providers(channel).length > 0,
    keyLife: config.retention.idempotencyMs,
  });
  return createNotificationService({
    ...core,
    acceptor,
    storage,
    hub,
    events,
    explain: { clock, random, checkContent, providers, render },
    redrive: { ...core, storage, contentMs: config.retention.contentMs },
  });
}

function serverOptions(
  { server, auth }: Config,
  events: Events,
  served: Pick<ServerOptions, 'services' | 'readiness'>,
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
  const { storage, queue, providers } = ports;
  const { clock } = core;
  const from = config.senders.email;
  const limits = config.rateLimits.map(
    ({ channel, maxPerMinute, burst }) => [channel, { perMinute: maxPerMinute, burst }] as const,
  );
  const deliverer = new Deliverer({
    ...core,
    limiter: new Limiter(new Map(limits), storage, clock),
    providers,
    render: (row, now) => renderer.render(row.spec, now),
    compose: async ({ spec, state }, rendered, target) => {
      const attachments = spec.attachmentCount > 0 ? await storage.loadAttachments(spec.id) : [];
      const address = state.targets[target]?.address ?? '';
      return toMessage(spec, rendered, { address, attachments }, { ...(from && { from }) });
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
    retention: new Retention({ storage, clock: core.clock, settledMs, contentMs }),
    backoff: config.retry,
    ...(config.webhookRetry && { webhookRetry: config.webhookRetry }),
  });
}
