/** The service in a process of its own, which may be killed at any moment. Started by `Slot` alone. */
import { once } from 'node:events';
import { flushCompileCache } from 'node:module';
import { loadConfig } from '../../src/config.ts';
import type { BackendConfig, Config } from '../../src/config.ts';
import { startCarillon } from '../../src/main.ts';
import type { Address } from '../../src/server.ts';
import type { Ports } from '../../src/service.ts';
import { crashAt } from '../support/crash-point.ts';
import type { CrashPoint } from '../support/crash-point.ts';
import { VendorClient } from '../support/crash-provider.ts';
import { scaledClock, shortenDelays } from '../support/crash-time.ts';
import type { TimeScale } from '../support/crash-time.ts';

export interface ChildSettings {
  readonly backend: BackendConfig;
  readonly scale: TimeScale;
  readonly vendorPort: number;
  readonly point?: CrashPoint;
}

export interface ChildReady {
  readonly grpcUrl: string;
  readonly httpUrl: string;
}

/** A timer of its own ends an attempt, not the clock: real milliseconds. */
const ATTEMPT_DEADLINE = 1_000;

function configFor({ backend }: ChildSettings): Config {
  const set = [
    'server.grpc_address=127.0.0.1:0',
    'server.http_address=127.0.0.1:0',
    // Without it nobody can call back; the vendor is told the real address by the parent.
    'server.public_url=https://notify.example.com',
    'log.level=error',
  ];
  const config = loadConfig({ set }, {});
  const { worker } = config;
  return {
    ...config,
    backend,
    worker: { ...worker, attemptDeadlineMs: ATTEMPT_DEADLINE },
    // Plans whose every call fails are part of the load: they must not take the provider away from the others.
    circuit: { ...config.circuit, failures: 1_000 },
    retry: { baseMs: 4_000, urgentBaseMs: 1_000, factor: 1.5, capMs: 10_000 },
    // A file of this checkout must not change what is tested.
    templates: { ...config.templates, autoReload: false },
  };
}

const decorate =
  ({ scale, point }: ChildSettings, vendor: VendorClient) =>
  (ports: Ports): Ports => {
    const scaled: Ports = {
      ...ports,
      queue: shortenDelays(ports.queue, scale.factor),
      routes: (channel) => vendor.providers(channel).map((provider) => ({ provider, weight: 0 })),
    };
    return point ? crashAt(point)(scaled) : scaled;
  };

// Node does so when a process ends, which a killed one does not.
flushCompileCache();
// Without its parent nobody would end it.
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
const [message]: unknown[] = await once(process, 'message');
// Sent by `Slot`.
const settings = message as ChildSettings;
const vendor = await VendorClient.connect(settings.vendorPort);
const carillon = await startCarillon(configFor(settings), {
  decorate: decorate(settings, vendor),
  clock: scaledClock(settings.scale),
});
const { addresses } = carillon;
if (!addresses) throw new Error('a service listens');
const urlOf = ({ host, port }: Address): string => `http://${host}:${port}`;
process.send?.({ grpcUrl: urlOf(addresses.grpc), httpUrl: urlOf(addresses.http) } satisfies ChildReady);
await once(process, 'SIGTERM');
await carillon[Symbol.asyncDispose]();
vendor.end();
process.disconnect?.();
