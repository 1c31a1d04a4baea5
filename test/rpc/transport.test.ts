/** What the bindings must hold against callers that do not play along. */
import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { Code, createClient, type Transport } from '@connectrpc/connect';
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from '@connectrpc/connect-node';
import type { ServiceError } from '@grpc/grpc-js';
import { expect } from 'chai';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect as tcpConnect } from 'node:net';

import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';
import { BadRequestSchema, ErrorInfoSchema, StatusSchema } from '../../gen/google/rpc/errors_pb.js';
import { eventually } from '../support/eventually.ts';
import { type Certificate, selfSigned } from '../support/rpc-certificates.ts';
import { GrpcClient } from '../support/rpc-grpc-client.ts';
import { SOME_ID, validSend } from '../support/rpc-notifications.ts';
import { RawCall } from '../support/rpc-raw-http2.ts';
import { collect, failureOf, startRpc } from '../support/rpc-server.ts';
import { forever, soon, untilSteady } from '../support/rpc-waiting.ts';

const PATH = '/carillon.v1.NotificationService';

/** A handler that writes for ever and says how far it came and when it ended. */
function flood() {
  const ended = Promise.withResolvers<void>();
  const state = { written: 0 };
  async function* watchNotifications(): AsyncGenerator<{ token: string }> {
    try {
      for (;;) {
        state.written += 1;
        yield { token: 'x'.repeat(100_000) };
      }
    } finally {
      ended.resolve();
    }
  }
  return { state, ended: ended.promise, handlers: { watchNotifications } };
}

describe('a plain grpc-js client', () => {
  it('gets answers, streams and errors with details', async () => {
    await using rpc = await startRpc();
    using send = new GrpcClient(rpc.grpcTarget, NotificationService.method.sendNotification);
    using watch = new GrpcClient(rpc.grpcTarget, NotificationService.method.watchNotifications);
    expect((await send.unary(validSend)).groupId).to.equal(SOME_ID);
    const events = await collect(watch.serverStream({ notificationIds: [SOME_ID, SOME_ID.replace(/0$/, '1')] }));
    expect(events).to.have.length(2);

    const failure = await send.unary({}).then(
      () => undefined,
      (thrown: unknown) => thrown as ServiceError,
    );
    expect(failure?.code).to.equal(Code.InvalidArgument);
    const trailer = failure?.metadata.get('grpc-status-details-bin')[0];
    if (!(trailer instanceof Buffer)) throw new Error('the error has no details');
    const { code, details } = fromBinary(StatusSchema, trailer);
    expect(code).to.equal(Code.InvalidArgument);
    const [info, bad] = details;
    expect(info && anyUnpack(info, ErrorInfoSchema)).to.include({ reason: 'INVALID_FIELD', domain: 'carillon.v1' });
    const fields = (bad && anyUnpack(bad, BadRequestSchema))?.fieldViolations.map(({ field }) => field);
    expect(fields).to.deep.equal(['notification']);
  });

  it('gets the whole stream though it reads slowly', async () => {
    await using rpc = await startRpc({
      async *watchNotifications() {
        for (let i = 0; i < 200; i++) yield { token: String(i).padEnd(20_000, '.') };
      },
    });
    using watch = new GrpcClient(rpc.grpcTarget, NotificationService.method.watchNotifications);
    const stream = watch.serverStream({});
    await once(stream, 'readable');
    const tokens = (await collect(stream)).map(({ token }) => Number.parseInt(token, 10));
    expect(tokens).to.deep.equal(Array.from({ length: 200 }, (_, i) => i));
  });
});

describe('a caller that keeps no deadline of its own', () => {
  it('is answered DEADLINE_EXCEEDED over gRPC, and the handler is told', async () => {
    const reason = Promise.withResolvers<unknown>();
    await using rpc = await startRpc({
      sendNotification: (_, { signal }) => {
        signal.addEventListener('abort', () => {
          reason.resolve(signal.reason);
        });
        return forever();
      },
    });
    using call = new RawCall(rpc.grpcUrl, NotificationService.method.sendNotification, { 'grpc-timeout': '100m' });
    call.send(validSend);
    call.end();
    expect(await soon(call.headers)).to.include({ 'grpc-status': String(Code.DeadlineExceeded) });
    expect(await soon(reason.promise)).to.include({ reason: 'DEADLINE_EXCEEDED' });
  });

  it('is answered DEADLINE_EXCEEDED over Connect, and the handler is told', async () => {
    const reason = Promise.withResolvers<unknown>();
    await using rpc = await startRpc({
      sendNotification: (_, { signal }) => {
        signal.addEventListener('abort', () => {
          reason.resolve(signal.reason);
        });
        return forever();
      },
    });
    const response = await fetch(`${rpc.httpUrl}${PATH}/SendNotification`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'connect-timeout-ms': '100' },
      body: JSON.stringify({ notification: { type: 'a', channels: ['CHANNEL_EMAIL'], recipient: {} } }),
    });
    const body = (await response.json()) as { code: string; details: { debug: { reason: string } }[] };
    expect(body.code).to.equal('deadline_exceeded');
    expect(body.details[0]?.debug.reason).to.equal('DEADLINE_EXCEEDED');
    expect(await soon(reason.promise)).to.include({ reason: 'DEADLINE_EXCEEDED' });
  });
});

