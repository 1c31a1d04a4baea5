import { once } from 'node:events';
import { request as httpRequest, type ClientRequest, type IncomingHttpHeaders } from 'node:http';
import { connect as connectHttp2, type IncomingHttpHeaders as Http2Headers } from 'node:http2';
import { expect } from 'chai';
import { DAY } from '../../src/domain/clock.ts';
import type { ProviderReceipt } from '../../src/domain/receipt.ts';
import { createCallbacks, type CallbacksOptions } from '../../src/http/callbacks.ts';
import type { CallbackRequest, CallbackResult, Receive } from '../../src/providers/provider.ts';
import { eventually } from '../support/eventually.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline, type Pipeline, type PipelineFaults } from '../support/fake-pipeline.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { selfSigned, type Certificate } from '../support/rpc-certificates.ts';
import { startRpc } from '../support/rpc-server.ts';
import { soon } from '../support/rpc-waiting.ts';
import { SAMPLE_TIME } from '../support/sample.ts';

const ID = '019a0000-0000-7000-8000-000000000001';

const receipt = (eventId = 'event-1'): ProviderReceipt => ({
  eventId,
  kind: 'delivered',
  notificationId: ID,
  at: SAMPLE_TIME,
});
const genuine = (nonce?: string, ...receipts: ProviderReceipt[]): CallbackResult => ({
  kind: 'genuine',
  receipts,
  ...(nonce === undefined ? {} : { nonce }),
});

interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Rig extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly pipeline: Pipeline;
  /** Of the pages alone. */
  readonly clock: ManualClock;
  /** What the provider was asked to read. */
  readonly asked: readonly CallbackRequest[];
  /** How it answers; without receipts unless set. */
  receive: Receive;
  post(body: string | Buffer, path?: string, headers?: Record<string, string | string[]>): Promise<Told>;
  /** Event ids that are stored for the notification. */
  stored(): Promise<string[]>;
  /** The events logged, by their names. */
  logged(event: string): readonly Readonly<Record<string, unknown>>[];
  close(): Promise<void>;
}

interface RigOptions extends PipelineFaults {
  readonly limits?: Pick<CallbacksOptions, 'maxBytes' | 'maxConcurrent' | 'deadline'>;
  readonly tls?: Certificate;
}

/** The pages of two providers, `vendor` and `other`, and of one that reads nothing, on a real server. */
async function open({ limits, tls, ...faults }: RigOptions = {}): Promise<Rig> {
  await using opening = new AsyncDisposableStack();
  const pipeline = opening.use(await openPipeline(faults));
  const clock = new ManualClock();
  const asked: CallbackRequest[] = [];
  const receive: Receive = (request) => {
    asked.push(request);
    return rig.receive(request);
  };
  const pages = createCallbacks({
    ...pipeline,
    ...limits,
    clock,
    providers: [{ name: 'vendor', receive }, { name: 'other', receive }, { name: 'silent' }],
    publicUrl: 'https://notify.example.com/base',
  });
  const rpc = opening.use(await startRpc({}, { pages, ...(tls && { tls }) }));
  const { port } = rpc.server.addresses.http;
  const owned = opening.move();
  const rig: Rig = {
    url: `http://127.0.0.1:${port}`,
    port,
    pipeline,
    clock,
    asked,
    receive: async () => genuine(),
    post: (body, path = '/callbacks/vendor', headers = {}) => post(port, path, body, headers),
    stored: async () => (await pipeline.storage.receiptsOf([ID])).map(({ eventId }) => eventId).toSorted(),
    logged: (event) => pipeline.lines.flatMap(({ fields }) => (fields['event'] === event ? [fields] : [])),
    close: () => rpc.server.close(60_000),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
  return rig;
}

async function post(
  port: number,
  path: string,
  body: string | Buffer,
  headers: Record<string, string | string[]> = {},
): Promise<Told> {
  const call = httpRequest({ port, method: 'POST', path, headers, agent: false });
  call.end(body);
  const [response] = (await once(call, 'response')) as [AsyncIterable<Buffer> & Told & { statusCode: number }];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() };
}

/** A callback whose headers have arrived, and of whose nine bytes the first is on its way. */
async function beginBody({ port }: Rig): Promise<ClientRequest> {
  const headers = { 'content-length': 9, expect: '100-continue' };
  const call = httpRequest({ port, method: 'POST', path: '/callbacks/vendor', headers, agent: false });
  call.on('error', () => {});
  call.flushHeaders();
  await soon(once(call, 'continue'));
  call.write('{');
  return call;
}

