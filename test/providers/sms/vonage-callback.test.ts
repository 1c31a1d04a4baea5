import { createHash, createHmac, createSign, generateKeyPairSync } from 'node:crypto';
import { expect } from 'chai';
import type { CallbackResult } from '../../../src/providers/provider.ts';
import { vonage } from '../../../src/providers/sms/vonage.ts';
import { openProvider } from '../open-provider.ts';

const SECRET = 'signature-secret-0123456789abcdef';
const OLD_SECRET = 'the-secret-of-last-month-012345678';
const ID = '0197f3c2-0000-7000-8000-000000000001';
const UUID = 'aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab';
const NOW = 1_790_000_000_000;
const AT = '2026-09-21T12:00:00.000Z';
const MINUTE = 60;
const HOUR = 60 * MINUTE;

const status = {
  message_uuid: UUID,
  to: '15551230000',
  from: '15550000001',
  timestamp: AT,
  status: 'delivered',
  channel: 'sms',
  client_ref: ID,
};

const error = (code: number | string, title: number | string = code): object => ({
  error: {
    type: `https://developer.vonage.com/api-errors/messages#${code}`,
    title,
    detail: 'in its words',
    instance: 'x',
  },
});

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const hashOf = (body: string): string => createHash('sha256').update(body).digest('hex');

interface Given {
  readonly event?: object;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly head?: object;
  readonly secret?: string;
  readonly signatureSecrets?: readonly string[];
  /** What comes in place of what was signed. */
  readonly body?: string;
  /** Undefined: none. */
  readonly authorization?: string | undefined;
}

