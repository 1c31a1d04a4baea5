import { Code, createClient } from '@connectrpc/connect';
import { expect } from 'chai';

import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../gen/health/v1/health_pb.js';
import type { Readiness } from '../../src/rpc/health.ts';
import { failureOf, PROTOCOLS, startRpc } from '../support/rpc-server.ts';
import { soon } from '../support/rpc-waiting.ts';

class Switch implements Readiness {
  #ready = false;
  readonly #listeners = new Set<() => void>();

  get ready(): boolean {
    return this.#ready;
  }

  get watchers(): number {
    return this.#listeners.size;
  }

  turn(ready: boolean): void {
    this.#ready = ready;
    for (const listener of this.#listeners) listener();
  }

  subscribe(listener: () => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener));
  }
}

const SERVICE = 'carillon.v1.NotificationService';

for (const protocol of PROTOCOLS) {
  describe(`health over ${protocol}`, () => {
    it('answers for the process and for each service', async () => {
      const readiness = new Switch();
      await using rpc = await startRpc({}, { readiness });
      const client = createClient(Health, rpc.transport(protocol));
      for (const service of ['', SERVICE]) {
        readiness.turn(false);
        expect((await client.check({ service })).status).to.equal(ServingStatus.NOT_SERVING);
        readiness.turn(true);
        expect((await client.check({ service })).status).to.equal(ServingStatus.SERVING);
      }
    });

    it('lists every service', async () => {
      const readiness = new Switch();
      await using rpc = await startRpc({}, { readiness });
      const { statuses } = await createClient(Health, rpc.transport(protocol)).list({});
      expect(Object.keys(statuses)).to.have.members(['', SERVICE]);
      expect(statuses['']?.status).to.equal(ServingStatus.NOT_SERVING);
    });

    it('knows no other service', async () => {
      await using rpc = await startRpc();
      const client = createClient(Health, rpc.transport(protocol));
      expect((await failureOf(client.check({ service: 'x' }))).code).to.equal(Code[Code.NotFound]);
    });

    it('streams each change and forgets a watcher that is gone', async () => {
      const readiness = new Switch();
      await using rpc = await startRpc({}, { readiness });
      const cancel = new AbortController();
      const client = createClient(Health, rpc.transport(protocol));
      const stream = client.watch({ service: SERVICE }, { signal: cancel.signal })[Symbol.asyncIterator]();
      const next = async (): Promise<ServingStatus | undefined> => (await soon(stream.next())).value?.status;
      expect(await next()).to.equal(ServingStatus.NOT_SERVING);
      readiness.turn(true);
      expect(await next()).to.equal(ServingStatus.SERVING);
      // Nothing is said about a change that is none.
      readiness.turn(true);
      readiness.turn(false);
      expect(await next()).to.equal(ServingStatus.NOT_SERVING);
      cancel.abort();
      await soon(stream.next().catch(() => undefined));
      await rpc.server.close(1_000);
      expect(readiness.watchers).to.equal(0);
    });

    it('watches a service it does not know as unknown', async () => {
      await using rpc = await startRpc();
      const stream = createClient(Health, rpc.transport(protocol)).watch({ service: 'x' })[Symbol.asyncIterator]();
      const first = await stream.next();
      expect(first.value?.status).to.equal(ServingStatus.SERVICE_UNKNOWN);
    });
  });
}
