import { expect } from 'chai';
import { Webhook } from 'standardwebhooks';
import { type Clock, SECOND, systemClock } from '../../../src/domain/clock.ts';
import { CarillonError } from '../../../src/errors.ts';
import type { Message, Provider, SendResult, WebhookMessage } from '../../../src/providers/provider.ts';
import { RESERVED_WEBHOOK_HEADERS } from '../../../src/providers/reserved-headers.ts';
import { http } from '../../../src/providers/webhook/http.ts';
import { startHttp, type HttpAnswer, type HttpReaction, type ReceivedRequest } from '../../support/start-http.ts';
import { describeProvider, KEY, type Behaviour, type Limits, type Rig } from '../conformance.ts';
import { webhook } from '../messages.ts';
import { type GivenSettings, openProvider } from '../open-provider.ts';
import { servedRig, silentRig } from '../rigs.ts';

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const NEXT_SECRET = `whsec_${Buffer.alloc(24, 9).toString('base64')}`;
const LOOPBACK = ['127.0.0.1'];
const TOKEN = 'tok-3n-of-the-endpoint';

const call = (): { key: string; signal: AbortSignal } => ({ key: KEY, signal: new AbortController().signal });

function open(settings: GivenSettings = {}, clock: Clock = systemClock): Promise<Provider> {
  return openProvider(http, { allowPrivate: LOOPBACK, ...settings }, { clock });
}

/** Calls an endpoint that answers so. */
async function answered(answer: HttpAnswer, clock?: Clock): Promise<SendResult> {
  await using server = await startHttp(() => answer);
  await using provider = await open({}, clock);
  return await provider.send(webhook(server.url), call());
}

/** Calls an endpoint and hands back what arrived. */
async function deliver(given: Partial<WebhookMessage>, settings: GivenSettings = {}): Promise<ReceivedRequest> {
  await using server = await startHttp();
  await using provider = await open(settings);
  const result = await provider.send(webhook(`${server.url}/hook?a=1`, given), call());
  expect(result.outcome).to.equal('sent');
  const [request] = server.requests;
  if (request === undefined) throw new Error('no request arrived');
  return request;
}

const REACTIONS: Record<Exclude<Behaviour, 'absent' | 'silent_before'>, HttpReaction> = {
  accept: { status: 204 },
  silent_after: 'hang',
  reset_after: 'reset',
  echo_credentials: { status: 400, body: `Bearer ${TOKEN} and ${SECRET} and ${TOKEN}-in-query are wrong` },
};

async function openRig(behaviour: Behaviour, limits: Limits): Promise<Rig<Message>> {
  const { timeoutMs, maxConcurrent } = limits;
  const provider = await open({ timeout: timeoutMs / SECOND, maxConcurrent, secrets: [SECRET] });
  if (behaviour === 'silent_before') return await silentRig(async (url) => ({ provider, message: webhook(url) }));
  const server = await startHttp(() => (behaviour === 'absent' ? 'hang' : REACTIONS[behaviour]));
  return await servedRig(server, behaviour, {
    provider,
    message: webhook(`${server.url}/?key=${TOKEN}-in-query`, { headers: { authorization: `Bearer ${TOKEN}` } }),
    credentials: [TOKEN, SECRET],
  });
}

describeProvider({ name: 'webhook', open: openRig });

