import { once } from 'node:events';
import { loadConfig } from '../config.ts';
import type { Config, ConfigFlags } from '../config.ts';
import { startCarillon } from '../main.ts';
import type { Carillon } from '../main.ts';
import { VERSION } from '../version.ts';
import { faultsOf } from './faults.ts';

/** Runs until SIGTERM or SIGINT. A start that is refused says why, one fault a line, and exits with 1. */
export async function serve(flags: ConfigFlags): Promise<void> {
  const started = await start(flags);
  if (!started) return;
  const { carillon, config } = started;
  tellStarted(carillon, config);

  const stopping = new AbortController();
  const [signal] = await Promise.race(
    ['SIGTERM', 'SIGINT'].map(async (name) => {
      await once(process, name, { signal: stopping.signal });
      return [name];
    }),
  );
  stopping.abort();
  // An orchestrator may say it again; a second Ctrl-C does not wait.
  process.on('SIGTERM', () => {});
  const before = performance.now();
  carillon.events.shutdownStarted(signal ?? '');
  await carillon[Symbol.asyncDispose]();
  carillon.events.shutdownEnded(Math.round(performance.now() - before));
}

async function start(flags: ConfigFlags): Promise<{ carillon: Carillon; config: Config } | undefined> {
  try {
    const config = loadConfig(flags);
    return { carillon: await startCarillon(config), config };
  } catch (thrown) {
    process.stderr.write(`${faultsOf(thrown).join('\n')}\n`);
    process.exitCode = 1;
    return undefined;
  }
}

/** As it comes: one process, no keys, no TLS, and mail that goes nowhere. */
function isFirstDay({ backend, roles, auth, server, routes }: Config): boolean {
  const isWhole = backend.kind !== 'cluster' && roles.includes('api') && roles.includes('worker');
  const isOpen = auth.keys.length === 0 && server.tls === undefined;
  return isWhole && isOpen && routes.email.every(({ provider }) => provider === 'capture');
}

function tellStarted({ addresses, events }: Carillon, config: Config): void {
  const { roles, backend } = config;
  const at = ({ host, port }: { readonly host: string; readonly port: number }): string => `${host}:${port}`;
  const grpc = at(addresses.grpc);
  const http = at(addresses.http);
  events.started({ version: VERSION, roles, backend: backend.kind, grpc, http });
  if (isFirstDay(config)) process.stdout.write(nextSteps(grpc, http));
}

const SAMPLE = {
  notification: {
    type: 'password_reset',
    channels: ['CHANNEL_EMAIL'],
    recipient: { email: 'ada@example.com', first_name: 'Ada' },
    data: { reset_url: 'https://shop.example/reset/1' },
  },
};

function nextSteps(grpc: string, http: string): string {
  const server = http === '127.0.0.1:8080' ? '' : ` --server http://${http}`;
  return [
    '',
    'Carillon is ready. In another terminal, in this folder:',
    '',
    `  npx buf curl --http2-prior-knowledge --protocol grpc -d '${JSON.stringify(SAMPLE)}' http://${grpc}/carillon.v1.NotificationService/SendNotification`,
    `  npx carillon watch${server}`,
    `  npx carillon outbox${server}`,
    '',
    '',
  ].join('\n');
}