describe('a callback', () => {
  it('that the provider finds genuine is answered 200 without content, and its receipts are stored', async () => {
    await using rig = await open();
    rig.receive = async () => genuine(undefined, receipt('a'), receipt('b'));
    expect(await rig.post('{}')).to.deep.include({ status: 200, body: '' });
    expect(await rig.stored()).to.deep.equal(['a', 'b']);
    const [kept] = await rig.pipeline.storage.receiptsOf([ID]);
    expect(kept).to.include({ id: 'vendor:a', provider: 'vendor', receivedAt: SAMPLE_TIME });
  });

  it('that means nothing here is answered 200', async () => {
    await using rig = await open();
    expect((await rig.post('[]')).status).to.equal(200);
    expect(await rig.stored()).to.deep.equal([]);
  });

  it('is not answered before its receipts are durable', async () => {
    const gate = Promise.withResolvers<undefined>();
    const writes: string[] = [];
    await using rig = await open({
      storage: (method) => {
        writes.push(method);
        return method === 'saveReceipts' ? gate.promise : undefined;
      },
    });
    rig.receive = async () => genuine(undefined, receipt());
    let answered = false;
    const call = rig.post('{}').finally(() => (answered = true));
    await eventually('the write', () => writes.includes('saveReceipts'));
    expect(answered).to.equal(false);
    gate.resolve(undefined);
    expect((await soon(call)).status).to.equal(200);
  });

  it('reaches the provider as it came: bytes, headers, and the address the service was told to call', async () => {
    await using rig = await open();
    const body = Buffer.from([0, 0xff, 0xc3, 0x28, 0x0d, 0x0a]);
    await rig.post(body, '/callbacks/vendor/more/path?a=%20b&c=1', {
      'X-Sig': ['one', 'two'],
      Authorization: 'Bearer x',
    });
    const [asked] = rig.asked;
    expect(asked?.url.href).to.equal('https://notify.example.com/base/callbacks/vendor/more/path?a=%20b&c=1');
    expect(asked?.headers).to.include({ 'x-sig': 'one, two', authorization: 'Bearer x' });
    expect(asked?.body.equals(body)).to.equal(true);
    expect(asked?.now).to.equal(SAMPLE_TIME);
  });

  for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
    it(`by ${method} is 405 and asks nobody`, async () => {
      await using rig = await open();
      const answer = await fetch(`${rig.url}/callbacks/vendor`, { method });
      expect(answer.status).to.equal(405);
      expect(answer.headers.get('allow')).to.equal('POST');
      expect(rig.asked).to.have.length(0);
    });
  }

  for (const path of ['/callbacks/nobody', '/callbacks/silent', '/callbacks', '/callbacks/', '/callbacks/vendors']) {
    it(`to ${path} is no page`, async () => {
      await using rig = await open();
      expect((await rig.post('{}', path)).status).to.equal(404);
      expect(rig.asked).to.have.length(0);
    });
  }

  for (const status of [400, 401, 406, 503] as const) {
    it(`that the provider refuses with ${status} is answered so, and changes nothing`, async () => {
      await using rig = await open();
      rig.receive = async () => ({ kind: 'refused', status, why: 'no valid signature' });
      const answer = await rig.post('secret-content', '/callbacks/vendor/secret-path?secret-query');
      expect(answer).to.deep.include({ status, body: '' });
      expect(rig.logged('callback_refused')).to.have.length(1);
      expect(rig.logged('callback_refused')[0]).to.include({ provider: 'vendor', why: 'no valid signature' });
      expect(JSON.stringify(rig.pipeline.lines)).not.to.contain('secret-');
      expect(await rig.stored()).to.deep.equal([]);
    });
  }

  it('that the provider fails over is answered 503 and logged, and the next one is served', async () => {
    await using rig = await open();
    rig.receive = async () => {
      throw new Error('a fault of ours');
    };
    expect(await rig.post('{}')).to.deep.include({ status: 503, body: '' });
    expect(rig.logged('callback_failed')).to.have.length(1);
    rig.receive = async () => genuine();
    expect((await rig.post('{}')).status).to.equal(200);
  });

  it('is answered 503 while the store is away, and taken when it comes again', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'saveReceipts');
    await using rig = await open({ storage: outage.fault });
    rig.receive = async () => genuine('nonce-1', receipt());
    outage.on = true;
    expect((await rig.post('{"a":1}')).status).to.equal(503);
    expect(rig.logged('callback_failed')).to.have.length(1);
    outage.on = false;
    expect((await rig.post('{"a":1}')).status).to.equal(200);
    expect(await rig.stored()).to.deep.equal(['event-1']);
  });
});

