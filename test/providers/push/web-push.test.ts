import { createPublicKey, ECDH, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { expect } from 'chai';
import { jwtVerify } from 'jose';
import { systemClock, type Clock } from '../../../src/domain/clock.ts';
import type { Device } from '../../../src/domain/notification.ts';
import type { Message, Provider, PushMessage, SendResult } from '../../../src/providers/provider.ts';
import { webPush } from '../../../src/providers/push/web-push.ts';
import { listen } from '../../support/listen.ts';
import { startHttp, type HttpAnswer, type HttpReaction, type ReceivedRequest } from '../../support/start-http.ts';
import { describeProvider, KEY, type Behaviour, type Limits, type Rig } from '../conformance.ts';
import { push } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';
import { servedRig, silentRig } from '../rigs.ts';
import { makeKeys } from './web-push-keys.ts';

const SUBJECT = 'mailto:push@example.org';

const VAPID = makeKeys();
const BROWSER = makeKeys();
const AUTH = randomBytes(16).toString('base64url');
const CAPABILITY = 'gAAAAABn-the-subscription-of-one-browser';

const SETTINGS: GivenSettings = { subject: SUBJECT, ...VAPID, allowPrivate: ['127.0.0.1'] };

const subscription = (endpoint: string, keys: Partial<Device> = {}): Device => ({
  kind: 'web_push',
  token: endpoint,
  p256dh: BROWSER.publicKey,
  auth: AUTH,
  ...keys,
});
const call = () => ({ key: KEY, signal: new AbortController().signal });
const open = (given: GivenSettings = {}, clock: Clock = systemClock): Promise<Provider> =>
  openProvider(webPush, { ...SETTINGS, ...given }, { clock });

/** Sends to a push service that answers so. */
async function answered(
  react: (request: ReceivedRequest) => HttpReaction,
  given: Partial<PushMessage> = {},
  clock?: Clock,
): Promise<{ result: SendResult; requests: readonly ReceivedRequest[]; url: string }> {
  await using server = await startHttp(react);
  await using provider = await open({}, clock);
  const message = push(subscription(`${server.url}/push/${CAPABILITY}`), given);
  return { result: await provider.send(message, call()), requests: server.requests, url: server.url };
}

const CREATED: HttpAnswer = { status: 201 };

async function openRig(behaviour: Behaviour, { timeoutMs, maxConcurrent }: Limits): Promise<Rig<Message>> {
  const provider = await open({ timeout: timeoutMs / 1_000, maxConcurrent });
  if (behaviour === 'silent_before')
    return await silentRig(async (url) => ({ provider, message: push(subscription(`${url}/push/1`)) }));
  const reactions: Readonly<Record<Exclude<Behaviour, 'silent_before'>, (request: ReceivedRequest) => HttpReaction>> = {
    accept: () => CREATED,
    absent: () => 'hang',
    silent_after: () => 'hang',
    reset_after: () => 'reset',
    echo_credentials: ({ headers, path }) => ({
      status: 400,
      body: `${VAPID.privateKey} ${headers.authorization} ${path} ${AUTH} are wrong`,
    }),
  };
  const server = await startHttp(reactions[behaviour]);
  return await servedRig(server, behaviour, {
    provider,
    message: push(subscription(`${server.url}/push/${CAPABILITY}`)),
    credentials: [VAPID.privateKey, CAPABILITY, AUTH, 'vapid t=ey'],
  });
}

describeProvider({ name: 'web_push', open: openRig });

describe('web_push reads the status of an answer', () => {
  const NOW = Date.parse('2026-11-22T12:00:00Z');
  const frozen: Clock = { ...systemClock, now: () => NOW };
  const after = (value: string) => ({ 'retry-after': value });
  const cases: readonly (readonly [string, HttpAnswer, SendResult])[] = [
    ['200', { status: 200 }, { outcome: 'sent', code: '200' }],
    ['201', CREATED, { outcome: 'sent', code: '201' }],
    ['202', { status: 202 }, { outcome: 'sent', code: '202' }],
    ['204, which no push service gives', { status: 204 }, { outcome: 'unknown', code: '204' }],
    ['a redirect', { status: 307, headers: { location: '/x' } }, { outcome: 'permanent_failure', code: '307' }],
    ['400', { status: 400, body: 'bad' }, { outcome: 'permanent_failure', code: '400', detail: 'bad' }],
    ['401', { status: 401 }, { outcome: 'provider_error', code: '401' }],
    ['403', { status: 403, body: 'no' }, { outcome: 'provider_error', code: '403', detail: 'no' }],
    ['404', { status: 404 }, { outcome: 'invalid_recipient', code: '404', suppress: 'invalid_token' }],
    ['408', { status: 408 }, { outcome: 'temporary_failure', code: '408', providerDown: false }],
    ['410', { status: 410 }, { outcome: 'invalid_recipient', code: '410', suppress: 'invalid_token' }],
    ['413', { status: 413 }, { outcome: 'permanent_failure', code: '413' }],
    ['429', { status: 429 }, { outcome: 'rate_limited', code: '429', recipientOnly: true }],
    [
      '429 with seconds',
      { status: 429, headers: after('7') },
      { outcome: 'rate_limited', code: '429', recipientOnly: true, retryAfterMs: 7_000 },
    ],
    [
      '429 with a date',
      { status: 429, headers: after('Sun, 22 Nov 2026 12:02:00 GMT') },
      { outcome: 'rate_limited', code: '429', recipientOnly: true, retryAfterMs: 120_000 },
    ],
    ['500', { status: 500 }, { outcome: 'temporary_failure', code: '500', providerDown: false }],
    ['502', { status: 502 }, { outcome: 'unknown', code: '502' }],
    ['503', { status: 503 }, { outcome: 'temporary_failure', code: '503', providerDown: false }],
    [
      '503 with seconds',
      { status: 503, headers: after('3') },
      { outcome: 'rate_limited', code: '503', recipientOnly: true, retryAfterMs: 3_000 },
    ],
    ['504', { status: 504 }, { outcome: 'unknown', code: '504' }],
    ['520, of Cloudflare', { status: 520 }, { outcome: 'unknown', code: '520' }],
    ['524, of Cloudflare', { status: 524 }, { outcome: 'unknown', code: '524' }],
  ];
  for (const [name, answer, expected] of cases) {
    it(`${name}: ${expected.outcome}`, async () => {
      const { result, requests } = await answered(() => answer, {}, frozen);
      expect(result).to.deep.equal(expected);
      expect(requests).to.have.length(1);
    });
  }

  it('shows nothing of an endpoint whose capability stands in its query', async () => {
    const secret = 'BQYAAAC%2bTHGG8c%3d';
    await using server = await startHttp(() => ({ status: 400, body: `${secret} or ${decodeURIComponent(secret)}` }));
    await using provider = await open();
    const result = await provider.send(push(subscription(`${server.url}/w/?token=${secret}`)), call());
    expect(result).to.include({ detail: '[redacted] or [redacted]' });
  });

  it('goes by the status when the answer never ends', async () => {
    await using server = await startHttp(() => ({ status: 201, body: 'x', unfinished: true }));
    await using provider = await open({ timeout: 1 });
    expect((await provider.send(push(subscription(server.url)), call())).outcome).to.equal('sent');
  });
});

describe('a call of web_push', () => {
  const headersOf = async (given: Partial<PushMessage>, clock?: Clock) => {
    const { requests, result } = await answered(() => CREATED, given, clock);
    expect(result.outcome).to.equal('sent');
    return requests[0]?.headers ?? {};
  };

  it('goes to the endpoint, encrypted', async () => {
    const { requests } = await answered(() => CREATED);
    expect(requests[0]).to.include({ method: 'POST', path: `/push/${CAPABILITY}` });
    expect(requests[0]?.headers).to.include({ 'content-encoding': 'aes128gcm' });
    expect(requests[0]?.body).not.to.contain('On its way');
  });

  it('is signed with the VAPID key for the service alone, for less than a day (RFC 8292)', async () => {
    const { requests, url } = await answered(() => CREATED);
    const [, token = '', key] = /^vapid t=([^,]+), k=(.+)$/.exec(requests[0]?.headers.authorization ?? '') ?? [];
    expect(key).to.equal(VAPID.publicKey);
    const point = Buffer.from(VAPID.publicKey, 'base64url');
    const [x, y] = [point.subarray(1, 33).toString('base64url'), point.subarray(33).toString('base64url')];
    const publicKey = createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x, y } });
    const { payload } = await jwtVerify(token, publicKey, { algorithms: ['ES256'], audience: url, subject: SUBJECT });
    expect(payload.exp).to.be.within(Date.now() / 1_000, Date.now() / 1_000 + 24 * 3_600);
  });

  for (const [priority, urgency] of [
    ['urgent', 'high'],
    ['high', 'high'],
    ['normal', 'normal'],
    ['low', 'low'],
  ] as const) {
    it(`has the urgency ${urgency} for the priority ${priority}`, async () => {
      expect((await headersOf({ priority }))['urgency']).to.equal(urgency);
    });
  }

  it('may be kept for four weeks where the message never expires', async () => {
    expect((await headersOf({}))['ttl']).to.equal('2419200');
  });

  for (const [left, ttl] of [
    [90_500, '90'],
    [10 * 7 * 24 * 3_600_000, '2419200'],
    [-5_000, '0'],
  ] as const) {
    it(`may be kept for ${ttl} s when it expires in ${left} ms`, async () => {
      const frozen: Clock = { ...systemClock, now: () => 1_795_000_000_000 };
      expect((await headersOf({ expiresAt: 1_795_000_000_000 + left }, frozen))['ttl']).to.equal(ttl);
    });
  }

  it('may have 3993 bytes, and with one more is a permanent failure that asks nobody', async () => {
    const around = JSON.stringify({ title: 'é', body: '', actions: [] });
    const body = 'x'.repeat(3_993 - Buffer.byteLength(around));
    const fits = await answered(() => CREATED, { push: { title: 'é', body, actions: [] } });
    expect(fits.result.outcome).to.equal('sent');
    expect(Number(fits.requests[0]?.headers['content-length'])).to.equal(4_096);
    const { result, requests } = await answered(() => CREATED, { push: { title: 'é', body: `${body}x`, actions: [] } });
    expect(result).to.include({ outcome: 'permanent_failure', code: 'payload_too_large' });
    expect(requests).to.be.empty;
  });

  for (const [what, keys] of [
    ['a public key that is too short', { p256dh: BROWSER.publicKey.slice(4) }],
    ['a public key off the curve', { p256dh: Buffer.alloc(65, 4).toString('base64url') }],
    ['a secret that is too short', { auth: 'c2hvcnQ' }],
    ['no public key', { p256dh: '' }],
    ['no secret', { auth: '' }],
  ] as const) {
    it(`is not made for ${what}: the subscription is given up`, async () => {
      await using server = await startHttp(() => CREATED);
      await using provider = await open();
      const result = await provider.send(push(subscription(server.url, keys)), call());
      expect(result).to.include({ outcome: 'invalid_recipient', code: 'keys_invalid', suppress: 'invalid_token' });
      expect(server.requests).to.be.empty;
    });
  }

  it('is only for subscriptions with their keys', async () => {
    await using provider = await open();
    const address = 'https://push.example.org/1';
    const { auth: _auth, ...keyless } = subscription(address);
    expect(provider.serves?.({ address, device: subscription(address) })).to.equal(true);
    expect(provider.serves?.({ address, device: keyless })).to.equal(false);
    expect(provider.serves?.({ address, device: { ...subscription(address), kind: 'onesignal' } })).to.equal(false);
    expect(provider.serves?.({ address })).to.equal(false);
  });
});

