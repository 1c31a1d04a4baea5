import { generateKeyPairSync, verify } from 'node:crypto';
import { expect } from 'chai';
import type { OpenContext } from '../../../src/providers/definition.ts';
import type { PhoneFacts, SendResult, SmsMessage } from '../../../src/providers/provider.ts';
import { vonage } from '../../../src/providers/sms/vonage.ts';
import { startHttp, type HttpAnswer, type HttpReaction, type ReceivedRequest } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { answered, describeHttpProvider, outcome, providerDown, waits, type HttpSubject } from '../http-provider.ts';
import { sms } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const PEM = privateKey.export({ type: 'pkcs8', format: 'pem' });
const APPLICATION = 'aaaaaaaa-bbbb-cccc-dddd-0123456789ab';
const UUID = 'bbbbbbbb-bbbb-cccc-dddd-0123456789ab';
const ID = '0197f3c2-0000-7000-8000-000000000001';
const NOW = 1_790_000_000_000;
const CALLBACK = 'https://hooks.example.org/callbacks/vonage';
const SECRET = 'api-secret-that-nobody-may-see';
const LOGIN = `Basic ${Buffer.from(`abcd1234:${SECRET}`).toString('base64')}`;
const SIGNATURE_SECRET = 'signature-secret-that-nobody-may-see';

const application = { applicationId: APPLICATION, privateKeyFile: PEM };
const account = { apiKey: 'abcd1234', apiSecret: SECRET };

/** A problem as Vonage answers it. */
const problem = (status: number, code: number | string, more: object = {}): HttpAnswer => ({
  status,
  body: JSON.stringify({
    type: `https://developer.vonage.com/api-errors/messages#${code}`,
    title: 'A problem',
    detail: 'in its words',
    instance: 'bf0ca0bf927b3b52e3cb03217e1a1ddf',
    ...more,
  }),
});

const means =
  (expected: Partial<SendResult>) =>
  (result: SendResult): void => {
    expect(result).to.include(expected);
  };

/** The claims of a token that the application has signed, by RS256. */
function claimsOf(authorization: string | undefined): Record<string, unknown> {
  const [head = '', claims = '', signature = ''] = authorization?.replace(/^Bearer /, '').split('.') ?? [];
  const signed = verify('sha256', Buffer.from(`${head}.${claims}`), publicKey, Buffer.from(signature, 'base64url'));
  expect(signed, 'signed with the private key').to.equal(true);
  return JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>;
}

const subject: HttpSubject = {
  definition: vonage,
  settings: (baseUrl) => ({ ...application, signatureSecrets: [SIGNATURE_SECRET], baseUrl }),
  message: sms(),
  accepted: { status: 202, body: JSON.stringify({ message_uuid: UUID }) },
  credentials: [PEM, SIGNATURE_SECRET],
  context: { callbackUrl: CALLBACK },
  check({ method, path, headers, body }) {
    expect(method).to.equal('POST');
    expect(path).to.equal('/v1/messages');
    expect(headers['content-type']).to.equal('application/json');
    const { application_id: id, iat, exp, jti } = claimsOf(headers.authorization);
    expect(id).to.equal(APPLICATION);
    expect(jti).to.be.a('string').that.is.not.empty;
    expect(iat).to.be.closeTo(Date.now() / 1_000, 60);
    expect(exp).to.be.a('number').above(Number(iat));
    expect(JSON.parse(body)).to.deep.equal({
      channel: 'sms',
      message_type: 'text',
      to: '15551230000',
      from: '15550000001',
      text: 'Your order is on its way.',
      client_ref: ID,
      sms: { encoding_type: 'text' },
      webhook_url: CALLBACK,
      webhook_version: 'v1',
    });
  },
  answers: [
    [
      'a message id',
      { status: 202, body: JSON.stringify({ message_uuid: UUID }) },
      { outcome: 'sent', messageId: UUID },
    ],
    ['a 202 without a message id', { status: 202, body: '{}' }, outcome('unknown')],
    ['402, no money', problem(402, 'low-balance'), means({ outcome: 'provider_error', code: 'low-balance' })],
    [
      '422 that names the recipient',
      problem(422, 'invalid-params', { invalid_parameters: [{ name: 'to', reason: 'too short' }] }),
      means({ outcome: 'invalid_recipient', code: 'invalid-params', detail: 'in its words' }),
    ],
    [
      '422 with the code of a bad recipient',
      problem(422, 1_430),
      means({ outcome: 'invalid_recipient', code: '1430' }),
    ],
    [
      '422 that names the text',
      problem(422, 'invalid-params', { invalid_parameters: [{ name: 'text', reason: 'too long' }] }),
      means({ outcome: 'permanent_failure' }),
    ],
    ['422 that names nothing', problem(422, 1_120), means({ outcome: 'permanent_failure', code: '1120' })],
    [
      '422 that is not JSON',
      { status: 422, body: 'no' },
      means({ outcome: 'permanent_failure', code: '422', detail: 'no' }),
    ],
    ['429 of its own', { ...problem(429, 1_000), headers: { 'retry-after': '2' } }, waits(2_000)],
    ['401 of its own', problem(401, 'unauthorized'), means({ outcome: 'provider_error', code: 'unauthorized' })],
    ['500 of its own', problem(500, 1_030), providerDown],
  ],
};