describe('webhook reads the status of an answer', () => {
  const NOW = Date.parse('2026-11-22T12:00:00Z');
  const frozen: Clock = { ...systemClock, now: () => NOW };
  const cases: readonly (readonly [string, HttpAnswer, SendResult])[] = [
    ['200', { status: 200, body: 'thanks' }, { outcome: 'sent', code: '200', detail: 'thanks' }],
    ['202 without a body', { status: 202 }, { outcome: 'sent', code: '202' }],
    ['301', { status: 301, headers: { location: '/elsewhere' } }, { outcome: 'permanent_failure', code: '301' }],
    ['307', { status: 307, headers: { location: '/elsewhere' } }, { outcome: 'permanent_failure', code: '307' }],
    ['400', { status: 400 }, { outcome: 'temporary_failure', code: '400', providerDown: false }],
    ['401', { status: 401 }, { outcome: 'temporary_failure', code: '401', providerDown: false }],
    ['404', { status: 404 }, { outcome: 'temporary_failure', code: '404', providerDown: false }],
    ['410', { status: 410 }, { outcome: 'permanent_failure', code: '410' }],
    ['429', { status: 429 }, { outcome: 'rate_limited', code: '429' }],
    [
      '429 with seconds',
      { status: 429, headers: { 'retry-after': '7' } },
      { outcome: 'rate_limited', code: '429', retryAfterMs: 7_000 },
    ],
    [
      '429 with a date',
      { status: 429, headers: { 'retry-after': 'Sun, 22 Nov 2026 12:02:00 GMT' } },
      { outcome: 'rate_limited', code: '429', retryAfterMs: 120_000 },
    ],
    [
      '429 with a date that has passed',
      { status: 429, headers: { 'retry-after': 'Sun, 22 Nov 2026 11:00:00 GMT' } },
      { outcome: 'rate_limited', code: '429', retryAfterMs: 0 },
    ],
    ['429 with nonsense', { status: 429, headers: { 'retry-after': '-5' } }, { outcome: 'rate_limited', code: '429' }],
    ['500', { status: 500 }, { outcome: 'temporary_failure', code: '500', providerDown: false }],
    ['502', { status: 502 }, { outcome: 'unknown', code: '502' }],
    ['503', { status: 503 }, { outcome: 'temporary_failure', code: '503', providerDown: false }],
    [
      '503 with seconds',
      { status: 503, headers: { 'retry-after': '3' } },
      { outcome: 'rate_limited', code: '503', retryAfterMs: 3_000 },
    ],
    ['504', { status: 504 }, { outcome: 'unknown', code: '504' }],
    ['520, of Cloudflare', { status: 520 }, { outcome: 'unknown', code: '520' }],
    ['524, of Cloudflare', { status: 524 }, { outcome: 'unknown', code: '524' }],
  ];
  for (const [name, answer, expected] of cases) {
    it(`${name}: ${expected.outcome}`, async () => {
      expect(await answered(answer, frozen)).to.deep.equal(expected);
    });
  }

  it('does not follow a redirect', async () => {
    await using server = await startHttp(() => ({ status: 302, headers: { location: '/elsewhere' } }));
    await using provider = await open();
    await provider.send(webhook(server.url), call());
    expect(server.requests).to.have.length(1);
  });

  it('keeps at most 500 characters of an answer', async () => {
    const result = await answered({ status: 200, body: 'x'.repeat(10_000) });
    expect(result.detail).to.have.length(500);
  });

  it('shows nothing of a capability in the path', async () => {
    const secret = 'aZ09aZ09aZ09aZ09aZ09';
    await using server = await startHttp(({ path }) => ({ status: 404, body: `Cannot POST ${path}` }));
    await using provider = await open();
    expect((await provider.send(webhook(`${server.url}/hooks/${secret}`), call())).detail).not.to.contain(secret);
  });

  it('stops reading an answer without end and goes by its status', async () => {
    const result = await answered({ status: 200, body: 'x'.repeat(200_000), unfinished: true });
    expect(result.outcome).to.equal('sent');
  });

  it('goes by the status when the time is over inside the answer', async () => {
    await using server = await startHttp(() => ({ status: 200, body: 'x', unfinished: true }));
    await using provider = await open({ timeout: 1 });
    expect((await provider.send(webhook(server.url), call())).outcome).to.equal('sent');
  });

  it('is a temporary failure when the name does not exist', async () => {
    await using provider = await open();
    const result = await provider.send(webhook('http://does-not-exist.invalid/'), call());
    expect(result).to.include({ outcome: 'temporary_failure', providerDown: false });
  });

  it('is a temporary failure when the endpoint does not speak TLS', async () => {
    await using server = await startHttp();
    await using provider = await open();
    const result = await provider.send(webhook(server.url.replace('http:', 'https:')), call());
    expect(result).to.include({ outcome: 'temporary_failure', providerDown: false });
  });
});

