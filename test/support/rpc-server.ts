import { Agent } from 'node:http';

import { type Client, Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from '@connectrpc/connect-node';

import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/errors_pb.js';
import type { CarillonError } from '../../src/errors.ts';
import type { CallContext } from '../../src/rpc/handler.ts';
import type { Readiness } from '../../src/rpc/health.ts';
import { type Server, type ServerOptions, startServer } from '../../src/server.ts';
import { type NotificationHandlers, notifications } from './rpc-notifications.ts';

/** Every way to call the service; bidirectional streams need HTTP/2, which in clear text only gRPC has. */
export const PROTOCOLS = ['gRPC', 'gRPC-Web', 'Connect', 'Connect with JSON'] as const;
export type ProtocolName = (typeof PROTOCOLS)[number];

export interface Reported {
  readonly context: CallContext | undefined;
  readonly error: CarillonError;
}

export interface RpcServer extends AsyncDisposable {
  readonly server: Server;
  /** What the server told `onError`. */
  readonly reported: Reported[];
  readonly grpcUrl: string;
  /** As plain gRPC clients name it. */
  readonly grpcTarget: string;
  readonly httpUrl: string;
  transport(protocol: ProtocolName): Transport;
  client(protocol: ProtocolName): Client<typeof NotificationService>;
}

export const alwaysReady: Readiness = { ready: true, subscribe: () => {} };

/** A server on free ports with clients for each protocol; disposing it ends both sides. */
export async function startRpc(
  handlers: Partial<NotificationHandlers> = {},
  options: Partial<ServerOptions> = {},
): Promise<RpcServer> {
  const reported: Reported[] = [];
  const server = await startServer({
    grpc: { host: '127.0.0.1', port: 0 },
    http: { host: '127.0.0.1', port: 0 },
    services: [notifications(handlers)],
    readiness: alwaysReady,
    onError: (context, error) => reported.push({ context, error }),
    ...options,
  });
  const { grpc, http } = server.addresses;
  const grpcUrl = `http://127.0.0.1:${grpc.port}`;
  const httpUrl = `http://127.0.0.1:${http.port}`;
  const sessionManager = new Http2SessionManager(grpcUrl);
  const agent = new Agent({ keepAlive: true });
  const web = { baseUrl: httpUrl, httpVersion: '1.1', nodeOptions: { agent } } as const;
  const transports: Record<ProtocolName, Transport> = {
    gRPC: createGrpcTransport({ baseUrl: grpcUrl, sessionManager }),
    'gRPC-Web': createGrpcWebTransport(web),
    Connect: createConnectTransport({ ...web, useBinaryFormat: true }),
    'Connect with JSON': createConnectTransport({ ...web, useBinaryFormat: false }),
  };
  return {
    server,
    reported,
    grpcUrl,
    grpcTarget: `127.0.0.1:${grpc.port}`,
    httpUrl,
    transport: (protocol) => transports[protocol],
    client: (protocol) => createClient(NotificationService, transports[protocol]),
    async [Symbol.asyncDispose]() {
      sessionManager.abort();
      agent.destroy();
      await server.close(0);
    },
  };
}

/** What a caller learns from an error, in a form that can be compared. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly reason: string | undefined;
  readonly domain: string | undefined;
  readonly metadata: Record<string, string> | undefined;
  readonly fields: string[];
  readonly retryDelay: { seconds: bigint; nanos: number } | undefined;
}

/** The error that a call or a stream ends with; fails where it ends well. */
export async function failureOf(call: Promise<unknown> | AsyncIterable<unknown>): Promise<Failure> {
  try {
    if (Symbol.asyncIterator in call) await collect(call);
    else await call;
  } catch (thrown) {
    return told(ConnectError.from(thrown));
  }
  throw new Error('the call was expected to fail');
}

function told(error: ConnectError): Failure {
  const info = error.findDetails(ErrorInfoSchema)[0];
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    code: Code[error.code],
    message: error.rawMessage,
    reason: info?.reason,
    domain: info?.domain,
    metadata: info?.metadata,
    fields: error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations.map(({ field }) => field)),
    retryDelay: delay && { seconds: delay.seconds, nanos: delay.nanos },
  };
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
