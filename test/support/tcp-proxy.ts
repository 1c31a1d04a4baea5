/** A TCP proxy between a client and a server that can misbehave as networks do. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { listen } from './listen.ts';

/**
 * `pass` forwards; `reset` ends every connection, and each new one, with RST; `black-hole` takes everything and forwards
 * nothing, until it passes again; `forget` does so with the connections that stand, and forwards new ones; `answers-lost`
 * forwards to the server alone and drops what that says.
 */
export type ProxyMode = 'pass' | 'reset' | 'black-hole' | 'forget' | 'answers-lost';

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  mode(mode: ProxyMode): void;
}

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  let current: ProxyMode = 'pass';
  const sockets = new Set<Socket>();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // What went wrong on one side is told to the other by closing it.
    socket.on('error', () => socket.destroy());
    if (current === 'black-hole') socket.pause();
  };
  const server = createServer((client) => {
    if (current === 'reset') return void client.resetAndDestroy();
    const upstream = connect(targetPort, '127.0.0.1');
    join(client, upstream, () => true);
    join(upstream, client, () => current !== 'answers-lost');
    track(client);
    track(upstream);
  });
  const port = await listen(server);
  return {
    port,
    mode(mode) {
      current = mode;
      for (const socket of sockets) {
        if (mode === 'reset') socket.resetAndDestroy();
        else if (mode === 'black-hole' || mode === 'forget') socket.pause();
        else socket.resume();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function join(from: Socket, to: Socket, forwards: () => boolean): void {
  from.on('data', (chunk) => forwards() && to.write(chunk));
  from.once('close', () => to.destroy());
}