describe('a call of webhook', () => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'] as const) {
    it(`carries JSON by ${method}`, async () => {
      const request = await deliver({ method, body: { name: 'Olá', list: [1, null] } });
      expect(request).to.include({ method, path: '/hook?a=1', body: '{"name":"Olá","list":[1,null]}' });
      expect(request.headers['content-type']).to.equal('application/json');
    });
  }

  it('carries no body by GET', async () => {
    const request = await deliver({ method: 'GET' });
    expect(request).to.include({ method: 'GET', body: '' });
    expect(request.headers).not.to.have.any.keys('content-type', 'content-length', 'transfer-encoding');
  });

  it('says who calls', async () => {
    const request = await deliver({});
    expect(request.headers['user-agent']).to.match(/^Carillon\/\d/);
  });

  it("carries the caller's headers, which replace those that may be replaced", async () => {
    const request = await deliver({ headers: { 'X-Own': 'yes', 'Content-Type': 'application/cloudevents+json' } });
    expect(request.headers).to.include({ 'x-own': 'yes', 'content-type': 'application/cloudevents+json' });
  });

  it('leaves reserved headers of the caller out', async () => {
    const names = [...RESERVED_WEBHOOK_HEADERS, 'Webhook-Anything', 'Host'];
    const request = await deliver({ headers: Object.fromEntries(names.map((name) => [name, 'forged'])) });
    expect(request.rawHeaders).not.to.include('forged');
  });

  for (const [where, headers] of [
    ['value', { 'x-own': 'a\r\nX-Evil: yes' }],
    ['name', { 'x-own: a\r\nX-Evil': 'yes' }],
  ] as const) {
    it(`cannot be given a header through a line break in a header's ${where}`, async () => {
      await using server = await startHttp();
      await using provider = await open();
      await provider.send(webhook(server.url, { headers }), call());
      expect(server.requests.flatMap((request) => Object.keys(request.headers))).not.to.include('x-evil');
    });
  }

  it('that cannot be written is a permanent failure', async () => {
    await using server = await startHttp();
    await using provider = await open();
    const result = await provider.send(webhook(server.url, { headers: { 'x-own': 'a\r\nb' } }), call());
    expect(result.outcome).to.equal('permanent_failure');
  });

  it('goes out in its turn when all places were taken', async () => {
    await using server = await startHttp();
    await using provider = await open({ maxConcurrent: 1 });
    const numbers = [1, 2, 3, 4, 5];
    const sends = numbers.map((body) => provider.send(webhook(server.url, { body }), call()));
    for (const { outcome } of await Promise.all(sends)) expect(outcome).to.equal('sent');
    expect(server.requests.map(({ body }) => Number(body))).to.deep.equal(numbers);
  });
});

describe('an endpoint of webhook that is silent', () => {
  it('keeps no more than half of the places, and what waits for it goes back at no cost', async () => {
    await using silent = await startHttp(() => 'hang');
    await using other = await startHttp();
    await using provider = await open({ maxConcurrent: 4 });
    const first = [1, 2].map(() => provider.send(webhook(silent.url), call()));
    const third = provider.send(webhook(silent.url), call());
    expect((await provider.send(webhook(other.url), call())).outcome).to.equal('sent');
    expect(await third).to.include({ outcome: 'rate_limited', code: 'endpoint_busy' });
    const more = Array.from({ length: 20 }, () => provider.send(webhook(silent.url), call()));
    // At once, however many there are: each would keep a place of the worker for as long as it waited.
    const next = await Promise.race([Promise.all(more), provider.send(webhook(other.url), call())]);
    expect(next).to.be.an('array').of.length(20);
    expect(silent.requests).to.have.length(2);
    await provider[Symbol.asyncDispose]();
    await Promise.all(first);
  });
});