describeHttpProvider(subject);

/** What was sent. */
async function sent(
  message: Partial<SmsMessage>,
  settings: GivenSettings = account,
  context: Partial<OpenContext> = {},
): Promise<{ request: ReceivedRequest; body: Record<string, unknown> }> {
  await using server = await startHttp(() => subject.accepted);
  await using provider = await openProvider(vonage, { baseUrl: server.url, ...settings }, context);
  const result = await provider.send(sms(message), { key: KEY, signal: new AbortController().signal });
  expect(result.outcome).to.equal('sent');
  const [request] = server.requests;
  if (request === undefined) throw new Error('no request arrived');
  return { request, body: JSON.parse(request.body) as Record<string, unknown> };
}

describe('vonage sends', () => {
  it('with the API key where there is no application', async () => {
    expect((await sent({})).request.headers.authorization).to.equal(LOGIN);
  });

  it('as the application where both are given', async () => {
    const { request } = await sent({}, { ...account, ...application });
    expect(claimsOf(request.headers.authorization)).to.include({ application_id: APPLICATION });
  });

  it("from the message's own sender before its own", async () => {
    expect((await sent({ from: 'Shop' }, { ...account, from: '+15550000002' })).body).to.include({ from: 'Shop' });
  });

  it("from its own sender before everybody's", async () => {
    expect((await sent({}, { ...account, from: '+15550000002' })).body).to.include({ from: '15550000002' });
  });

  it('text of any letters unchanged, in the coding that was counted', async () => {
    const { body } = await sent({ coding: 'unicode', text: 'Grüße & 好 = ✓' });
    expect(body).to.deep.include({ text: 'Grüße & 好 = ✓', sms: { encoding_type: 'unicode' } });
  });

  it('and asks for no receipts that it could not check', async () => {
    expect((await sent({}, account, { callbackUrl: CALLBACK })).body).not.to.have.property('webhook_url');
  });

  const clock = { now: () => NOW, sleep: async () => {} };
  for (const [what, left, ttl] of [
    ['the whole seconds that are left', 90_900, 90],
    ['at least twenty seconds', 5_000, 20],
    ['twenty seconds when it is over', -5_000, 20],
    ['at most a week', 30 * 86_400_000, 604_800],
  ] as const) {
    it(`with a time to live of ${what}`, async () => {
      expect((await sent({ expiresAt: NOW + left }, account, { clock })).body).to.include({ ttl });
    });
  }

  it('no bytes', async () => {
    await using server = await startHttp();
    await using provider = await openProvider(vonage, { ...account, baseUrl: server.url });
    const result = await provider.send(sms({ coding: 'binary', text: '00ff' }), {
      key: KEY,
      signal: new AbortController().signal,
    });
    expect(result).to.include({ outcome: 'permanent_failure', code: 'type_unsupported' });
    expect(server.requests).to.be.empty;
  });

  it('nothing with a key that cannot sign, and says that the fault is its own', async () => {
    await using server = await startHttp();
    await using provider = await openProvider(vonage, {
      ...application,
      privateKeyFile: 'no key',
      baseUrl: server.url,
    });
    const result = await provider.send(sms(), { key: KEY, signal: new AbortController().signal });
    expect(result.outcome).to.equal('provider_error');
    expect(server.requests).to.be.empty;
  });

  it('each call with the answer that is its own, side by side', async () => {
    await using server = await startHttp(({ body }) => {
      const { to } = JSON.parse(body) as { to: string };
      return to === '1' ? problem(429, 1_000) : { status: 202, body: JSON.stringify({ message_uuid: to }) };
    });
    await using provider = await openProvider(vonage, { ...account, baseUrl: server.url });
    const send = (to: string): Promise<SendResult> =>
      provider.send(sms({ to }), { key: KEY, signal: new AbortController().signal });
    const [first, second, third] = await Promise.all([send('+2'), send('+1'), send('+3')]);
    expect(first).to.include({ outcome: 'sent', messageId: '2' });
    expect(second).to.include({ outcome: 'rate_limited' });
    expect(third).to.include({ outcome: 'sent', messageId: '3' });
  });

  it('and ends one call with its own signal, not another', async () => {
    await using server = await startHttp(() => 'hang');
    await using provider = await openProvider(vonage, { ...account, baseUrl: server.url });
    const stopped = new AbortController();
    const going = new AbortController();
    const ended: string[] = [];
    const first = provider.send(sms(), { key: KEY, signal: stopped.signal }).finally(() => ended.push('first'));
    const second = provider.send(sms(), { key: KEY, signal: going.signal }).finally(() => ended.push('second'));
    await server.arrived(2);
    stopped.abort();
    expect((await first).outcome).to.equal('unknown');
    expect(ended).to.deep.equal(['first']);
    going.abort();
    expect((await second).outcome).to.equal('unknown');
  });
});