describe('a callback with a nonce', () => {
  it('may come again with the same body', async () => {
    await using rig = await open();
    rig.receive = async () => genuine('nonce-1', receipt());
    expect((await rig.post('{"a":1}')).status).to.equal(200);
    expect((await rig.post('{"a":1}')).status).to.equal(200);
    expect(await rig.stored()).to.deep.equal(['event-1']);
  });

  it('with another body is refused and changes nothing', async () => {
    await using rig = await open();
    rig.receive = async () => genuine('nonce-1', receipt('first'));
    await rig.post('{"a":1}');
    rig.receive = async () => genuine('nonce-1', receipt('forged'));
    expect((await rig.post('{"a":2}')).status).to.equal(406);
    expect(await rig.stored()).to.deep.equal(['first']);
    expect(rig.logged('callback_refused')).to.have.length(1);
  });

  it('is remembered for seven days', async () => {
    await using rig = await open();
    rig.receive = async () => genuine('nonce-1');
    expect((await rig.post('{"a":1}')).status).to.equal(200);
    await rig.clock.advance(7 * DAY - 1);
    expect((await rig.post('{"a":2}')).status).to.equal(406);
    await rig.clock.advance(1);
    expect((await rig.post('{"a":2}')).status).to.equal(200);
  });

  it('has nothing to do with the nonces of another provider', async () => {
    await using rig = await open();
    rig.receive = async () => genuine('nonce-1');
    expect((await rig.post('{"a":1}')).status).to.equal(200);
    expect((await rig.post('{"a":2}', '/callbacks/other')).status).to.equal(200);
  });

  it('is answered 503 where the nonce cannot be written, and its receipts are not stored', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'reserveKeys');
    outage.on = true;
    await using rig = await open({ storage: outage.fault });
    rig.receive = async () => genuine('nonce-1', receipt());
    expect((await rig.post('{}')).status).to.equal(503);
    expect(await rig.stored()).to.deep.equal([]);
  });
});

describe('callers that do not play along', () => {
  for (const [how, headers] of [
    ['with its length', { 'content-length': '1001' }],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ] as const) {
    it(`a body that is too large, sent ${how}, is 413, and nobody is asked`, async () => {
      await using rig = await open({ limits: { maxBytes: 1_000 } });
      expect((await rig.post(Buffer.alloc(1_001), '/callbacks/vendor', headers)).status).to.equal(413);
      expect(rig.asked).to.have.length(0);
      expect((await rig.post(Buffer.alloc(1_000))).status).to.equal(200);
    });
  }

  it('a body that does not end is 408, and the connection is closed', async () => {
    await using rig = await open({ limits: { deadline: 100 } });
    const call = httpRequest({
      port: rig.port,
      method: 'POST',
      path: '/callbacks/vendor',
      headers: { 'content-length': 9 },
    });
    call.on('error', () => {});
    call.write('{');
    const [response] = (await soon(once(call, 'response'))) as [{ statusCode: number; resume(): void }];
    expect(response.statusCode).to.equal(408);
    response.resume();
    await soon(once(call, 'close'));
    expect(rig.asked).to.have.length(0);
  });

  it('one that breaks off in the middle of the body asks nobody and leaves its place', async () => {
    await using rig = await open({ limits: { maxConcurrent: 1 } });
    const call = await beginBody(rig);
    call.destroy();
    await eventually('its place is free', async () => (await rig.post('{}')).status === 200);
    expect(rig.asked).to.have.length(1);
  });

  it('one whose body does not come gives up its place to the next one', async () => {
    await using rig = await open({ limits: { maxConcurrent: 2 } });
    const [first, second] = [await beginBody(rig), await beginBody(rig)];
    const answered = once(first, 'response');
    expect((await rig.post('{}')).status).to.equal(200);
    expect((await soon(answered))[0]).to.include({ statusCode: 408 });
    second.end('12345678');
    expect((await soon(once(second, 'response')))[0]).to.include({ statusCode: 200 });
    first.destroy();
  });

  it('one that breaks off ends what its check asks for', async () => {
    await using rig = await open();
    const ended = Promise.withResolvers<void>();
    const called = Promise.withResolvers<void>();
    rig.receive = async ({ signal }) => {
      signal.addEventListener('abort', () => ended.resolve());
      called.resolve();
      await ended.promise;
      return { kind: 'refused', status: 503, why: 'aborted' };
    };
    const call = httpRequest({ port: rig.port, method: 'POST', path: '/callbacks/vendor' });
    call.on('error', () => {});
    call.end('{}');
    await soon(called.promise);
    call.destroy();
    await soon(ended.promise);
  });

  it('a check that takes too long is told to end', async () => {
    // The body has to be there by then.
    await using rig = await open({ limits: { deadline: 500 } });
    rig.receive = ({ signal }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve({ kind: 'refused', status: 503, why: 'aborted' }));
      });
    expect((await soon(rig.post('{}'))).status).to.equal(503);
  });

  it('beyond so many at a time further ones are 503, until one has ended', async () => {
    await using rig = await open({ limits: { maxConcurrent: 2 } });
    const gate = Promise.withResolvers<void>();
    rig.receive = async () => {
      await gate.promise;
      return genuine();
    };
    const calls = [rig.post('{}'), rig.post('{}')];
    await eventually('two are being checked', () => rig.asked.length === 2);
    expect((await rig.post('{}')).status).to.equal(503);
    expect(rig.asked).to.have.length(2);
    gate.resolve();
    for (const { status } of await Promise.all(calls)) expect(status).to.equal(200);
    expect((await rig.post('{}')).status).to.equal(200);
  });
});