describe('the signature of webhook', () => {
  const verify = (secret: string, request: ReceivedRequest): unknown =>
    new Webhook(secret).verify(request.body, request.headers as Record<string, string>);

  it('is accepted by the Standard Webhooks library', async () => {
    const request = await deliver({ body: { name: 'Olá' } }, { secrets: [SECRET] });
    expect(verify(SECRET, request)).to.deep.equal({ name: 'Olá' });
  });

  it('is accepted for either secret while one is changed', async () => {
    const request = await deliver({}, { secrets: [SECRET, NEXT_SECRET] });
    expect(verify(SECRET, request)).to.deep.equal({ order: 7 });
    expect(verify(NEXT_SECRET, request)).to.deep.equal({ order: 7 });
  });

  it('is not accepted for another secret or another body', async () => {
    const request = await deliver({}, { secrets: [SECRET] });
    expect(() => verify(NEXT_SECRET, request)).to.throw();
    expect(() => verify(SECRET, { ...request, body: '{"order":8}' })).to.throw();
  });

  it('covers the empty body of a GET', async () => {
    const request = await deliver({ method: 'GET' }, { secrets: [SECRET] });
    const options = { jsonParse: false };
    const check = () => new Webhook(SECRET).verify('', request.headers as Record<string, string>, options);
    expect(check).not.to.throw();
  });

  it('names the notification on every try', async () => {
    const { notificationId } = webhook('http://x.test/');
    for (const secrets of [[], [SECRET]]) {
      const request = await deliver({}, { secrets });
      expect(request.headers['webhook-id']).to.equal(notificationId);
    }
  });

  it('is missing without a secret', async () => {
    const request = await deliver({});
    expect(request.headers).not.to.have.property('webhook-signature');
  });

  for (const secret of ['', 'secret', 'whsec_', 'whsec_c2hvcnQ=', SECRET.slice('whsec_'.length)]) {
    it(`is not made with a bad secret: '${secret.slice(0, 12)}'`, async () => {
      const thrown: unknown = await open({ secrets: [secret] }).catch((error: unknown) => error);
      expect(thrown).to.be.instanceOf(CarillonError);
    });
  }
});

describe('webhook and addresses that are not public', () => {
  const refused: readonly string[] = [
    'http://127.0.0.1:1/',
    'http://localhost:1/',
    'http://[::1]:1/',
    'http://0.0.0.0:1/',
    'http://2130706433/',
    'http://0x7f.1/',
    'http://0177.0.0.1/',
    'http://[::ffff:127.0.0.1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://169.254.169.254/latest/meta-data/',
    'http://user:password@93.184.215.14/',
    'ftp://93.184.215.14/',
    'file:///etc/passwd',
  ];
  for (const url of refused) {
    it(`refuses ${url}`, async () => {
      await using provider = await open({ allowPrivate: [] });
      const result = await provider.send(webhook(url), call());
      expect(result).to.include({ outcome: 'permanent_failure', code: 'address_refused' });
    });
  }

  it('is an invalid recipient when it is no URL at all', async () => {
    await using provider = await open({ allowPrivate: [] });
    expect((await provider.send(webhook('not a url'), call())).outcome).to.equal('invalid_recipient');
  });

  for (const allowed of ['127.0.0.1', '127.0.0.0/8']) {
    it(`calls a private address that ${allowed} allows`, async () => {
      await using server = await startHttp();
      await using provider = await open({ allowPrivate: [allowed] });
      expect((await provider.send(webhook(server.url), call())).outcome).to.equal('sent');
    });
  }

  it('calls a private host that is allowed by name, and only by that name', async () => {
    await using server = await startHttp();
    await using provider = await open({ allowPrivate: ['LocalHost'] });
    const byName = await provider.send(webhook(server.url.replace('127.0.0.1', 'localhost')), call());
    expect(byName.outcome).to.equal('sent');
    expect(await provider.send(webhook(server.url), call())).to.include({ code: 'address_refused' });
  });
});
