import { createHmac } from 'node:crypto';
import { expect } from 'chai';
import type { Json, JsonObject } from '../../../src/domain/notification.ts';
import type { ProviderReceipt } from '../../../src/domain/receipt.ts';
import { mailgun } from '../../../src/providers/email/mailgun.ts';
import type { CallbackResult } from '../../../src/providers/provider.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

const KEY = 'key-0123456789abcdef';
const NEXT_KEY = 'key-fedcba9876543210';
const URL_TOKEN = 'Zk3vQ9-xW7_bT1mPnR5sYd8H';
const ID = '0197f3c2-0000-7000-8000-000000000001';
const NONCE = 'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee';
/** Seconds. */
const SIGNED_AT = 1_767_225_600;
const NOW = SIGNED_AT * 1_000 + 2_000;
/** `openssl dgst -sha256 -hmac` of SIGNED_AT and NONCE under KEY. */
const VECTOR = '00ddd7ba44870e15db1c9736e4650f83c1737c9cede6c71f5ab70e3b7e979572';
const HOUR = 3_600_000;

const SETTINGS: GivenSettings = {
  domain: 'mg.example.org',
  apiKey: 'k',
  signingKeys: [KEY, NEXT_KEY],
  callbackToken: URL_TOKEN,
  baseUrl: 'http://127.0.0.1:9',
};

interface Given {
  readonly event?: JsonObject;
  readonly body?: string;
  readonly signature?: JsonObject;
  readonly key?: string;
  readonly path?: string;
  readonly now?: number;
}

describe('mailgun takes a callback', () => {
  it('with the signature that openssl makes, and its token as nonce', async () => {
    const result = await receive({ signature: { signature: VECTOR } });
    expect(result).to.deep.equal({ kind: 'genuine', nonce: NONCE, receipts: [receipt('delivered')] });
  });

  it('signed with either key while keys are changed', async () => {
    expect((await receive({ key: NEXT_KEY })).kind).to.equal('genuine');
  });

  it('with the time as a number', async () => {
    expect((await receive({ signature: { timestamp: SIGNED_AT } })).kind).to.equal('genuine');
  });

  it('for a subaccount, by its own signature and not by that of the parent', async () => {
    const parent = hmac(KEY, SIGNED_AT, NONCE);
    const own = hmac('key-of-somebody-else', SIGNED_AT, NONCE);
    expect((await receive({ signature: { 'parent-signature': own } })).kind).to.equal('genuine');
    expect((await receive({ signature: { signature: own, 'parent-signature': parent } })).kind).to.equal('refused');
  });

  it('below a path of the public URL', async () => {
    expect((await receive({ path: `/hooks/callbacks/mailgun/${URL_TOKEN}` })).kind).to.equal('genuine');
  });

  it('that is repeated eight hours later', async () => {
    expect((await receive({ now: NOW + 8 * HOUR })).kind).to.equal('genuine');
  });
});

describe('mailgun refuses, so that it is not repeated,', () => {
  const cases: readonly (readonly [string, Given])[] = [
    ['a URL without the token', { path: '/callbacks/mailgun' }],
    ['a URL with another token', { path: `/callbacks/mailgun/${URL_TOKEN.toLowerCase()}` }],
    ['a URL that goes on after the token', { path: `/callbacks/mailgun/${URL_TOKEN}/` }],
    ['another key', { key: 'key-of-somebody-else' }],
    ['a signature that was changed', { signature: { signature: `f${VECTOR.slice(1)}` } }],
    ['a signature that is cut short', { signature: { signature: VECTOR.slice(0, 62) } }],
    ['a signature that is no hex', { signature: { signature: 'z'.repeat(64) } }],
    ['another time under the same signature', { signature: { timestamp: String(SIGNED_AT + 1), signature: VECTOR } }],
    ['another token under the same signature', { signature: { token: 'f'.repeat(50), signature: VECTOR } }],
    ['a time a day old', { now: NOW + 24 * HOUR }],
    ['a time in the future', { now: NOW - HOUR }],
    ['a body without a signature', { body: '{"event-data":{"event":"delivered"}}' }],
    ['a body that is not JSON', { body: '<xml/>' }],
    ['a body that is no object', { body: 'null' }],
    ['an empty body', { body: '' }],
  ];
  for (const [what, given] of cases) {
    it(what, async () => {
      expect(await receive(given)).to.include({ kind: 'refused', status: 406 });
    });
  }

  const digits = '7'.repeat(50);
  for (const [what, timestamp, token] of [
    ['to the time', `${SIGNED_AT}7`, digits.slice(1)],
    ['to the token', String(SIGNED_AT).slice(0, 9), `0${digits}`],
  ] as const) {
    it(`a digit moved ${what}, under which the signature holds all the same`, async () => {
      const signature = hmac(KEY, timestamp, token);
      expect(signature).to.equal(hmac(KEY, SIGNED_AT, digits));
      expect((await receive({ signature: { timestamp, token, signature } })).kind).to.equal('refused');
    });
  }
});

describe('mailgun has no callbacks', () => {
  for (const [what, given] of [
    ['signing keys', { signingKeys: [] }],
    ['a signing key that says something', { signingKeys: [''] }],
    ['a callback token', { callbackToken: '' }],
  ] as const) {
    it(`without ${what}`, async () => {
      await using provider = await openProvider(mailgun, { ...SETTINGS, ...given });
      expect(provider.receive).to.equal(undefined);
    });
  }
});