describe('vonage shows no credential', () => {
  for (const [what, repeat] of [
    ['in its JSON', (words: string) => problem(400, 1_020, { detail: words })],
    ['as it is', (words: string) => ({ status: 400, body: words })],
  ] as const) {
    it(`of an application whose token an answer repeats ${what}`, async () => {
      const tokens: string[] = [];
      await using server = await startHttp(({ headers: { authorization = '' } }) => {
        tokens.push(authorization.replace('Bearer ', ''));
        return repeat(`you said ${authorization}`);
      });
      await using provider = await openProvider(vonage, { ...application, baseUrl: server.url });
      const result = await provider.send(sms(), { key: KEY, signal: new AbortController().signal });
      expect(tokens).to.have.length(1);
      expect(result.detail).to.contain('you said');
      expect(result.detail).not.to.contain(tokens[0]?.slice(0, 20));
    });
  }

  it('of an account whose login an answer repeats', async () => {
    const settings = (baseUrl: string): GivenSettings => ({ ...account, baseUrl });
    const result = await answered({ ...subject, settings }, problem(400, 1_020, { detail: `${LOGIN} ${SECRET}` }));
    expect(result.detail).not.to.contain(LOGIN.slice('Basic '.length));
    expect(result.detail).not.to.contain(SECRET);
  });
});

describe('vonage needs credentials and a sender', () => {
  const faults = (given: GivenSettings, sender: string | undefined = '+1'): readonly string[] =>
    vonage
      .configure((name) => given[name] ?? vonage.settings[name]?.fallback ?? '')
      .faults(sender === '' ? {} : { sms: sender });
  const smallKey = generateKeyPairSync('rsa', { modulusLength: 1_024 }).privateKey;
  const otherKey = generateKeyPairSync('ed25519').privateKey;
  const pem = (key: typeof otherKey): string => key.export({ type: 'pkcs8', format: 'pem' });

  for (const [what, given] of [
    ['an application', application],
    ['an account', account],
    ['both', { ...application, ...account }],
  ] as const) {
    it(`and is content with ${what}`, () => {
      expect(faults(given)).to.be.empty;
    });
  }

  for (const [what, given] of [
    ['there are none', {}],
    ['the application has no key', { applicationId: APPLICATION }],
    ['the key has no application', { privateKeyFile: PEM }],
    ['the API key has no secret', { ...application, apiKey: 'abcd1234' }],
    ['the key is none', { applicationId: APPLICATION, privateKeyFile: 'not a key' }],
    ['the key is too short', { applicationId: APPLICATION, privateKeyFile: pem(smallKey) }],
    ['the key is of another kind', { applicationId: APPLICATION, privateKeyFile: pem(otherKey) }],
  ] as const) {
    it(`and says so when ${what}`, () => {
      expect(faults(given)).to.have.length(1);
    });
  }

  it('and says so when there is no sender', () => {
    expect(faults(account, '')).to.have.length(1);
    expect(faults({ ...account, from: 'Shop' }, '')).to.be.empty;
  });
});

