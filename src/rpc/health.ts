/** grpc.health.v1: one readiness for the process and for each of its services. */
import { status as codes } from '@grpc/grpc-js';

import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../gen/health/v1/health_pb.js';
import { orAborted } from './abort.ts';
import { implement, type ServiceImplementation } from './handler.ts';
import { ProtocolError } from './status.ts';

/** Whether the API can take calls; for the API that is whether the store answers. */
export interface Readiness {
  readonly ready: boolean;
  /** Calls `listener` after each change of `ready` until the signal is aborted. The listener does not throw. */
  subscribe(listener: () => void, signal: AbortSignal): void;
}

/** @param services full names of the services besides '', which stands for the whole process */
export function healthService(readiness: Readiness, services: readonly string[]): ServiceImplementation {
  const names = new Set(['', ...services]);
  const current = (): ServingStatus => (readiness.ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING);

  return implement(Health, {
    async check({ service }) {
      if (!names.has(service)) throw new ProtocolError(codes.NOT_FOUND, `unknown service ${service}`);
      return { status: current() };
    },

    async list() {
      return { statuses: Object.fromEntries([...names].map((name) => [name, { status: current() }])) };
    },

    /** An unknown service is answered as such and the stream stays open, as the specification wants it. */
    async *watch({ service }, { signal }) {
      const statusOf = (): ServingStatus => (names.has(service) ? current() : ServingStatus.SERVICE_UNKNOWN);
      let changed = Promise.withResolvers<void>();
      readiness.subscribe(() => changed.resolve(), signal);
      for (let last: ServingStatus | undefined; ;) {
        const status = statusOf();
        if (status !== last) yield { status };
        last = status;
        await orAborted(changed.promise, signal);
        changed = Promise.withResolvers<void>();
      }
    },
  });
}