it('a server that is stopped finishes the callbacks it has begun', async () => {
  await using rig = await open();
  const gate = Promise.withResolvers<void>();
  rig.receive = async () => {
    await gate.promise;
    return genuine(undefined, receipt());
  };
  const call = rig.post('{}');
  await eventually('it is being checked', () => rig.asked.length === 1);
  const closed = rig.close();
  gate.resolve();
  expect((await soon(call)).status).to.equal(200);
  await soon(closed);
  expect(await rig.stored()).to.deep.equal(['event-1']);
});

describe('callbacks over HTTP/2', () => {
  let tls: Certificate;

  before('makes a certificate; skipped where the machine has no openssl', async function () {
    const made = await selfSigned();
    if (made === undefined) return this.skip();
    tls = made;
  });

  async function call(rig: Rig, headers: Record<string, string>, body?: Buffer): Promise<Http2Headers> {
    const session = connectHttp2(`https://127.0.0.1:${rig.port}`, { ca: tls.cert });
    try {
      const stream = session.request({ ':method': 'POST', ':path': '/callbacks/vendor?x=1', ...headers });
      stream.on('error', () => {});
      if (body === undefined) stream.write('{');
      else stream.end(body);
      const [answer] = (await soon(once(stream, 'response'))) as [Http2Headers];
      stream.resume();
      await soon(once(stream, 'end'));
      return answer;
    } finally {
      session.destroy();
    }
  }

  it('are taken, and their pseudo-headers stay with the protocol', async () => {
    await using rig = await open({ tls });
    rig.receive = async () => genuine('nonce', receipt());
    expect((await call(rig, { 'x-sig': 'one' }, Buffer.from('{}')))[':status']).to.equal(200);
    expect(await rig.stored()).to.deep.equal(['event-1']);
    const [asked] = rig.asked;
    expect(asked?.url.href).to.equal('https://notify.example.com/base/callbacks/vendor?x=1');
    expect(asked?.headers['x-sig']).to.equal('one');
    expect(Object.keys(asked?.headers ?? {}).filter((name) => name.startsWith(':'))).to.deep.equal([]);
  });

  it('are 405 by another method, 413 where too large and 408 where too slow', async () => {
    await using rig = await open({ tls, limits: { maxBytes: 1_000 } });
    expect((await call(rig, { ':method': 'PUT' }, Buffer.from('{}')))[':status']).to.equal(405);
    expect((await call(rig, {}, Buffer.alloc(100_000)))[':status']).to.equal(413);
    expect(rig.asked).to.have.length(0);
    expect((await call(rig, {}, Buffer.from('{}')))[':status']).to.equal(200);
    await using impatient = await open({ tls, limits: { deadline: 100 } });
    expect((await call(impatient, {}))[':status']).to.equal(408);
    expect(impatient.asked).to.have.length(0);
  });
});