describe('vonage asks about its credentials', () => {
  async function check(
    settings: GivenSettings,
    answer: HttpAnswer,
  ): Promise<{ ok: boolean | undefined; request: ReceivedRequest | undefined }> {
    await using server = await startHttp(() => answer);
    await using provider = await openProvider(vonage, { ...settings, baseUrl: `${server.url}/base/` });
    const result = await provider.check?.(new AbortController().signal);
    return { ok: result?.ok, request: server.requests[0] };
  }

  it('by reading its application', async () => {
    const { ok, request } = await check({ ...application, ...account }, { status: 200, body: '{}' });
    expect(ok).to.equal(true);
    expect(request).to.include({ method: 'GET', path: `/base/v2/applications/${APPLICATION}` });
    expect(request?.headers.authorization).to.equal(LOGIN);
  });

  it('by listing applications where it has none', async () => {
    expect((await check(account, { status: 200, body: '{}' })).request?.path).to.equal(
      '/base/v2/applications?page_size=1',
    );
  });

  it('and takes a no for a no', async () => {
    expect((await check(account, problem(401, 'unauthorized'))).ok).to.equal(false);
  });

  it('not as an application alone, which nothing can be asked as', async () => {
    expect(await check(application, { status: 200 })).to.deep.equal({ ok: undefined, request: undefined });
  });
});

describe('vonage looks numbers up', () => {
  async function lookUp(reaction: HttpReaction): Promise<{ facts: PhoneFacts; request: ReceivedRequest | undefined }> {
    await using server = await startHttp(() => reaction);
    await using provider = await openProvider(vonage, { ...account, baseUrl: `${server.url}/base` });
    const facts = await provider.lookUpPhone?.('+447700900000', new AbortController().signal);
    if (facts === undefined) throw new Error('it cannot look up');
    return { facts, request: server.requests[0] };
  }

  const insight = (status: number, more: object = {}): HttpAnswer => ({
    status: 200,
    body: JSON.stringify({ status, status_message: 'in its words', ...more }),
  });
  const known = (type: string): HttpAnswer =>
    insight(0, { country_code: 'GB', current_carrier: { network_type: type, name: 'Example Mobile', country: 'GB' } });

  it('with the account, by the standard insight', async () => {
    const { request } = await lookUp(known('mobile'));
    expect(request).to.include({ method: 'GET', path: '/base/ni/standard/json?number=447700900000' });
    expect(request?.headers.authorization).to.equal(LOGIN);
  });

  for (const [type, expected] of [
    ['mobile', 'mobile'],
    ['landline', 'landline'],
    ['landline_premium', 'landline'],
    ['landline_tollfree', 'landline'],
    ['virtual', 'voip'],
    ['pager', 'other'],
  ] as const) {
    it(`and calls ${type} ${expected}`, async () => {
      const { facts } = await lookUp(known(type));
      expect(facts).to.deep.equal({ valid: true, type: expected, country: 'GB', carrier: 'Example Mobile' });
    });
  }

  it('and leaves out what is not known', async () => {
    const answer = insight(0, { country_code: 'GB', current_carrier: { network_type: 'unknown', name: null } });
    expect((await lookUp(answer)).facts).to.deep.equal({ valid: true, country: 'GB' });
  });

  it('and says that a number is not valid', async () => {
    expect((await lookUp(insight(3))).facts).to.deep.equal({ valid: false });
  });

  for (const [what, reaction] of [
    ['its throttle', insight(1)],
    ['refused credentials', insight(4)],
    ['a 200 that says nothing', { status: 200, body: '{}' }],
    ['a 401', problem(401, 'unauthorized')],
    ['a broken connection', 'reset'],
  ] as const) {
    it(`and fails on ${what}`, async () => {
      const reason = await lookUp(reaction).then(
        () => 'it answered',
        (thrown: unknown) => thrown,
      );
      expect(reason).to.include({ reason: 'LOOKUP_FAILED' });
    });
  }

  it('not as an application alone', async () => {
    await using provider = await openProvider(vonage, application);
    expect(provider.lookUpPhone).to.equal(undefined);
  });
});
