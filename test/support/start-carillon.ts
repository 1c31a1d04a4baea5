/** The whole service in this process, with the generated client over the wire. */
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { type Client, createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from '@connectrpc/connect-node';
import {
  type Notification,
  type NotificationEvent,
  type NotificationInputSchema,
  Reason,
  Status,
} from '../../gen/carillon/v1/notification_pb.js';
import { NotificationService, type SendNotificationResponse } from '../../gen/carillon/v1/notification_service_pb.js';
import { type BackendConfig, loadConfig } from '../../src/config.ts';
import { startCarillon, type StartOptions } from '../../src/main.ts';
import { eventually, HANG_MS } from './eventually.ts';
import type { PairStore } from './pairs.ts';
import { type RecordedLine, recordEvents } from './record-events.ts';

export type NotificationClient = Client<typeof NotificationService>;
export type NotificationInit = Extract<MessageInitShape<typeof NotificationInputSchema>, { $typeName?: never }>;
export type Protocol = 'gRPC' | 'gRPC-Web' | 'Connect';

export interface TestCarillonOptions extends Omit<StartOptions, 'events'> {
  readonly store: PairStore;
  /** More settings, as `key=value`. */
  readonly set?: readonly string[];
  /** With the time-outs for the store that are served, for tests that take it away. Default: a slow one is waited for. */
  readonly impatient?: boolean;
}

const TEMPLATES = join(import.meta.dirname, '..', '..', 'templates');
const FINAL: ReadonlySet<Status> = new Set([Status.SENT, Status.FAILED, Status.CANCELLED]);

export class TestCarillon implements AsyncDisposable {
  readonly grpcUrl: string;
  readonly httpUrl: string;
  /** What the service logged. */
  readonly lines: readonly RecordedLine[];
  /** Speaks gRPC, without an API key. */
  readonly client: NotificationClient;
  readonly #service: AsyncDisposable;
  readonly #clients: AsyncDisposableStack;
  #stopped: Promise<void> | undefined;

  static async start({ store, set = [], impatient = false, ...options }: TestCarillonOptions): Promise<TestCarillon> {
    const settings = [
      'server.grpc_address=127.0.0.1:0',
      'server.http_address=127.0.0.1:0',
      'server.shutdown_deadline_seconds=5',
      `templates.directory=${TEMPLATES}`,
      ...store.settings,
      ...set,
    ];
    const { events, lines } = recordEvents();
    const config = loadConfig({ set: settings }, {}, tmpdir());
    const backend = impatient ? config.backend : patient(config.backend);
    const carillon = await startCarillon({ ...config, backend }, { ...options, events });
    return new TestCarillon(carillon, lines);
  }

  private constructor(service: Awaited<ReturnType<typeof startCarillon>>, lines: readonly RecordedLine[]) {
    const { grpc, http } = service.addresses ?? {};
    this.#service = service;
    this.lines = lines;
    this.grpcUrl = `http://127.0.0.1:${grpc?.port ?? 0}`;
    this.httpUrl = `http://127.0.0.1:${http?.port ?? 0}`;
    this.#clients = new AsyncDisposableStack();
    this.client = this.connect('gRPC');
  }

  /** Another client with connections of its own. */
  connect(protocol: Protocol, key?: string): NotificationClient {
    return createClient(NotificationService, this.#transport(protocol, key));
  }

  #transport(protocol: Protocol, key?: string): Transport {
    const authorize: Interceptor = (next) => (request) => {
      if (key !== undefined) request.header.set('authorization', `Bearer ${key}`);
      return next(request);
    };
    const interceptors = [authorize];
    if (protocol === 'gRPC') {
      const sessionManager = new Http2SessionManager(this.grpcUrl);
      this.#clients.defer(() => sessionManager.abort());
      return createGrpcTransport({ baseUrl: this.grpcUrl, sessionManager, interceptors });
    }
    const agent = new Agent({ keepAlive: true });
    this.#clients.defer(() => agent.destroy());
    const options = { baseUrl: this.httpUrl, httpVersion: '1.1', nodeOptions: { agent }, interceptors } as const;
    return protocol === 'Connect' ? createConnectTransport(options) : createGrpcWebTransport(options);
  }

  send(notification: NotificationInit, idempotencyKey = ''): Promise<SendNotificationResponse> {
    return this.client.sendNotification({ notification, idempotencyKey });
  }

  /** Sends on one channel; answers the id. */
  async sendOne(notification: NotificationInit): Promise<string> {
    return onlyId(await this.send(notification));
  }

  async get(id: string): Promise<Notification> {
    const { notification } = await this.client.getNotification({ id });
    if (!notification) throw new Error('the answer holds no notification');
    return notification;
  }

  /** Waits for a status; fails at once when the notification has come to another end. */
  until(id: string, status: Status, deadlineMs?: number): Promise<Notification> {
    const ask = async (): Promise<Notification | undefined> => {
      const found = await this.get(id);
      if (found.status === status) return found;
      if (FINAL.has(found.status)) throw new Error(`it ended as ${Status[found.status]} ${Reason[found.reason]}`);
      return undefined;
    };
    return eventually(Status[status], ask, deadlineMs);
  }

  /** Waits until it is PENDING for a reason. */
  untilPending(id: string, reason: Reason): Promise<Notification> {
    return eventually(`PENDING ${Reason[reason]}`, async () => {
      const found = await this.get(id);
      return found.status === Status.PENDING && found.reason === reason && found;
    });
  }

  /** The events after a token, up to the first one that `isLast` accepts. */
  async eventsAfter(afterToken: string, isLast: (event: NotificationEvent) => boolean): Promise<NotificationEvent[]> {
    const stop = AbortSignal.timeout(HANG_MS);
    const events: NotificationEvent[] = [];
    for await (const { event } of this.client.watchNotifications({ afterToken }, { signal: stop })) {
      if (!event) continue;
      events.push(event);
      if (isLast(event)) return events;
    }
    throw new Error('the watch ended before the last event');
  }

  /** Stops the service as a signal would, with its clients still connected. */
  stop(): Promise<void> {
    this.#stopped ??= Promise.resolve(this.#service[Symbol.asyncDispose]());
    return this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#clients.disposeAsync();
    await this.stop();
  }
}

/** A busy machine's store must not be taken for one that is away. */
function patient(backend: BackendConfig): BackendConfig {
  if (backend.kind !== 'cluster') return backend;
  // Not in the configuration, as nobody else has a reason to change it.
  const patience = { timeoutMs: HANG_MS, serverSelectionTimeoutMs: HANG_MS };
  return { ...backend, mongo: { ...backend.mongo, ...patience } };
}

export function onlyId({ notifications }: SendNotificationResponse): string {
  const [first, ...others] = notifications;
  if (!first || others.length > 0) throw new Error(`expected one notification, not ${notifications.length}`);
  return first.id;
}
