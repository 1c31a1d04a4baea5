import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { listen } from './listen.ts';

export interface ReceivedRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Sends head and body and then never ends. */
  readonly unfinished?: boolean;
}

/** `hang` never answers; `reset` breaks the connection once the whole request is there. */
export type HttpReaction = HttpAnswer | 'hang' | 'reset';

export interface StartedHttp extends AsyncDisposable {
  /** `http://127.0.0.1:port`, without a slash at its end. */
  readonly url: string;
  readonly port: number;
  readonly requests: readonly ReceivedRequest[];
  /** May be set anew at any time; 200 unless given. */
  react: (request: ReceivedRequest) => HttpReaction;
  /** Resolves when so many requests have arrived whole. */
  arrived(count: number): Promise<void>;
}

/** A real HTTP server on a free port that keeps every request and answers as it is told. */
export async function startHttp(react: StartedHttp['react'] = () => ({ status: 200 })): Promise<StartedHttp> {
  const requests: ReceivedRequest[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((incoming, response) => {
    const take = async (): Promise<void> => {
      const { method = '', url = '', headers, rawHeaders } = incoming;
      const request = { method, path: url, headers, rawHeaders, body: (await buffer(incoming)).toString('utf8') };
      requests.push(request);
      for (const check of waiting) check();
      answer(response, started.react(request));
    };
    // A client that breaks off leaves nothing to answer.
    take().catch(() => incoming.destroy());
  });
  const port = await listen(server);
  const started: StartedHttp = {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    react,
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
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return started;
}

function answer(response: ServerResponse, reaction: HttpReaction): void {
  if (reaction === 'hang') return;
  if (reaction === 'reset') {
    response.socket?.resetAndDestroy();
    return;
  }
  response.writeHead(reaction.status, reaction.headers);
  if (reaction.unfinished) response.write(reaction.body ?? ' ');
  else response.end(reaction.body);
}