describe('mailgun reads its events', () => {
  for (const [event, kind] of [
    ['accepted', 'sent'],
    ['delivered', 'delivered'],
    ['opened', 'opened'],
    ['clicked', 'clicked'],
    ['complained', 'complained'],
    ['unsubscribed', 'unsubscribed'],
    ['rejected', 'failed'],
  ] as const) {
    it(`${event} is ${kind}`, async () => {
      expect(await receipts({ event })).to.deep.equal([receipt(kind)]);
    });
  }

  for (const [reason, hard] of [
    ['bounce', true],
    ['delayed-bounce', true],
    ['suppress-bounce', true],
    ['', true],
    ['old', false],
    ['espblock', false],
    ['generic', false],
  ] as const) {
    it(`failed for good with the reason "${reason}" is a ${hard ? 'hard' : 'soft'} bounce`, async () => {
      const [bounce, ...others] = await receipts({ event: 'failed', severity: 'permanent', reason });
      expect(bounce).to.include({ eventId: 'ev-1', kind: 'bounced' });
      expect(bounce?.hard ?? false).to.equal(hard);
      expect(others).to.have.length(0);
    });
  }

  for (const [reason, kind] of [
    ['suppress-unsubscribe', 'unsubscribed'],
    ['suppress-complaint', 'complained'],
  ] as const) {
    it(`failed for good with the reason "${reason}" came back, and is ${kind}`, async () => {
      const all = await receipts({ event: 'failed', severity: 'permanent', reason });
      expect(all.map((one) => one.kind)).to.deep.equal(['bounced', kind]);
      expect(all.some((one) => one.hard)).to.equal(false);
      expect(new Set(all.map((one) => one.eventId)).size).to.equal(2);
    });
  }

  it('failed for now is nothing, as Mailgun goes on trying', async () => {
    expect(await receipts({ event: 'failed', severity: 'temporary', reason: 'generic' })).to.deep.equal([]);
  });

  it('failed for now after the last try is a soft bounce', async () => {
    const [bounce] = await receipts({ event: 'failed', severity: 'temporary', reason: 'old' });
    expect(bounce).to.include({ kind: 'bounced' }).and.not.have.property('hard');
  });

  it('an open by a scanner is marked, one by a person is not', async () => {
    const [scanned] = await receipts({ event: 'opened', 'client-info': { bot: 'apple' } });
    const [read] = await receipts({ event: 'opened', 'client-info': { bot: '' } });
    expect([scanned?.machine, read?.machine]).to.deep.equal([true, undefined]);
  });

  it("tells the server's code and words without the address", async () => {
    const [bounce] = await receipts({
      event: 'failed',
      severity: 'permanent',
      reason: 'bounce',
      'delivery-status': { code: 550, message: '5.1.1 <Ada@Example.com>\r\nno such user', description: '' },
    });
    expect(bounce).to.include({ code: '550', detail: '5.1.1 <[address]> no such user' });
  });

  it('tells why Mailgun rejected it', async () => {
    const [failed] = await receipts({ event: 'rejected', reject: { reason: 'Sandbox subdomains are for tests' } });
    expect(failed).to.include({ kind: 'failed', detail: 'Sandbox subdomains are for tests' });
  });

  it('leaves out what names no notification, has no id or means nothing here', async () => {
    expect(await receipts({ 'user-variables': {} })).to.deep.equal([]);
    expect(await receipts({ 'user-variables': [] })).to.deep.equal([]);
    expect(await receipts({ id: '' })).to.deep.equal([]);
    expect(await receipts({ event: 'stored' })).to.deep.equal([]);
    expect(await receipts({ event: null })).to.deep.equal([]);
  });

  it('takes the time of the call for an event without one', async () => {
    const [one] = await receipts({ timestamp: 'yesterday' });
    expect(one?.at).to.equal(NOW);
  });
});

async function receive(given: Given): Promise<CallbackResult> {
  await using provider = await openProvider(mailgun, SETTINGS);
  const result = await provider.receive?.({
    url: new URL(`https://hooks.example.org${given.path ?? `/callbacks/mailgun/${URL_TOKEN}`}`),
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(given.body ?? bodyOf(given)),
    now: given.now ?? NOW,
    signal: new AbortController().signal,
  });
  if (result === undefined) throw new Error('it has no callbacks');
  return result;
}

async function receipts(event: JsonObject): Promise<readonly ProviderReceipt[]> {
  const result = await receive({ event });
  if (result.kind !== 'genuine') throw new Error(result.why);
  return result.receipts;
}

function bodyOf({ event, signature, key = KEY }: Given): string {
  const signed = { timestamp: String(SIGNED_AT), token: NONCE, signature: hmac(key, SIGNED_AT, NONCE) };
  const data: Record<string, Json> = {
    event: 'delivered',
    id: 'ev-1',
    timestamp: SIGNED_AT - 1.75,
    recipient: 'ada@example.com',
    'user-variables': { carillon_id: ID, other: '1' },
    ...event,
  };
  return JSON.stringify({ signature: { ...signed, ...signature }, 'event-data': data });
}

const receipt = (kind: ProviderReceipt['kind']): ProviderReceipt => ({
  eventId: 'ev-1',
  kind,
  notificationId: ID,
  address: 'ada@example.com',
  at: SIGNED_AT * 1_000 - 1_750,
});

const hmac = (key: string, timestamp: number | string, token: string): string =>
  createHmac('sha256', key).update(`${timestamp}${token}`).digest('hex');
