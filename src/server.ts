/**
 * The two listeners of the API: gRPC on one port; Connect, gRPC-Web and the plain HTTP pages on the other. Both serve the
 * same services through the same chain, with health and reflection added.
 */
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { createSecureServer, type Http2SecureServer } from 'node:http2';
import { createServer as createNetServer, type AddressInfo, type Server as NetServer, type Socket } from 'node:net';

import { logVerbosity, Server as GrpcServer, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';

import { CarillonError } from './errors.ts';
import { type ApiKey, createAuthenticate } from './rpc/auth.ts';
import { type BoundMethod, Chain } from './rpc/chain.ts';
import { answerUnknown, connectListener, type HttpRequest, type HttpResponse } from './rpc/connect.ts';
import { registerGrpc } from './rpc/grpc.ts';
import type { CallContext, ServiceImplementation } from './rpc/handler.ts';
import { healthService, type Readiness } from './rpc/health.ts';
import { reflectionServices } from './rpc/reflection.ts';

export interface Address {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
}

/** PEM texts. */
export interface TlsOptions {
  readonly cert: string;
  readonly key: string;
  /** Authority of the clients' certificates: where it is given, a client without one of its certificates is refused. */
  readonly clientCa?: string;
}

/** Answers a request that is no RPC; false means that there is no such page. Must not throw. */
export type PageHandler = (request: HttpRequest, response: HttpResponse) => boolean;

export interface ServerOptions {
  readonly grpc: Address;
  readonly http: Address;
  readonly tls?: TlsOptions;
  readonly services: readonly ServiceImplementation[];
  readonly readiness: Readiness;
  /** None: every caller may do everything. */
  readonly keys?: readonly ApiKey[];
  readonly pages?: PageHandler;
  /** Open streams of all callers. Default: 10,000. */
  readonly maxStreams?: number;
  /** Size of one request message, in bytes. Default: 16 MiB, which leaves room for 10 MB of attachments in JSON. */
  readonly maxMessageBytes?: number;
  /** Told every INTERNAL error with its cause; `context` is missing where no handler was reached. */
  readonly onError: (context: CallContext | undefined, error: CarillonError) => void;
}

export interface Server extends AsyncDisposable {
  /** The addresses with the ports in use. */
  readonly addresses: { readonly grpc: Address; readonly http: Address };
  /**
   * Takes no more calls, ends open streams with SHUTTING_DOWN and waits for unary calls in flight; after `deadlineMs`
   * milliseconds it cuts the connections that are left. May be called more than once.
   */
  close(deadlineMs: number): Promise<void>;
}

const DEFAULT_MAX_STREAMS = 10_000;
const DEFAULT_MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** A request's headers, then the whole of it, must have arrived within these; an answer may take for ever. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** A peer that vanished without a word is found out, so that its streams end. */
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;
const DISPOSE_DEADLINE_MS = 5_000;

/** A listener that is open. */
interface Listener {
  readonly address: Address;
  /** Stops taking connections and resolves once none is left. */
  drain(): Promise<void>;
  /** Cuts every connection. */
  cut(): void;
}

/** A port cannot be had; the message names listener and address. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

/** Opens both listeners. Rejects with one ListenError that names the address when a port cannot be had; nothing is open then. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const draining = new AbortController();
  const chain = new Chain({
    authenticate: createAuthenticate(options.keys ?? []),
    maxStreams: options.maxStreams ?? DEFAULT_MAX_STREAMS,
    draining: draining.signal,
    onError: options.onError,
  });
  const names = options.services.map(({ service }) => service.typeName);
  const health = healthService(options.readiness, names);
  const services = [...options.services, health];
  const reflection = reflectionServices(services.map(({ service }) => service));
  const methods = [...services, ...reflection].flatMap((implementation) =>
    implementation.methods.map((handler) => chain.bind(handler)),
  );
  const http = await listenHttp(options, methods, draining.signal);
  const grpc = await listenGrpc(options, methods).catch(async (thrown: unknown) => {
    await http.drain();
    throw thrown;
  });
  return new RunningServer(grpc, http, draining);
}

class RunningServer implements Server {
  readonly addresses: Server['addresses'];
  readonly #listeners: readonly Listener[];
  readonly #draining: AbortController;
  #drained?: Promise<unknown>;

  constructor(grpc: Listener, http: Listener, draining: AbortController) {
    this.addresses = { grpc: grpc.address, http: http.address };
    this.#listeners = [grpc, http];
    this.#draining = draining;
  }

  async close(deadlineMs: number): Promise<void> {
    this.#draining.abort();
    this.#drained ??= Promise.all(this.#listeners.map((listener) => listener.drain()));
    const timer = setTimeout(() => {
      for (const listener of this.#listeners) listener.cut();
    }, deadlineMs);
    await this.#drained;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(DISPOSE_DEADLINE_MS);
  }
}

async function listenGrpc(options: ServerOptions, methods: readonly BoundMethod[]): Promise<Listener> {
  // grpc-js writes to the console what it also throws.
  setLogVerbosity(logVerbosity.NONE);
  const server = new GrpcServer({
    'grpc.max_receive_message_length': options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  });
  for (const method of methods) registerGrpc(server, method);
  // Takes the connections itself: grpc-js closes its sessions but waits for each peer to close its side, however long.
  const injector = server.createConnectionInjector(grpcCredentials(options.tls));
  const acceptor = createNetServer({ noDelay: true }, (socket) => {
    injector.injectConnection(socket);
  });
  const listener = await listen('gRPC', acceptor, options.grpc);
  return {
    ...listener,
    drain: async () => {
      const sessions = new Promise<void>((resolve, reject) => {
        server.tryShutdown((error) => {
          if (error === undefined) resolve();
          else reject(error);
        });
      });
      await Promise.all([listener.drain(), sessions]);
    },
    cut: () => {
      server.forceShutdown();
      listener.cut();
    },
  };
}

/** Opens a listener that knows its connections. */
async function listen(what: string, server: NetServer, { host, port }: Address): Promise<Listener> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error): void => {
      reject(cannotListen(what, { host, port }, error));
    };
    server.once('error', onError);
    server.listen(port, host, () => {
      server.off('error', onError);
      resolve();
    });
  });
  // A string only for a server on a pipe, which `listen` above never makes.
  const bound = server.address() as AddressInfo;
  return {
    address: { host, port: bound.port },
    drain: () =>
      new Promise((resolve, reject) => {
        server.close((error) => {
          if (error === undefined) resolve();
          else reject(error);
        });
      }),
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function grpcCredentials(tls: TlsOptions | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) };
  const clientCa = tls.clientCa === undefined ? null : Buffer.from(tls.clientCa);
  return ServerCredentials.createSsl(clientCa, [pair], clientCa !== null);
}

