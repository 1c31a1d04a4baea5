import type { ApiKeyConfig, BackendConfig, Config, RateLimitConfig, TlsConfig } from '../config.ts';
import { DAY, HOUR, SECOND } from '../domain/clock.ts';
import { CHANNELS } from '../domain/notification.ts';
import type { RetryPolicy } from '../domain/notification.ts';
import { routesOf, sendersOf } from './providers.ts';
import { parseAddress } from './value.ts';
import type { Address } from './value.ts';
import type { Values } from './values.ts';

/** Turns checked values into the configuration. Reads every key; a test holds that none is left out. */
export function toConfig(v: Values): Config {
  const webhookRetry = webhookRetryOf(v);
  return {
    roles: v.words('role', ['api', 'worker', 'scheduler']),
    server: serverOf(v),
    auth: { keys: v.tables('auth.keys').map(apiKeyOf) },
    backend: backendOf(v),
    maxJobsPerLane: v.number('queue.max_jobs_per_lane'),
    feed: {
      retentionMs: v.number('feed.retention_hours') * HOUR,
      maxEvents: v.number('feed.max_events'),
      maxBytes: v.number('feed.max_bytes'),
    },
    limits: { maxOutbox: v.number('limits.max_outbox') },
    worker: workerOf(v),
    retry: {
      baseMs: v.number('retry.base_seconds') * SECOND,
      urgentBaseMs: v.number('retry.urgent_base_seconds') * SECOND,
      factor: v.number('retry.factor'),
      capMs: v.number('retry.cap_seconds') * SECOND,
    },
    retention: {
      settledMs: v.number('retention.settled_days') * DAY,
      contentMs: v.number('retention.content_days') * DAY,
      idempotencyMs: v.number('retention.idempotency_hours') * HOUR,
    },
    templates: { directory: v.string('templates.directory'), autoReload: v.boolean('templates.auto_reload') },
    log: {
      level: v.word('log.level', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
      format: v.word('log.format', ['json', 'pretty']),
    },
    senders: sendersOf(v),
    store: { name: v.string('notifications.store_name'), url: v.string('notifications.store_url') },
    defaultLocale: v.string('notifications.default_locale'),
    routes: routesOf(v),
    circuit: {
      failures: v.number('notifications.circuit.failures'),
      openMs: v.number('notifications.circuit.open_seconds') * SECOND,
      maxOpenMs: v.number('notifications.circuit.max_open_seconds') * SECOND,
    },
    ...(webhookRetry ? { webhookRetry } : {}),
    rateLimits: v.tables('notifications.rate_limits').map(rateLimitOf),
  };
}

function serverOf(v: Values): Config['server'] {
  const tls = tlsOf(v);
  const publicUrl = v.optional('server.public_url')?.replace(/\/+$/, '');
  return {
    grpc: addressOf(v, 'server.grpc_address'),
    http: addressOf(v, 'server.http_address'),
    ...(publicUrl === undefined ? {} : { publicUrl }),
    shutdownDeadlineMs: v.number('server.shutdown_deadline_seconds') * SECOND,
    maxMessageBytes: v.number('server.max_message_bytes'),
    maxStreams: v.number('server.max_streams'),
    ...(tls ? { tls } : {}),
  };
}

function addressOf(v: Values, key: string): Address {
  const address = parseAddress(v.string(key));
  if (!address) throw new Error(`${key} was not checked`);
  return address;
}

function tlsOf(v: Values): TlsConfig | undefined {
  const cert = v.optional('server.tls.cert_file');
  const key = v.optional('server.tls.key_file');
  const clientCa = v.optional('server.tls.client_ca_file');
  if (cert === undefined || key === undefined) return undefined;
  return { cert, key, ...(clientCa === undefined ? {} : { clientCa }) };
}

const apiKeyOf = (entry: Values): ApiKeyConfig => ({
  name: entry.string('name'),
  tenant: entry.string('tenant'),
  sha256: entry.string('sha256').toLowerCase(),
  scopes: entry.words('scopes', ['send', 'read', 'templates', 'admin']),
});

const rateLimitOf = (entry: Values): RateLimitConfig => ({
  channel: entry.word('channel', CHANNELS),
  maxPerMinute: entry.number('max_per_minute'),
  burst: entry.number('burst'),
});

function backendOf(v: Values): BackendConfig {
  const path = v.string('store.sqlite.path');
  const cluster: BackendConfig = {
    kind: 'cluster',
    mongo: { url: v.string('store.mongo.url'), database: v.string('store.mongo.database') },
    nats: {
      servers: v.strings('queue.nats.servers'),
      replicas: v.number('queue.nats.replicas'),
      ...given({
        user: v.optional('queue.nats.user'),
        password: v.optional('queue.nats.password'),
        token: v.optional('queue.nats.token'),
        creds: v.optional('queue.nats.creds_file'),
        ca: v.optional('queue.nats.ca_file'),
      }),
    },
  };
  if (v.word('queue.kind', ['sqlite', 'jetstream', 'memory']) === 'memory') return { kind: 'memory' };
  return v.word('store.kind', ['sqlite', 'mongo']) === 'sqlite' ? { kind: 'sqlite', path } : cluster;
}

/** Leaves out what is undefined: an absent property and an undefined one are not the same here. */
function given<K extends string>(values: Readonly<Record<K, string | undefined>>): Partial<Record<K, string>> {
  const entries = Object.entries<string | undefined>(values).filter(([, value]) => value !== undefined);
  // The compiler cannot follow a filter through fromEntries; the keys are those of `values`.
  return Object.fromEntries(entries) as Partial<Record<K, string>>;
}

function workerOf(v: Values): Config['worker'] {
  return {
    attemptDeadlineMs: v.number('worker.attempt_deadline_seconds') * SECOND,
    leaseMs: v.number('worker.lease_seconds') * SECOND,
    concurrency: {
      email: v.number('worker.concurrency.email'),
      sms: v.number('worker.concurrency.sms'),
      push: v.number('worker.concurrency.push'),
      webhook: v.number('notifications.webhooks.max_concurrent'),
      in_app: v.number('worker.concurrency.in_app'),
      slack: v.number('worker.concurrency.slack'),
      discord: v.number('worker.concurrency.discord'),
    },
  };
}

function webhookRetryOf(v: Values): RetryPolicy | undefined {
  const backoff = v.word('notifications.webhooks.retry_policy', ['priority', 'linear', 'exponential']);
  return backoff === 'priority' ? undefined : { backoff, initialDelayMs: 30 * SECOND, maxDelayMs: HOUR };
}
