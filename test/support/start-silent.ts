import { once } from 'node:events';
import { createServer } from 'node:net';
import { listen } from './listen.ts';

export interface StartedSilent extends AsyncDisposable {
  readonly port: number;
  /** Resolves when somebody has connected. */
  readonly connected: Promise<void>;
}

/**
 * Takes connections and says nothing. Over TLS a request goes out after the handshake, which such a server never finishes:
 * whoever calls it over https has sent nothing.
 */
export async function startSilent(): Promise<StartedSilent> {
  const connected = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    // The client breaks off on purpose.
    socket.on('error', () => {});
    socket.resume();
    connected.resolve();
  });
  const port = await listen(server);
  return {
    port,
    connected: connected.promise,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}
