/** The composition root, which alone knows the adapters: config → open → serve → dispose. */
import type { BackendConfig, Config } from './config.ts';
import { systemClock } from './domain/clock.ts';
import type { Clock } from './domain/clock.ts';
import { createEvents } from './events.ts';
import type { Events } from './events.ts';
import { openLog } from './log.ts';
import { Renderer } from './pipeline/render.ts';
import { loadTemplates } from './pipeline/templates.ts';
import { openRoutes } from './providers/routes.ts';
import { startService } from './service.ts';
import type { Ports, Service } from './service.ts';

/** Storage, queue and feed of one backend, closed together. */
type Backend = Pick<Ports, 'storage' | 'queue' | 'feed'> & AsyncDisposable;

export interface StartOptions {
  /** Puts something between the pipeline and its ports; for tests. */
  readonly decorate?: (ports: Ports) => Ports;
  readonly events?: Events;
  readonly clock?: Clock;
}

export interface Carillon extends AsyncDisposable {
  readonly addresses: Service['addresses'];
  readonly events: Events;
}

/** Opens everything the configuration names and serves until it is disposed of. */
export async function startCarillon(config: Config, options: StartOptions = {}): Promise<Carillon> {
  const events = options.events ?? createEvents(openLog(config.log));
  await using opening = new AsyncDisposableStack();
  const backend = opening.use(await openBackend(config, events));
  const { senders, server } = config;
  const clock = options.clock ?? systemClock;
  const routes = opening.use(await openRoutes(config.routes, { senders, publicUrl: server.publicUrl, clock }));
  const templates = opening.use(
    await loadTemplates(config.templates.directory, {
      ...(config.templates.autoReload && {
        watch: { onFault: (thrown: unknown) => events.templatesFailed(thrown) },
      }),
    }),
  );
  const renderer = new Renderer({
    templates,
    storeName: config.store.name,
    storeUrl: config.store.url,
    defaultLocale: config.defaultLocale,
  });
  const { storage, queue, feed } = backend;
  const ports: Ports = { storage, queue, feed, routes: (channel) => routes.for(channel) };
  const service = await startService({
    config,
    ports: options.decorate?.(ports) ?? ports,
    renderer,
    events,
    ...(options.clock && { clock: options.clock }),
  });
  opening.defer(() => service.close(config.server.shutdownDeadlineMs));
  const owned = opening.move();
  return { addresses: service.addresses, events, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function openBackend(config: Config, events: Events): Promise<Backend> {
  const { backend } = config;
  switch (backend.kind) {
    case 'memory':
      return openEmbedded(':memory:', config, events);
    case 'sqlite':
      return openEmbedded(backend.path, config, events);
    case 'cluster':
      return openCluster(backend, config, events);
  }
}

async function openEmbedded(path: string, { feed, maxJobsPerLane }: Config, events: Events): Promise<Backend> {
  const { openSqlite } = await import('./storage/sqlite/sqlite.ts');
  return openSqlite({
    path,
    retentionMs: feed.retentionMs,
    maxEvents: feed.maxEvents,
    maxPerLane: maxJobsPerLane,
    onProblem: (error) => events.backgroundFailed(error),
  });
}

async function openCluster(
  backend: Extract<BackendConfig, { kind: 'cluster' }>,
  config: Config,
  events: Events,
): Promise<Backend> {
  const { openMongoStorage } = await import('./storage/mongo/mongo.ts');
  const { openJetStream } = await import('./queue/jetstream.ts');
  await using opening = new AsyncDisposableStack();
  const storage = opening.use(await openMongoStorage(backend.mongo));
  const { queue, feed } = opening.use(
    await openJetStream({
      ...backend.nats,
      maxPerLane: config.maxJobsPerLane,
      feedRetentionMs: config.feed.retentionMs,
      feedMaxBytes: config.feed.maxBytes,
      onProblem: (error) => events.backgroundFailed(error),
      onInvalid: (error) => events.invalidJob(error),
    }),
  );
  const owned = opening.move();
  return { storage, queue, feed, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
