import { once } from 'node:events';

import { Code } from '@connectrpc/connect';
import { expect } from 'chai';

import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';
import { CarillonError } from '../../src/errors.ts';
import type { CallContext } from '../../src/rpc/handler.ts';
import { eventually } from '../support/eventually.ts';
import { GrpcClient } from '../support/rpc-grpc-client.ts';
import { SOME_ID, validSend } from '../support/rpc-notifications.ts';
import { collect, failureOf, PROTOCOLS, startRpc } from '../support/rpc-server.ts';
import { RawCall } from '../support/rpc-raw-http2.ts';
import { forever, soon, untilAborted } from '../support/rpc-waiting.ts';

for (const protocol of PROTOCOLS) {
  describe(`the service over ${protocol}`, () => {
    it('answers a unary call as over gRPC', async () => {
      await using rpc = await startRpc();
      const reference = await rpc.client('gRPC').sendNotification(validSend);
      const answer = await rpc.client(protocol).sendNotification(validSend);
      expect(answer).to.deep.equal(reference);
      expect(answer.watchToken).to.equal('key-1-é😀');
    });

    it('keeps 64-bit numbers and maps', async () => {
      await using rpc = await startRpc();
      const { notification } = await rpc.client(protocol).getNotification({ id: SOME_ID });
      expect(notification?.version).to.equal(9_007_199_254_740_993n);
      expect(notification?.metadata).to.deep.equal({ a: 'b' });
    });

    it('streams answers in order and to the end', async () => {
      await using rpc = await startRpc({
        async *watchNotifications() {
          for (let i = 0; i < 100; i++) yield { token: String(i) };
        },
      });
      const answers = await collect(rpc.client(protocol).watchNotifications({}));
      expect(answers.map(({ token }) => token)).to.deep.equal(Array.from({ length: 100 }, (_, i) => String(i)));
    });

    it('refuses a request that breaks the rules with every field, before the handler', async () => {
      let handled = 0;
      await using rpc = await startRpc({
        async sendNotification() {
          handled += 1;
          return {};
        },
      });
      const bad = { notification: { ...validSend.notification, recipient: { email: 'nobody', phone: '12' } } };
      const failure = await failureOf(rpc.client(protocol).sendNotification(bad));
      expect(failure).to.deep.equal(await failureOf(rpc.client('gRPC').sendNotification(bad)));
      expect(failure).to.include({ code: 'InvalidArgument', reason: 'INVALID_FIELD', domain: 'carillon.v1' });
      expect(failure.fields).to.have.members(['notification.recipient.email', 'notification.recipient.phone']);
      expect(handled).to.equal(0);
    });

    it('refuses the bad request of a stream in the same way', async () => {
      await using rpc = await startRpc();
      const failure = await failureOf(rpc.client(protocol).watchNotifications({ notificationIds: ['x'] }));
      expect(failure).to.include({ code: 'InvalidArgument', reason: 'INVALID_FIELD' });
      expect(failure.fields).to.deep.equal(['notification_ids[0]']);
    });

    it('keeps the details of many violations small enough for headers', async () => {
      await using rpc = await startRpc();
      const ids = Array.from({ length: 1_000 }, () => 'x');
      const call = rpc.client(protocol).retryNotifications({ selection: { case: 'ids', value: { ids } } });
      const failure = await failureOf(call);
      expect(failure).to.include({ code: 'InvalidArgument', reason: 'INVALID_FIELD' });
      expect(failure.fields).to.have.length(20);
    });

    it('tells the reason, its values and when to try again', async () => {
      const full = (): never => {
        throw new CarillonError('OUTBOX_FULL', 'full: 100 % \n é', { metadata: { lane: 'x' }, retryAfterMs: 1_500 });
      };
      await using rpc = await startRpc({
        async sendNotification() {
          return full();
        },
        async *watchNotifications() {
          yield { token: 'first' };
          full();
        },
      });
      const expected = {
        code: 'ResourceExhausted',
        message: 'full: 100 % \n é',
        reason: 'OUTBOX_FULL',
        domain: 'carillon.v1',
        metadata: { lane: 'x' },
        fields: [],
        retryDelay: { seconds: 1n, nanos: 500_000_000 },
      };
      expect(await failureOf(rpc.client(protocol).sendNotification(validSend))).to.deep.equal(expected);
      expect(await failureOf(rpc.client(protocol).watchNotifications({}))).to.deep.equal(expected);
      expect(rpc.reported).to.deep.equal([]);
    });

    it('hides what went wrong inside and reports it with its cause and the caller', async () => {
      const cause = new Error('the password is 1234');
      await using rpc = await startRpc({
        async sendNotification() {
          throw cause;
        },
        async *watchNotifications() {
          yield { token: 'first' };
          throw cause;
        },
      });
      const calls = [rpc.client(protocol).sendNotification(validSend), rpc.client(protocol).watchNotifications({})];
      for (const call of calls) {
        const failure = await failureOf(call);
        expect(failure).to.include({ code: 'Internal', reason: 'INTERNAL' });
        expect(JSON.stringify(failure, (_, value: unknown) => String(value))).not.to.contain('1234');
      }
      expect(rpc.reported.map(({ error }) => error.cause)).to.deep.equal([cause, cause]);
      expect(rpc.reported.map(({ context }) => context?.method)).to.deep.equal([
        'carillon.v1.NotificationService/SendNotification',
        'carillon.v1.NotificationService/WatchNotifications',
      ]);
    });

    it('hands the handler the caller, the protocol, the headers and the deadline', async () => {
      const seen = Promise.withResolvers<CallContext>();
      await using rpc = await startRpc({
        async sendNotification(_, context) {
          seen.resolve(context);
          return {};
        },
      });
      const before = Date.now();
      await rpc.client(protocol).sendNotification(validSend, { headers: { 'x-trace': 'abc' }, timeoutMs: 60_000 });
      const context = await seen.promise;
      const protocols = { gRPC: 'grpc', 'gRPC-Web': 'grpc-web', Connect: 'connect', 'Connect with JSON': 'connect' };
      expect(context).to.include({ tenant: 'default', principal: 'anonymous', protocol: protocols[protocol] });
      expect(context.method).to.equal('carillon.v1.NotificationService/SendNotification');
      expect(context.header('X-Trace')).to.equal('abc');
      expect(context.header('x-other')).to.equal(undefined);
      expect(context.deadlineMs).to.be.within(before + 55_000, Date.now() + 61_000);
    });

    it('ends a call at its deadline even if the handler ignores its signal', async () => {
      await using rpc = await startRpc({ sendNotification: forever });
      const failure = await failureOf(rpc.client(protocol).sendNotification(validSend, { timeoutMs: 100 }));
      expect(failure.code).to.equal('DeadlineExceeded');
    });

    it('tells the handler of a unary call that the caller cancelled', async () => {
      const started = Promise.withResolvers<void>();
      const reason = Promise.withResolvers<unknown>();
      await using rpc = await startRpc({
        sendNotification: (_, { signal }) => {
          signal.addEventListener('abort', () => reason.resolve(signal.reason));
          started.resolve();
          return forever();
        },
      });
      const cancel = new AbortController();
      const failure = failureOf(rpc.client(protocol).sendNotification(validSend, { signal: cancel.signal }));
      await soon(started.promise);
      cancel.abort();
      expect((await failure).code).to.equal('Canceled');
      expect(await soon(reason.promise)).to.include({ reason: 'CALL_CANCELLED' });
    });

    it('ends the handler of a stream when the caller stops reading', async () => {
      const ended = Promise.withResolvers<void>();
      await using rpc = await startRpc({
        async *watchNotifications(_, { signal }) {
          try {
            yield { token: 'first' };
            await untilAborted(signal);
          } finally {
            ended.resolve();
          }
        },
      });
      const cancel = new AbortController();
      const stream = rpc.client(protocol).watchNotifications({}, { signal: cancel.signal });
      const first = await stream[Symbol.asyncIterator]().next();
      expect(first.value).to.deep.include({ token: 'first' });
      cancel.abort();
      await soon(ended.promise);
      expect(rpc.reported).to.deep.equal([]);
    });

    it('refuses a message over the size limit', async () => {
      await using rpc = await startRpc({}, { maxMessageBytes: 10_000 });
      const notification = { ...validSend.notification, content: { textBody: 'x'.repeat(20_000) } };
      const failure = await failureOf(rpc.client(protocol).sendNotification({ notification }));
      expect(failure.code).to.equal('ResourceExhausted');
    });

    it('opens no more streams than the limit and frees each one that ends', async () => {
      await using rpc = await startRpc(
        {
          async *watchNotifications() {
            yield { token: 'first' };
            await forever();
          },
        },
        { maxStreams: 1 },
      );
      const client = rpc.client(protocol);
      const cancel = new AbortController();
      await client.watchNotifications({}, { signal: cancel.signal })[Symbol.asyncIterator]().next();
      expect(await failureOf(client.watchNotifications({}))).to.include({
        code: 'ResourceExhausted',
        reason: 'TOO_MANY_STREAMS',
      });
      await client.sendNotification(validSend);
      cancel.abort();
      await eventually('the ended stream is freed', async () => {
        const next = client.watchNotifications({}, { timeoutMs: 1_000 })[Symbol.asyncIterator]().next();
        return next.then(
          ({ done }) => done === false,
          () => false,
        );
      });
    });
  });
}

