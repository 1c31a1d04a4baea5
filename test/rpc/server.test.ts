import { once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { connect as tcpConnect } from 'node:net';

import { expect } from 'chai';

import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';
import { startServer } from '../../src/server.ts';
import { eventually } from '../support/eventually.ts';
import { GrpcClient } from '../support/rpc-grpc-client.ts';
import { notifications, SOME_ID, validSend } from '../support/rpc-notifications.ts';
import { alwaysReady, failureOf, PROTOCOLS, startRpc } from '../support/rpc-server.ts';
import { forever, soon, untilAborted } from '../support/rpc-waiting.ts';

/** Longer than any test may take: a drain that needs it has failed. */
const LONG_MS = 60_000;

for (const protocol of PROTOCOLS) {
  describe(`draining over ${protocol}`, () => {
    it('lets a unary call in flight finish', async () => {
      const started = Promise.withResolvers<void>();
      const go = Promise.withResolvers<void>();
      await using rpc = await startRpc({
        async sendNotification() {
          started.resolve();
          await go.promise;
          return { groupId: SOME_ID };
        },
      });
      const call = rpc.client(protocol).sendNotification(validSend);
      await soon(started.promise);
      const closed = rpc.server.close(LONG_MS);
      go.resolve();
      expect((await soon(call)).groupId).to.equal(SOME_ID);
      await soon(closed);
    });

    it('ends open streams as UNAVAILABLE, even if the handler ignores its signal', async () => {
      for (const wait of [forever, untilAborted]) {
        await using rpc = await startRpc({
          async *watchNotifications(_, { signal }) {
            yield { token: 'first' };
            await wait(signal);
          },
        });
        const stream = rpc.client(protocol).watchNotifications({})[Symbol.asyncIterator]();
        await stream.next();
        const rest = failureOf(stream.next());
        await soon(rpc.server.close(LONG_MS));
        expect(await rest).to.include({ code: 'Unavailable', reason: 'SHUTTING_DOWN' });
        expect(rpc.reported).to.deep.equal([]);
      }
    });

    it('takes no new calls', async () => {
      await using rpc = await startRpc();
      await rpc.client(protocol).sendNotification(validSend);
      await soon(rpc.server.close(LONG_MS));
      const taken = await rpc
        .client(protocol)
        .sendNotification(validSend)
        .then(
          () => true,
          () => false,
        );
      expect(taken).to.equal(false);
    });

    it('cuts what is not done at the deadline', async () => {
      const started = Promise.withResolvers<void>();
      const aborted = Promise.withResolvers<void>();
      await using rpc = await startRpc({
        sendNotification: (_, { signal }) => {
          signal.addEventListener('abort', () => {
            aborted.resolve();
          });
          started.resolve();
          return forever();
        },
      });
      const failure = failureOf(rpc.client(protocol).sendNotification(validSend));
      await soon(started.promise);
      await soon(rpc.server.close(50));
      await soon(aborted.promise);
      expect((await failure).code).to.be.oneOf(['Unavailable', 'Aborted', 'Internal', 'Canceled', 'Unknown']);
    });
  });
}

describe('the server', () => {
  it('closes a connection that was kept alive once its answer is out', async () => {
    const started = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    await using rpc = await startRpc({
      async sendNotification() {
        started.resolve();
        await go.promise;
        return {};
      },
    });
    const socket = tcpConnect(rpc.server.addresses.http.port, '127.0.0.1');
    const path = `/${NotificationService.typeName}/SendNotification`;
    const body = JSON.stringify({ notification: { type: 'a', channels: ['CHANNEL_EMAIL'], recipient: {} } });
    const head = ['host: x', 'content-type: application/json', `content-length: ${body.length}`];
    socket.write([`POST ${path} HTTP/1.1`, ...head, '', body].join('\r\n'));
    await soon(started.promise);
    const closed = rpc.server.close(LONG_MS);
    go.resolve();
    const [answer] = (await soon(once(socket, 'data'))) as [Buffer];
    expect(answer.toString()).to.match(/^HTTP\/1\.1 200 /);
    await soon(once(socket, 'close'));
    await soon(closed);
  });

  it('does not wait for idle connections', async () => {
    await using rpc = await startRpc();
    const agent = new Agent({ keepAlive: true });
    const { port } = rpc.server.addresses.http;
    const page = httpRequest({ port, path: '/nothing', agent }).end();
    const [response] = await once(page, 'response');
    response.resume();
    await once(response, 'end');
    using client = new GrpcClient(rpc.grpcTarget, NotificationService.method.sendNotification);
    await client.unary(validSend);
    await soon(rpc.server.close(LONG_MS));
    agent.destroy();
  });

  it('names the address when a port is taken, and leaves nothing open', async () => {
    await using rpc = await startRpc();
    const { grpc, http } = rpc.server.addresses;
    const free = { host: '127.0.0.1', port: 0 };
    for (const [name, addresses] of [
      [grpc.port, { grpc, http: free }],
      [http.port, { grpc: free, http }],
    ] as const) {
      const start = startServer({
        ...addresses,
        services: [notifications()],
        readiness: alwaysReady,
        onError: () => {},
      });
      const failure = await start.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(failure).to.be.instanceOf(Error);
      expect(String(failure)).to.contain(String(name));
    }
  });

  it('closes when it is disposed of, also for the second time', async () => {
    const rpc = await startRpc();
    await rpc.server[Symbol.asyncDispose]();
    await rpc.server.close(LONG_MS);
    await rpc[Symbol.asyncDispose]();
    const { port } = rpc.server.addresses.http;
    await eventually('the port is free', async () => {
      const socket = tcpConnect(port, '127.0.0.1');
      return once(socket, 'connect').then(
        () => false,
        () => true,
      );
    });
  });
});
