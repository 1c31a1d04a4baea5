import type { Message } from '../../src/providers/provider.ts';
import { startSilent } from '../support/start-silent.ts';
import type { Behaviour, Rig } from './conformance.ts';

type Called = Pick<Rig<Message>, 'provider' | 'message'>;

interface Served extends AsyncDisposable {
  readonly requests: readonly unknown[];
  arrived(count: number): Promise<void>;
  /** Not given: known only once a request has arrived. */
  connected?(): Promise<void>;
}

/** Of a server that answers each request as the behaviour wants it; for `absent` it is closed here. */
export async function servedRig(
  server: Served,
  behaviour: Behaviour,
  called: Called & Pick<Rig<Message>, 'credentials'>,
): Promise<Rig<Message>> {
  if (behaviour === 'absent') await server[Symbol.asyncDispose]();
  return {
    ...called,
    connected: () => server.connected?.() ?? server.arrived(1),
    arrived: () => server.arrived(1),
    get taken() {
      return server.requests.length;
    },
    async [Symbol.asyncDispose]() {
      await called.provider[Symbol.asyncDispose]();
      if (behaviour !== 'absent') await server[Symbol.asyncDispose]();
    },
  };
}

/** For `silent_before`: over TLS the request goes out after the handshake, which a server that never speaks does not finish. */
export async function silentRig(open: (url: string) => Promise<Called>): Promise<Rig<Message>> {
  const server = await startSilent();
  const called = await open(`https://127.0.0.1:${server.port}`);
  return {
    ...called,
    credentials: [],
    connected: () => server.connected,
    arrived: () => Promise.reject(new Error('nothing can arrive')),
    taken: 0,
    async [Symbol.asyncDispose]() {
      await called.provider[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