describe('a caller that does not read', () => {
  it('stops the handler of its stream over gRPC, and ends it when it vanishes', async () => {
    const { state, ended, handlers } = flood();
    await using rpc = await startRpc(handlers);
    using call = new RawCall(rpc.grpcUrl, NotificationService.method.watchNotifications);
    call.send({});
    call.end();
    await call.headers;
    await soon(untilSteady(() => state.written));
    call.vanish();
    await soon(ended);
    expect(rpc.reported).to.deep.equal([]);
  });

  it('is cut off at its deadline over gRPC', async () => {
    const { state, ended, handlers } = flood();
    await using rpc = await startRpc(handlers);
    using call = new RawCall(rpc.grpcUrl, NotificationService.method.watchNotifications, { 'grpc-timeout': '500m' });
    call.send({});
    call.end();
    await soon(ended);
    expect(state.written).to.be.greaterThan(0);
  });

  it('stops the handler of its stream over HTTP/1.1, and ends it when it vanishes', async () => {
    const { state, ended, handlers } = flood();
    await using rpc = await startRpc(handlers);
    const { port } = rpc.server.addresses.http;
    const call = httpRequest({
      port,
      method: 'POST',
      path: `${PATH}/WatchNotifications`,
      headers: { 'content-type': 'application/connect+json' },
    });
    call.on('error', () => {});
    const message = Buffer.from('{}');
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    call.end(Buffer.concat([prefix, message]));
    await once(call, 'response');
    await soon(untilSteady(() => state.written));
    call.destroy();
    await soon(ended);
    expect(rpc.reported).to.deep.equal([]);
  });
});

describe('the HTTP listener', () => {
  it('answers JSON over plain HTTP, also to GET where a method has no side effects', async () => {
    await using rpc = await startRpc();
    const message = encodeURIComponent(JSON.stringify({ id: SOME_ID }));
    const response = await fetch(`${rpc.httpUrl}${PATH}/GetNotification?encoding=json&message=${message}`);
    expect(response.status).to.equal(200);
    expect(await response.json()).to.deep.include({
      notification: { id: SOME_ID, version: '9007199254740993', metadata: { a: 'b' } },
    });
  });

  it('tells a Connect client that a method is unknown', async () => {
    await using rpc = await startRpc();
    const response = await fetch(`${rpc.httpUrl}${PATH}/Nonsense`, { method: 'POST', body: '{}' });
    expect(response.status).to.equal(404);
    const body = (await response.json()) as { code: string; details: { debug: { reason: string } }[] };
    expect(body).to.include({ code: 'unimplemented' });
    expect(body.details[0]?.debug.reason).to.equal('METHOD_UNKNOWN');
  });

  it('hands what is no RPC to the pages', async () => {
    await using rpc = await startRpc(
      {},
      {
        pages: (request, response) => {
          if (request.url !== '/hello') return false;
          response.writeHead(200, { 'content-type': 'text/plain' });
          response.end('hello');
          return true;
        },
      },
    );
    expect(await (await fetch(`${rpc.httpUrl}/hello`)).text()).to.equal('hello');
    expect((await fetch(`${rpc.httpUrl}/other`)).status).to.equal(404);
  });

  it('survives a request whose host header is no host', async () => {
    await using rpc = await startRpc();
    const { port } = rpc.server.addresses.http;
    for (const head of ['HTTP/1.1\r\nhost: a b:c', 'HTTP/1.0']) {
      const socket = tcpConnect(port, '127.0.0.1');
      socket.write(
        `POST ${PATH}/SendNotification ${head}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`,
      );
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString()).to.match(/^HTTP\/1\.1 400 /);
      socket.destroy();
    }
    expect((await rpc.client('Connect').sendNotification(validSend)).groupId).to.equal(SOME_ID);
  });
});

