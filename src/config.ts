/**
 * The configuration: the defaults, then the user's file with ${VARIABLES} put in, then CARILLON_* variables, then flags. The only reader of the environment. Every fault is found before the start is refused.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Channel, RetryPolicy } from './domain/notification.ts';
import type { BackoffOptions } from './domain/retry.ts';
import { FILE_VARIABLE, gather } from './config/layers.ts';
import type { Environment } from './config/layers.ts';
import { brokenProviders, withProviders } from './config/providers.ts';
import type { ConfiguredRoutes } from './config/providers.ts';
import { brokenRules } from './config/rules.ts';
import { parseSchema } from './config/schema.ts';
import type { Schema } from './config/schema.ts';
import type { Address } from './config/value.ts';
import { toConfig } from './config/to-config.ts';
import { Values } from './config/values.ts';

export type Role = 'api' | 'worker' | 'scheduler';
export type Scope = 'send' | 'read' | 'templates' | 'admin';
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Everything is PEM text. */
export interface TlsConfig {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
}

export interface ApiKeyConfig {
  readonly name: string;
  readonly tenant: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly scopes: readonly Scope[];
}

export interface NatsConfig {
  readonly servers: readonly string[];
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
  /** Text of the credentials file. */
  readonly creds?: string;
  /** PEM. */
  readonly ca?: string;
  readonly replicas: number;
}

/** The pairs of store and queue that start; no other can be written down. */
export type BackendConfig =
  | { readonly kind: 'memory' }
  | { readonly kind: 'sqlite'; readonly path: string }
  | {
      readonly kind: 'cluster';
      readonly mongo: { readonly url: string; readonly database: string };
      readonly nats: NatsConfig;
    };

export interface RateLimitConfig {
  readonly channel: Channel;
  readonly maxPerMinute: number;
  readonly burst: number;
}

/** Lengths of time are milliseconds. Frozen, all the way down. */
export interface Config {
  readonly roles: readonly Role[];
  readonly server: {
    readonly grpc: Address;
    readonly http: Address;
    /** Where the Internet reaches `http`, without a slash at its end. */
    readonly publicUrl?: string;
    readonly shutdownDeadlineMs: number;
    readonly maxMessageBytes: number;
    readonly maxStreams: number;
    readonly tls?: TlsConfig;
  };
  readonly auth: { readonly keys: readonly ApiKeyConfig[] };
  readonly backend: BackendConfig;
  readonly maxJobsPerLane: number;
  readonly feed: { readonly retentionMs: number; readonly maxEvents: number; readonly maxBytes: number };
  readonly limits: { readonly maxOutbox: number };
  readonly worker: {
    readonly attemptDeadlineMs: number;
    readonly leaseMs: number;
    readonly concurrency: Readonly<Record<Channel, number>>;
  };
  readonly retry: BackoffOptions;
  readonly retention: { readonly settledMs: number; readonly contentMs: number; readonly idempotencyMs: number };
  readonly templates: { readonly directory: string; readonly autoReload: boolean };
  readonly log: { readonly level: LogLevel; readonly format: 'json' | 'pretty' };
  /** What stands for all providers; each part without the others. */
  readonly senders: { readonly emailAddress?: string; readonly emailName?: string; readonly sms?: string };
  /** What templates call store_name and store_url. */
  readonly store: { readonly name: string; readonly url: string };
  readonly defaultLocale: string;
  /** In the order of fail-over; an empty list is a channel that is switched off. */
  readonly routes: ConfiguredRoutes;
  /** When a provider that fails is left alone, and for how long. */
  readonly circuit: { readonly failures: number; readonly openMs: number; readonly maxOpenMs: number };
  /** For webhooks whose call names no policy; not given: as for every channel. */
  readonly webhookRetry?: RetryPolicy;
  readonly rateLimits: readonly RateLimitConfig[];
}

/** Why the start was refused: every fault, one sentence each, without secrets. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join('\n'));
    this.faults = faults;
  }
}

export interface ConfigFlags {
  /** `--config`: the user's file. Default: the variable CARILLON_CONFIG, else carillon.toml if it is there. */
  readonly config?: string;
  /** `--set`: `key=value`. */
  readonly set?: readonly string[];
  /** `--role`: `api,worker`. */
  readonly role?: string;
}

/** The documented defaults: the file beside this one, in the sources as in what is published, and the providers' own. */
export function defaultSchema(): Schema {
  return withProviders(parseSchema(readFileSync(join(import.meta.dirname, 'carillon.default.toml'), 'utf8')));
}

/**
 * @param directory what relative paths in the configuration are relative to
 * @throws ConfigError with every fault
 */
export function loadConfig(
  flags: ConfigFlags = {},
  environment: Environment = process.env,
  directory: string = process.cwd(),
): Config {
  const readFile = (path: string): string => readFileSync(resolve(directory, path), 'utf8');
  const file = userFile(flags, environment, directory, readFile);
  const { values, refused, faults } = gather(
    defaultSchema(),
    {
      ...(file ? { file } : {}),
      environment,
      flags: [...(flags.set ?? []), ...(flags.role === undefined ? [] : [`role=${flags.role}`])],
    },
    { readFile },
  );
  const reader = new Values(values);
  const all = [...faults, ...brokenRules(reader, refused), ...brokenProviders(reader, refused)];
  if (all.length > 0) throw new ConfigError(all);
  return freeze(toConfig(reader));
}

function userFile(
  flags: ConfigFlags,
  environment: Environment,
  directory: string,
  readFile: (path: string) => string,
): { name: string; text: string } | undefined {
  const named = flags.config ?? environment[FILE_VARIABLE];
  const name = named ?? 'carillon.toml';
  if (named === undefined && !existsSync(resolve(directory, name))) return undefined;
  try {
    return { name, text: readFile(name) };
  } catch (thrown) {
    throw new ConfigError([`the configuration file ${name} cannot be read (${codeOf(thrown)})`]);
  }
}

const codeOf = (thrown: unknown): string =>
  thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown error';

/** Nobody changes the configuration once the service has read it. */
function freeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) if (typeof inner === 'object' && inner !== null) freeze(inner);
  return Object.freeze(value);
}