function listenHttp(options: ServerOptions, methods: readonly BoundMethod[], draining: AbortSignal): Promise<Listener> {
  return listen('HTTP', createServer(options.tls, requestListener(options, methods, draining)), options.http);
}

type RequestListener = (request: HttpRequest, response: HttpResponse) => void;

/** In clear text HTTP/1.1; under TLS also HTTP/2, by ALPN. */
function createServer(tls: TlsOptions | undefined, listener: RequestListener): HttpServer | Http2SecureServer {
  const limits = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: HEADERS_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelay: KEEPALIVE_MS,
  };
  if (tls === undefined) return createHttpServer(limits, listener);
  const { cert, key, clientCa } = tls;
  const client = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  return createSecureServer({ ...limits, cert, key, ...client, allowHTTP1: true }, listener);
}

function requestListener(
  options: ServerOptions,
  methods: readonly BoundMethod[],
  draining: AbortSignal,
): RequestListener {
  const rpc = connectListener(methods, {
    maxMessageBytes: options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES,
    onError: (thrown) => {
      options.onError(undefined, CarillonError.from(thrown));
    },
  });
  return (request, response) => {
    // Without this a client that kept its connection alive would keep a draining server open.
    if (!('stream' in response)) {
      response.once('close', () => {
        if (draining.aborted) request.socket.destroySoon();
      });
    }
    if (rpc(request, response) || options.pages?.(request, response) === true) return;
    answerUnknown(request, response);
  };
}

function cannotListen(listener: string, { host, port }: Address, cause: Error): ListenError {
  const why = cause.message.includes('EADDRINUSE') ? 'the port is in use' : cause.message;
  return new ListenError(`cannot listen for ${listener} on ${host}:${port}: ${why}`, { cause });
}
