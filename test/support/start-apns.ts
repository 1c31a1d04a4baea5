import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { constants, createSecureServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { listen } from './listen.ts';

const fixture = (name: string): string =>
  readFileSync(new URL(`../providers/fixtures/${name}`, import.meta.url), 'utf8');

/** Of the server below: what a client must trust. */
export const CERTIFICATE = fixture('localhost-cert.pem');

export interface ApnsRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** Numbers the connections that came. */
  readonly connection: number;
}

export interface ApnsAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/**
 * `hang` never answers; `reset` breaks the connection; `refuse` refuses the stream, and `go_away` ends the connection, both
 * as not processed. Not for the first request of a connection: `go_away`. `go_for_good`: the same, and nobody can connect
 * any more.
 */
export type ApnsReaction = ApnsAnswer | 'hang' | 'reset' | 'refuse' | 'go_away' | 'go_for_good';

export interface StartedApns extends AsyncDisposable {
  readonly url: string;
  readonly requests: readonly ApnsRequest[];
  /** Set before anyone connects: takes connections and is silent, so that TLS never stands. */
  deaf: boolean;
  /** Asked once the whole request is there. */
  react: (request: ApnsRequest) => ApnsReaction;
  /** Resolves when somebody has connected. */
  connected(): Promise<void>;
  /** Resolves when so many requests have arrived whole. */
  arrived(count: number): Promise<void>;
}

/** A real HTTP/2 server over TLS, and nothing but HTTP/2, as APNs is one. */
export async function startApns(react: StartedApns['react'] = () => ({ status: 200 })): Promise<StartedApns> {
  const requests: ApnsRequest[] = [];
  const waiting = new Set<() => void>();
  const sockets: Socket[] = [];
  const connections = new Map<unknown, number>();
  const connected = Promise.withResolvers<void>();
  const apns = createSecureServer({ key: fixture('localhost-key.pem'), cert: CERTIFICATE });
  const server = createServer((socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
    if (started.deaf) socket.resume();
    else apns.emit('connection', socket);
    connected.resolve();
  });
  apns.on('session', (session) => {
    connections.set(session, connections.size + 1);
    session.on('error', () => {});
  });
  apns.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', () => {});
    const take = async (): Promise<void> => {
      const body = (await buffer(stream)).toString('utf8');
      const connection = connections.get(stream.session) ?? 0;
      const request = { path: String(headers[':path']), headers, body, connection };
      requests.push(request);
      for (const check of waiting) check();
      const reaction = started.react(request);
      if (reaction === 'go_for_good') server.close();
      if (reaction === 'reset') for (const socket of sockets) socket.resetAndDestroy();
      else answer(stream, reaction);
    };
    // A client that breaks off leaves nothing to answer.
    take().catch(() => stream.close());
  });
  const port = await listen(server);
  const started: StartedApns = {
    url: `https://127.0.0.1:${port}`,
    requests,
    deaf: false,
    react,
    connected: () => connected.promise,
    arrived(count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const check = (): void => {
        if (requests.length < count) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
      return promise;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
  return started;
}

function answer(stream: ServerHttp2Stream, reaction: Exclude<ApnsReaction, 'reset'>): void {
  if (reaction === 'hang') return;
  if (reaction === 'refuse') {
    stream.close(constants.NGHTTP2_REFUSED_STREAM);
    return;
  }
  if (reaction === 'go_away' || reaction === 'go_for_good') {
    // Processed were the streams before: a connection's second request is the first that can be left out.
    stream.session?.goaway(constants.NGHTTP2_NO_ERROR, (stream.id ?? 0) - 2);
    return;
  }
  stream.respond({ ':status': reaction.status, ...reaction.headers });
  stream.end(reaction.body);
}
