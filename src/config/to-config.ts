import type {
  ApiKeyConfig,
  BackendConfig,
  Config,
  ProviderRoute,
  RateLimitConfig,
  SmtpConfig,
  TlsConfig,
  WebhookConfig,
} from '../config.ts';
import { DAY, HOUR, SECOND } from '../domain/clock.ts';
import { CHANNELS } from '../domain/notification.ts';
import type { EmailAddress, RetryPolicy } from '../domain/notification.ts';
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
    ...(webhookRetry ? { webhookRetry } : {}),
    rateLimits: v.tables('notifications.rate_limits').map(rateLimitOf),
  };
}

function serverOf(v: Values): Config['server'] {
  const tls = tlsOf(v);
  return {
    grpc: addressOf(v, 'server.grpc_address'),
    http: addressOf(v, 'server.http_address'),
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

function sendersOf(v: Values): Config['senders'] {
  const email = v.optional('notifications.default_sender_email');
  const sms = v.optional('notifications.default_sms_sender');
  return {
    ...(email === undefined ? {} : { email: sender(email, v.optional('notifications.default_sender_name')) }),
    ...(sms === undefined ? {} : { sms }),
  };
}

const sender = (email: string, name: string | undefined): EmailAddress =>
  name === undefined ? { email } : { email, name };

function routesOf(v: Values): Config['routes'] {
  const smtp = { smtp: smtpOf(v, 'smtp'), smtp_fallback: smtpOf(v, 'smtp_fallback') };
  const webhook = webhookOf(v);
  const capture: ProviderRoute = { provider: 'capture', options: {} };
  const captured = (channel: string): ProviderRoute[] =>
    v.words(`notifications.${channel}.providers`, ['capture']).map(() => capture);
  return {
    email: v
      .words('notifications.email.providers', ['capture', 'smtp', 'smtp_fallback'])
      .map((name) => (name === 'capture' ? capture : { provider: 'smtp', options: smtp[name] })),
    sms: captured('sms'),
    push: captured('push'),
    webhook: v
      .words('notifications.webhooks.providers', ['capture', 'http'])
      .map((name) => (name === 'capture' ? capture : { provider: 'http', options: webhook })),
    slack: captured('slack'),
    discord: captured('discord'),
    in_app: v
      .words('notifications.in_app.providers', ['store', 'capture'])
      .map((provider) => ({ provider, options: {} })),
  };
}

function smtpOf(v: Values, name: string): SmtpConfig {
  const key = (rest: string): string => `notifications.email.${name}.${rest}`;
  const fromName = v.optional(key('from_name')) ?? v.optional('notifications.default_sender_name');
  const from = v.optional(key('from_address')) ?? v.string('notifications.default_sender_email');
  const ca = v.optional(key('ca_file'));
  return {
    name,
    host: v.string(key('host')),
    port: v.number(key('port')),
    secure: v.boolean(key('secure')),
    requireTls: v.boolean(key('require_tls')),
    ...given({ username: v.optional(key('username')), password: v.optional(key('password')) }),
    from: sender(from, fromName),
    maxConnections: v.number(key('max_connections')),
    connectionTimeoutMs: v.number(key('connection_timeout_seconds')) * SECOND,
    greetingTimeoutMs: v.number(key('greeting_timeout_seconds')) * SECOND,
    socketTimeoutMs: v.number(key('socket_timeout_seconds')) * SECOND,
    tls: ca === undefined ? {} : { ca },
  };
}

const webhookOf = (v: Values): WebhookConfig => ({
  timeoutMs: v.number('notifications.webhooks.timeout_seconds') * SECOND,
  maxConcurrent: v.number('notifications.webhooks.max_concurrent'),
  secrets: v.strings('notifications.webhooks.secrets'),
  allowPrivate: v.strings('notifications.webhooks.allow_private'),
});

function webhookRetryOf(v: Values): RetryPolicy | undefined {
  const backoff = v.word('notifications.webhooks.retry_policy', ['priority', 'linear', 'exponential']);
  return backoff === 'priority' ? undefined : { backoff, initialDelayMs: 30 * SECOND, maxDelayMs: HOUR };
}