describe('TLS', () => {
  let mine: Certificate;
  let stranger: Certificate;

  before('makes certificates; skipped where the machine has no openssl', async function () {
    const [first, second] = [await selfSigned(), await selfSigned()];
    if (first === undefined || second === undefined) return this.skip();
    mine = first;
    stranger = second;
  });

  interface TlsClients extends Disposable {
    readonly transports: Readonly<Record<string, Transport>>;
  }

  function clients(ports: { grpc: number; http: number }, own?: Certificate): TlsClients {
    const nodeOptions = { ca: mine.cert, ...(own && { cert: own.cert, key: own.key }) };
    const grpcUrl = `https://127.0.0.1:${ports.grpc}`;
    const httpUrl = `https://127.0.0.1:${ports.http}`;
    const toGrpc = new Http2SessionManager(grpcUrl, {}, nodeOptions);
    const toHttp = new Http2SessionManager(httpUrl, {}, nodeOptions);
    const h1 = { httpVersion: '1.1', baseUrl: httpUrl, nodeOptions: { ...nodeOptions, agent: false } } as const;
    return {
      transports: {
        'gRPC on its own port': createGrpcTransport({ baseUrl: grpcUrl, sessionManager: toGrpc }),
        'gRPC on the HTTP port': createGrpcTransport({ baseUrl: httpUrl, sessionManager: toHttp }),
        'gRPC-Web over HTTP/2': createGrpcWebTransport({ baseUrl: httpUrl, httpVersion: '2', sessionManager: toHttp }),
        'Connect over HTTP/2': createConnectTransport({ baseUrl: httpUrl, httpVersion: '2', sessionManager: toHttp }),
        'gRPC-Web over HTTP/1.1': createGrpcWebTransport(h1),
        'Connect over HTTP/1.1': createConnectTransport(h1),
      },
      [Symbol.dispose]() {
        toGrpc.abort();
        toHttp.abort();
      },
    };
  }

  async function startTls(handlers = {}, clientCa?: string) {
    const rpc = await startRpc(handlers, { tls: { ...mine, ...(clientCa !== undefined && { clientCa }) } });
    const { grpc, http } = rpc.server.addresses;
    return { rpc, ports: { grpc: grpc.port, http: http.port } };
  }

  it('serves every protocol, over HTTP/2 and HTTP/1.1', async () => {
    const { rpc, ports } = await startTls();
    await using _rpc = rpc;
    using tls = clients(ports);
    for (const [name, transport] of Object.entries(tls.transports)) {
      const answer = await createClient(NotificationService, transport).sendNotification(validSend);
      expect(answer.groupId, name).to.equal(SOME_ID);
    }
  });

  it('carries bidirectional streams of Connect over HTTP/2, and their errors with reasons', async () => {
    const { rpc, ports } = await startTls();
    await using _rpc = rpc;
    using tls = clients(ports);
    for (const name of ['Connect over HTTP/2', 'gRPC on the HTTP port', 'gRPC-Web over HTTP/2']) {
      const transport = tls.transports[name];
      if (transport === undefined) throw new Error(name);
      const client = createClient(NotificationService, transport);
      async function* requests(): AsyncGenerator<{ sequence: bigint }> {
        for (let sequence = 1n; sequence <= 20n; sequence++) yield { sequence };
      }
      const answers = await collect(client.sendNotificationStream(requests()));
      expect(answers.at(-1)?.sequence, name).to.equal(20n);
    }
  });

  for (const leaves of ['cancels', 'vanishes'] as const) {
    it(`ends the handler of a stream over HTTP/2 whose caller ${leaves} while a write waits to drain`, async () => {
      const { state, ended, handlers } = flood();
      const { rpc, ports } = await startTls(handlers);
      await using _rpc = rpc;
      const url = `https://127.0.0.1:${ports.http}`;
      using call = new RawCall(url, NotificationService.method.watchNotifications, {}, { ca: mine.cert });
      call.send({});
      call.end();
      await call.headers;
      await soon(untilSteady(() => state.written));
      if (leaves === 'cancels') call.cancel();
      else call.vanish();
      await soon(ended);
      expect(rpc.reported).to.deep.equal([]);
    });
  }

  it('drains: a unary call finishes, a stream ends as SHUTTING_DOWN, on every kind of connection', async () => {
    const go = Promise.withResolvers<void>();
    let started = 0;
    const { rpc, ports } = await startTls({
      async sendNotification() {
        started += 1;
        await go.promise;
        return { groupId: SOME_ID };
      },
      async *watchNotifications() {
        yield { token: 'first' };
        await forever();
      },
    });
    await using _rpc = rpc;
    using tls = clients(ports);
    const all = Object.values(tls.transports).map((transport) => createClient(NotificationService, transport));
    const sends = all.map((client) => client.sendNotification(validSend));
    const watches = all.map((client) => client.watchNotifications({})[Symbol.asyncIterator]());
    await Promise.all(watches.map((watch) => watch.next()));
    await eventually('every call has started', () => started === all.length);
    const ends = watches.map((watch) => failureOf(watch.next()));
    const closed = rpc.server.close(60_000);
    for (const end of ends) expect(await soon(end)).to.include({ code: 'Unavailable', reason: 'SHUTTING_DOWN' });
    go.resolve();
    for (const send of sends) expect((await soon(send)).groupId).to.equal(SOME_ID);
    await soon(closed);
  });

  it('asks for a client certificate of its authority on both ports where one is configured', async () => {
    const { rpc, ports } = await startTls({}, mine.cert);
    await using _rpc = rpc;
    for (const [own, welcome] of [
      [mine, true],
      [stranger, false],
      [undefined, false],
    ] as const) {
      using tls = clients(ports, own);
      for (const [name, transport] of Object.entries(tls.transports)) {
        const call = createClient(NotificationService, transport).sendNotification(validSend, { timeoutMs: 3_000 });
        const taken = await call.then(
          () => true,
          () => false,
        );
        expect(taken, `${name}, ${own === undefined ? 'no certificate' : 'with one'}`).to.equal(welcome);
      }
    }
  });
});