describe('bidirectional streams', () => {
  async function* sequence(from: bigint, to: bigint): AsyncGenerator<{ sequence: bigint; request: typeof validSend }> {
    for (let i = from; i <= to; i++) yield { sequence: i, request: validSend };
  }

  it('answer each message and end with the caller over gRPC', async () => {
    await using rpc = await startRpc();
    const answers = await collect(rpc.client('gRPC').sendNotificationStream(sequence(1n, 500n)));
    expect(answers.map((answer) => answer.sequence)).to.deep.equal(
      Array.from({ length: 500 }, (_, i) => BigInt(i + 1)),
    );
  });

  it('answer a message before the next one is sent', async () => {
    await using rpc = await startRpc();
    const answered = new Map<bigint, () => void>();
    async function* requests(): AsyncGenerator<{ sequence: bigint; request: typeof validSend }> {
      for (let i = 1n; i <= 3n; i++) {
        const { promise, resolve } = Promise.withResolvers<void>();
        answered.set(i, resolve);
        yield { sequence: i, request: validSend };
        await promise;
      }
    }
    let count = 0;
    for await (const { sequence } of rpc.client('gRPC').sendNotificationStream(requests())) {
      count += 1;
      answered.get(sequence)?.();
    }
    expect(count).to.equal(3);
  });

  it('end with the status that the handler threw, after the answers before it', async () => {
    await using rpc = await startRpc({
      async *sendNotificationStream(requests) {
        for await (const { sequence } of requests) {
          if (sequence === 3n) throw new CarillonError('STORE_UNAVAILABLE', 'gone');
          yield { sequence };
        }
      },
    });
    const seen: bigint[] = [];
    const stream = rpc.client('gRPC').sendNotificationStream(sequence(1n, 5n));
    const failure = await failureOf(
      (async () => {
        for await (const answer of stream) seen.push(answer.sequence);
      })(),
    );
    expect(failure).to.include({ code: 'Unavailable', reason: 'STORE_UNAVAILABLE' });
    expect(seen).to.deep.equal([1n, 2n]);
  });

  it('end when the handler is done, though the caller would send on', async () => {
    await using rpc = await startRpc({
      async *sendNotificationStream(requests) {
        for await (const { sequence } of requests) {
          yield { sequence };
          return;
        }
      },
    });
    async function* endless(): AsyncGenerator<{ sequence: bigint }> {
      yield { sequence: 1n };
      await forever();
    }
    const answers = await soon(collect(rpc.client('gRPC').sendNotificationStream(endless())));
    expect(answers).to.have.length(1);
  });

  it('tell the handler that the caller is gone while it waits for the next message', async () => {
    const started = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<unknown>();
    await using rpc = await startRpc({
      async *sendNotificationStream(requests) {
        try {
          for await (const { sequence } of requests) {
            started.resolve();
            yield { sequence };
          }
        } catch (thrown) {
          ended.resolve(thrown);
          throw thrown;
        }
      },
    });
    using call = new RawCall(rpc.grpcUrl, NotificationService.method.sendNotificationStream);
    call.send({ sequence: 1n });
    await soon(started.promise);
    call.vanish();
    expect(await soon(ended.promise)).to.include({ reason: 'CALL_CANCELLED' });
    expect(rpc.reported).to.deep.equal([]);
  });

  it('abort the signal of the handler when the caller cancels', async () => {
    const aborted = Promise.withResolvers<unknown>();
    await using rpc = await startRpc({
      async *sendNotificationStream(requests, { signal }) {
        signal.addEventListener('abort', () => {
          aborted.resolve(signal.reason);
        });
        for await (const { sequence } of requests) yield { sequence };
        await untilAborted(signal);
      },
    });
    using client = new GrpcClient(rpc.grpcTarget, NotificationService.method.sendNotificationStream);
    const stream = client.bidi();
    const failed = once(stream, 'end').catch((thrown: unknown) => thrown);
    stream.write({ sequence: 1n });
    await once(stream, 'data');
    stream.cancel();
    expect(await soon(aborted.promise)).to.include({ reason: 'CALL_CANCELLED' });
    expect(await soon(failed)).to.include({ code: Code.Canceled });
  });

  it('are refused over HTTP/1.1, which cannot carry them', async () => {
    await using rpc = await startRpc();
    const response = await fetch(`${rpc.httpUrl}/carillon.v1.NotificationService/SendNotificationStream`, {
      method: 'POST',
      headers: { 'content-type': 'application/connect+json' },
      body: '',
    });
    await response.body?.cancel();
    expect(response.status).to.equal(505);
  });
});
