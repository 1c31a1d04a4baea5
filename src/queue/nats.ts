/** The one connection to NATS that queue and feed share, and what both need of JetStream. */
import { isDeepStrictEqual } from 'node:util';

import { JetStreamApiError, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type {
  ConsumerConfig,
  ConsumerInfo,
  JetStreamClient,
  JetStreamManager,
  StreamConfig,
  StreamInfo,
} from '@nats-io/jetstream';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node';

import { systemClock } from '../domain/clock.ts';
import { CarillonError } from '../errors.ts';
import type { ErrorReason } from '../errors.ts';

export interface NatsOptions {
  /** `host:port`, or with `nats://` or `tls://` before it; the others of a cluster are learned from these. */
  readonly servers: readonly string[];
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
  /** Text of a credentials file (JWT and seed). */
  readonly creds?: string;
  /** The certificates to trust, PEM text. Turns TLS on. */
  readonly ca?: string;
  /** Told of what went wrong in the background and is tried again, and of events that cannot be read. */
  readonly onProblem: (error: CarillonError) => void;
}

/** Older servers drop settings that they do not know without a word. */
const MINIMUM_VERSION = [2, 11] as const;
/** For an answer of the server, milliseconds. */
export const REQUEST_TIMEOUT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 3_000;
const RECONNECT_WAIT_MS = 250;
/** Two pings without an answer end a connection that the network has swallowed; the client's default is 2 minutes. */
const PING_INTERVAL_MS = 5_000;
const MAX_PINGS_OUT = 2;
const RETRY_MS = 500;

const CONSUMER_NOT_FOUND = 10_014;
const STREAM_NOT_FOUND = 10_059;
const STREAM_NAME_IN_USE = 10_058;

export type StreamSettings = Partial<StreamConfig> & { readonly name: string };
export type ConsumerSettings = Partial<ConsumerConfig> & { readonly durable_name: string };

export class Nats implements AsyncDisposable {
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly onProblem: (error: CarillonError) => void;
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;
  readonly #onDown: (() => void)[] = [];
  readonly #onUp: (() => void)[] = [];
  readonly #setUps: (() => Promise<void>)[] = [];
  #recovering: Promise<void> | undefined;
  #connected = true;

  private constructor(connection: NatsConnection, manager: JetStreamManager, options: NatsOptions) {
    this.connection = connection;
    this.js = jetstream(connection, { timeout: REQUEST_TIMEOUT_MS });
    this.manager = manager;
    this.onProblem = options.onProblem;
    this.#watching = this.#watch();
  }

  /** @throws CarillonError QUEUE_UNAVAILABLE when no server answers, or one without JetStream or too old. */
  static async open(options: NatsOptions): Promise<Nats> {
    const connection = await connectTo(options);
    try {
      checkVersion(connection.info?.version ?? '');
      const manager = await jetstreamManager(connection, { timeout: REQUEST_TIMEOUT_MS });
      return new Nats(connection, manager, options);
    } catch (thrown) {
      await connection.close();
      throw unavailable('QUEUE_UNAVAILABLE', thrown);
    }
  }

  /** False from a lost connection until the next one stands. What is sent between would be lost without an error. */
  get connected(): boolean {
    return this.#connected;
  }

  /** `down` is called when the connection is lost, `up` when the next one stands. */
  onChange(change: { readonly down: () => void; readonly up: () => void }): void {
    this.#onDown.push(change.down);
    this.#onUp.push(change.up);
  }

  /** Does now, and again after each outage, what has to be done as the server may have lost everything. */
  async setUp(step: () => Promise<void>): Promise<void> {
    this.#setUps.push(step);
    await step();
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.connection.status()) {
      if (type === 'disconnect') {
        this.#connected = false;
        for (const listener of this.#onDown) listener();
      } else if (type === 'reconnect') {
        this.#connected = true;
        this.#recovering ??= this.#recover();
        for (const listener of this.#onUp) listener();
      }
    }
  }

  async #recover(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted && this.#connected) {
      try {
        for (const step of this.#setUps) await step();
        break;
      } catch (thrown) {
        this.onProblem(unavailable('QUEUE_UNAVAILABLE', thrown));
        await systemClock.sleep(RETRY_MS, signal);
      }
    }
    this.#recovering = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    if (this.#connected) await this.flush();
    await this.connection.close();
    await this.#watching;
    await this.#recovering;
  }

  /** Brings out the last acknowledgements; without them their jobs come back and are found done. */
  async flush(): Promise<void> {
    const late = new AbortController();
    try {
      await Promise.race([this.connection.flush(), systemClock.sleep(REQUEST_TIMEOUT_MS, late.signal)]);
    } catch (thrown) {
      this.onProblem(unavailable('QUEUE_UNAVAILABLE', thrown));
    } finally {
      late.abort();
    }
  }
}

/** Makes the stream, or brings its settings up to date where the server allows that. */
export async function ensureStream(manager: JetStreamManager, wanted: StreamSettings): Promise<StreamInfo> {
  const found = await unlessMissing(STREAM_NOT_FOUND, manager.streams.info(wanted.name));
  if (!found) {
    try {
      return await manager.streams.add(wanted);
    } catch (thrown) {
      // Another process made it at the same moment.
      if (!hasCode(thrown, STREAM_NAME_IN_USE)) throw thrown;
    }
  } else if (includes(found.config, wanted)) {
    return found;
  }
  return manager.streams.update(wanted.name, wanted);
}

export async function ensureConsumer(
  manager: JetStreamManager,
  stream: string,
  wanted: ConsumerSettings,
): Promise<ConsumerInfo> {
  const found = await unlessMissing(CONSUMER_NOT_FOUND, manager.consumers.info(stream, wanted.durable_name));
  if (found && includes(found.config, wanted)) return found;
  return found ? manager.consumers.update(stream, wanted.durable_name, wanted) : manager.consumers.add(stream, wanted);
}

/** A CarillonError of the port's own reason; the cause stays. */
export function unavailable(reason: ErrorReason, cause: unknown): CarillonError {
  if (cause instanceof CarillonError) return cause;
  return new CarillonError(reason, 'NATS cannot be reached or did not do it', { cause });
}

export function hasCode(thrown: unknown, code: number): boolean {
  return thrown instanceof JetStreamApiError && thrown.code === code;
}

async function connectTo(options: NatsOptions): Promise<NatsConnection> {
  try {
    return await connect({
      ...credentialsOf(options),
      servers: [...options.servers],
      name: 'carillon',
      timeout: CONNECT_TIMEOUT_MS,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_WAIT_MS,
      reconnectJitter: RECONNECT_WAIT_MS,
      // A server that refuses the credentials for a while, such as in a restart, must not end the reconnecting.
      ignoreAuthErrorAbort: true,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: MAX_PINGS_OUT,
      // A stack trace per request costs more than the request.
      noAsyncTraces: true,
    });
  } catch (thrown) {
    throw unavailable('QUEUE_UNAVAILABLE', thrown);
  }
}

function credentialsOf({ servers, user, password, token, creds, ca }: NatsOptions): ConnectionOptions {
  const secure = ca !== undefined || servers.some((server) => server.startsWith('tls://'));
  return {
    ...(user !== undefined && { user }),
    ...(password !== undefined && { pass: password }),
    ...(token !== undefined && { token }),
    ...(creds !== undefined && { authenticator: credsAuthenticator(Buffer.from(creds)) }),
    ...(secure && { tls: ca === undefined ? {} : { ca } }),
  };
}

function checkVersion(version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [least, leastMinor] = MINIMUM_VERSION;
  if (major > least || (major === least && minor >= leastMinor)) return;
  throw new CarillonError('QUEUE_UNAVAILABLE', `nats-server ${version} is too old: 2.11 or newer is needed`);
}

async function unlessMissing<T>(code: number, request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (thrown) {
    if (hasCode(thrown, code)) return undefined;
    throw thrown;
  }
}

function includes(current: object, wanted: object): boolean {
  const now = new Map<string, unknown>(Object.entries(current));
  return Object.entries(wanted).every(([key, value]) => isDeepStrictEqual(now.get(key), value));
}