/** The token is made here by hand, so that the check is not of a library with itself. */
function bearer(body: string, { claims = {}, head = { alg: 'HS256', typ: 'JWT' }, secret = SECRET }: Given): string {
  const given = {
    iat: NOW / 1_000,
    jti: 'c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5',
    iss: 'Vonage',
    payload_hash: hashOf(body),
    api_key: 'abcd1234',
    application_id: 'aaaaaaaa-bbbb-cccc-dddd-0123456789ab',
    ...claims,
  };
  const signed = `${part(head)}.${part(given)}`;
  return `Bearer ${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

async function receive(given: Given): Promise<CallbackResult> {
  const { event = status, signatureSecrets = [SECRET] } = given;
  const body = JSON.stringify(event);
  const settings = { apiKey: 'abcd1234', apiSecret: 'secret', signatureSecrets };
  await using provider = await openProvider(vonage, settings);
  const result = await provider.receive?.({
    url: new URL('https://hooks.example.org/callbacks/vonage'),
    headers: { authorization: 'authorization' in given ? given.authorization : bearer(body, given) },
    body: Buffer.from(given.body ?? body),
    now: NOW,
    signal: new AbortController().signal,
  });
  if (result === undefined) throw new Error('it has no callbacks');
  return result;
}

describe('vonage reads its callbacks', () => {
  it('into a receipt for the notification in the reference', async () => {
    expect(await receive({})).to.deep.equal({
      kind: 'genuine',
      nonce: 'c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5',
      receipts: [
        {
          eventId: `${UUID}.delivered`,
          kind: 'delivered',
          notificationId: ID,
          at: Date.parse(AT),
          address: '+15551230000',
        },
      ],
    });
  });

  for (const [word, problem, expected] of [
    ['submitted', {}, { kind: 'sent' }],
    ['delivered', {}, { kind: 'delivered' }],
    ['read', {}, { kind: 'opened' }],
    ['undeliverable', error(1_260), { kind: 'bounced', code: '1260' }],
    ['undeliverable', {}, { kind: 'bounced' }],
    ['rejected', {}, { kind: 'failed' }],
    ['rejected', error(1_360), { kind: 'failed', code: '1360' }],
    ['rejected', error('rejected', '1030'), { kind: 'failed', code: '1030' }],
    ['rejected', error('rejected', 'Rejected'), { kind: 'failed', code: 'rejected' }],
    ...[1_050, 1_170, 1_190, 1_240, 1_260, 1_280, 1_430].map(
      (code) => ['rejected', error(code), { kind: 'bounced', hard: true, code: String(code) }] as const,
    ),
    ['rejected', error('rejected', 1_190), { kind: 'bounced', hard: true, code: '1190' }],
  ] as const) {
    it(`and takes ${word} with ${JSON.stringify(problem)} for ${JSON.stringify(expected)}`, async () => {
      const result = await receive({ event: { ...status, status: word, ...problem } });
      if (result.kind !== 'genuine') throw new Error(result.why);
      expect(result.receipts).to.deep.equal([
        {
          eventId: `${UUID}.${word}`,
          notificationId: ID,
          at: Date.parse(AT),
          address: '+15551230000',
          ...('error' in problem ? { detail: 'in its words' } : {}),
          ...expected,
        },
      ]);
    });
  }

  it('with its own time where the event has none', async () => {
    const result = await receive({ event: { ...status, timestamp: 'soon' } });
    expect(result).to.have.nested.property('receipts[0].at', NOW);
  });

  for (const [what, event] of [
    ['has a status of no meaning here', { ...status, status: 'seen' }],
    ['has a status that is a word of JavaScript', { ...status, status: 'constructor' }],
    ['names no message', { ...status, message_uuid: undefined }],
    ['names no notification', { ...status, client_ref: undefined }],
    ['is a message that came in', { ...status, status: undefined, text: 'Stop' }],
    ['is a list', [status]],
  ] as const) {
    it(`and leaves out what ${what}`, async () => {
      expect(await receive({ event })).to.deep.include({ kind: 'genuine', receipts: [] });
    });
  }

  for (const [what, given] of [
    ['signed with an older secret', { secret: OLD_SECRET, signatureSecrets: [SECRET, OLD_SECRET] }],
    ['repeated for nearly a day', { claims: { iat: NOW / 1_000 - 23 * HOUR } }],
    ['from a clock that is a little fast', { claims: { iat: NOW / 1_000 + 4 * MINUTE } }],
  ] as const) {
    it(`that are ${what}`, async () => {
      expect((await receive(given)).kind).to.equal('genuine');
    });
  }

  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' });
  const byRsa = (): string => {
    const [head, claims] = bearer(JSON.stringify(status), { head: { alg: 'RS256' } })
      .slice('Bearer '.length)
      .split('.');
    const signature = createSign('sha256').update(`${head}.${claims}`).sign(rsa.privateKey, 'base64url');
    return `Bearer ${head}.${claims}.${signature}`;
  };

  for (const [what, given] of [
    ['a body that was changed', { body: JSON.stringify({ ...status, status: 'rejected' }) }],
    ['a body with other blanks', { body: JSON.stringify(status, null, 2) }],
    ['another secret', { secret: OLD_SECRET }],
    ['an empty secret among its own', { secret: '', signatureSecrets: [SECRET, ''] }],
    ['a token of two days ago', { claims: { iat: NOW / 1_000 - 48 * HOUR } }],
    ['a token of 1970', { claims: { iat: 1 } }],
    ['a token of tomorrow', { claims: { iat: NOW / 1_000 + 24 * HOUR } }],
    ['a token that is over', { claims: { exp: NOW / 1_000 - HOUR } }],
    ['a token without a time', { claims: { iat: undefined } }],
    ['a token of somebody else', { claims: { iss: 'Mallory' } }],
    ['a token without an issuer', { claims: { iss: undefined } }],
    ['a token without a name', { claims: { jti: undefined } }],
    ['a token with an empty name', { claims: { jti: '' } }],
    ['a token without a hash', { claims: { payload_hash: undefined } }],
    ['a token whose hash is none', { claims: { payload_hash: 'no hex' } }],
    ['a token that need not be signed', { head: { alg: 'none' } }],
    ['another algorithm', { head: { alg: 'HS512' } }],
    ['a key pair in place of the secret', { authorization: byRsa(), signatureSecrets: [publicPem] }],
    ['a login in place of a token', { authorization: 'Basic YTpi' }],
    ['an empty token', { authorization: 'Bearer ' }],
    ['a token that is none', { authorization: 'Bearer a.b' }],
    ['letters that are no token', { authorization: 'Bearer \u{1F511}..%%' }],
  ] as const) {
    it(`and refuses ${what}`, async () => {
      expect(await receive(given)).to.include({ kind: 'refused', status: 401 });
    });
  }

  it('and refuses a signed body that is not JSON', async () => {
    const body = '<xml/>';
    expect(await receive({ body, authorization: bearer(body, {}) })).to.include({ kind: 'refused', status: 400 });
  });

  it('and wants one that came unsigned once more', async () => {
    expect(await receive({ authorization: undefined })).to.include({ kind: 'refused', status: 503 });
  });

  it('not at all without a secret', async () => {
    await using provider = await openProvider(vonage, { apiKey: 'abcd1234', apiSecret: 'secret' });
    expect(provider.receive).to.equal(undefined);
  });
});