describe('web_push and addresses that are not public', () => {
  for (const endpoint of [
    'https://127.0.0.1:1/',
    'https://localhost:1/',
    'https://[::1]:1/',
    'https://0x7f.1/',
    'https://169.254.169.254/latest/meta-data/',
    'https://[::ffff:10.0.0.1]/',
    'https://user:password@93.184.215.14/',
    'http://127.0.0.1:1/',
  ]) {
    it(`refuses ${endpoint}`, async () => {
      await using provider = await open({ allowPrivate: [] });
      const result = await provider.send(push(subscription(endpoint)), call());
      expect(result).to.include({ outcome: 'permanent_failure', code: 'address_refused' });
    });
  }

  for (const endpoint of [
    'http://93.184.215.14/',
    'http://push.example.org/',
    'http://localhost:1/',
    'not a url',
    '',
  ]) {
    it(`is an invalid recipient: '${endpoint}'`, async () => {
      await using provider = await open();
      const result = await provider.send(push(subscription(endpoint)), call());
      expect(result).to.include({ outcome: 'invalid_recipient', code: 'url_invalid' });
    });
  }

  for (const [allowed, host] of [
    ['127.0.0.1', '127.0.0.1'],
    ['127.0.0.0/8', '127.0.0.1'],
    ['LocalHost', 'localhost'],
  ] as const) {
    it(`calls ${host}, also without TLS, when ${allowed} is allowed`, async () => {
      await using server = await startHttp(() => CREATED);
      await using provider = await open({ allowPrivate: [allowed] });
      const endpoint = server.url.replace('127.0.0.1', host);
      expect((await provider.send(push(subscription(endpoint)), call())).outcome).to.equal('sent');
    });
  }

  it('calls over TLS whom the authorities prove, and nobody else', async () => {
    const [key, cert] = ['localhost-key.pem', 'localhost-cert.pem'].map((name) =>
      readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8'),
    );
    const server = createTlsServer({ key, cert }, (request, response) => {
      request.resume();
      response.writeHead(201).end();
    });
    const endpoint = `https://localhost:${await listen(server)}/push/1`;
    await using trusting = await open({ allowPrivate: ['localhost'], caFile: cert ?? '' });
    await using doubting = await open({ allowPrivate: ['localhost'] });
    expect((await trusting.send(push(subscription(endpoint)), call())).outcome).to.equal('sent');
    expect((await doubting.send(push(subscription(endpoint)), call())).outcome).to.equal('temporary_failure');
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  it('is a temporary failure that stops nobody else when the name does not exist', async () => {
    await using provider = await open();
    const result = await provider.send(push(subscription('https://does-not-exist.invalid/')), call());
    expect(result).to.include({ outcome: 'temporary_failure', providerDown: false });
  });
});

describe('the keys of web_push', () => {
  const faults = (given: GivenSettings): readonly string[] =>
    webPush.configure((name) => ({ ...SETTINGS, ...given })[name] ?? webPush.settings[name]?.fallback ?? '').faults({});

  it('are taken when they are a pair', async () => {
    expect(faults({})).to.be.empty;
    await using provider = await open();
    expect((await provider.check?.(new AbortController().signal))?.ok).to.equal(true);
  });

  for (const [what, given] of [
    ['of two pairs', { publicKey: makeKeys().publicKey }],
    ['swapped', { publicKey: VAPID.privateKey, privateKey: VAPID.publicKey }],
    ['with padding', { publicKey: `${VAPID.publicKey}=` }],
    ['no number on the curve', { privateKey: Buffer.alloc(32).toString('base64url') }],
    [
      'in the short form of a public key',
      { publicKey: ECDH.convertKey(VAPID.publicKey, 'prime256v1', 'base64url', 'base64url', 'compressed') },
    ],
  ] as const) {
    it(`are not taken ${what}`, async () => {
      expect(faults(given)).to.have.length(1);
      await using provider = await open(given);
      expect((await provider.check?.(new AbortController().signal))?.ok).to.equal(false);
    });
  }

  for (const subject of ['https://example.org/contact', 'mailto:a@example.org']) {
    it(`come with a subject such as ${subject}`, () => {
      expect(faults({ subject })).to.be.empty;
    });
  }

  for (const subject of ['a@example.org', 'http://example.org', 'https://localhost/']) {
    it(`do not come with the subject ${subject}`, () => {
      expect(faults({ subject })).to.have.length(1);
    });
  }
});
