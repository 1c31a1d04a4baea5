import { createHmac } from 'node:crypto';
import { expect } from 'chai';
import type { OpenContext } from '../../../src/providers/definition.ts';
import type { CallbackResult, PhoneFacts, SendResult, SmsMessage } from '../../../src/providers/provider.ts';
import { twilio } from '../../../src/providers/sms/twilio.ts';
import { startHttp, type HttpAnswer, type HttpReaction, type ReceivedRequest } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { answered, describeHttpProvider, outcome, providerDown, type HttpSubject } from '../http-provider.ts';
import { sms } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

const SID = 'ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa';
const TOKEN = 'a-token-that-nobody-may-see';
const OLD_TOKEN = 'the-token-of-last-month';
const ID = '0197f3c2-0000-7000-8000-000000000001';
const NOW = 1_790_000_000_000;
const CALLBACK = 'https://hooks.example.org/callbacks/twilio';
const LOGIN = `Basic ${Buffer.from(`${SID}:${TOKEN}`).toString('base64')}`;

const account = { accountSid: SID, authToken: TOKEN };

/** An error as Twilio answers it. */
const error = (status: number, code: number, message = 'in its words'): HttpAnswer => ({
  status,
  body: JSON.stringify({ code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status }),
});

const means =
  (expected: Partial<SendResult>) =>
  (result: SendResult): void => {
    expect(result).to.include(expected);
  };

const rows = (codes: readonly number[], status: number, expected: Partial<SendResult>): HttpSubject['answers'] =>
  codes.map((code) => [`error ${code}`, error(status, code), means({ ...expected, code: String(code) })] as const);

const subject: HttpSubject = {
  definition: twilio,
  settings: (baseUrl) => ({ ...account, baseUrl }),
  message: sms(),
  accepted: { status: 201, body: JSON.stringify({ sid: 'SM1', status: 'queued' }) },
  credentials: [TOKEN, LOGIN],
  context: { callbackUrl: CALLBACK },
  check({ method, path, headers, body }) {
    expect(method).to.equal('POST');
    expect(path).to.equal(`/2010-04-01/Accounts/${SID}/Messages.json`);
    expect(headers.authorization).to.equal(LOGIN);
    expect(headers['content-type']).to.equal('application/x-www-form-urlencoded');
    expect(Object.fromEntries(new URLSearchParams(body))).to.deep.equal({
      To: '+15551230000',
      From: '+15550000001',
      Body: 'Your order is on its way.',
      SmartEncoded: 'false',
      StatusCallback: `${CALLBACK}?id=${ID}`,
    });
  },
  answers: [
    ['201 with a SID', { status: 201, body: '{"sid":"SM7"}' }, { outcome: 'sent', code: '201', messageId: 'SM7' }],
    ['a 201 without a SID', { status: 201, body: '{"status":"queued"}' }, outcome('unknown')],
    ['a 201 with an empty SID', { status: 201, body: '{"sid":""}' }, outcome('unknown')],
    [
      'a 201 of a message that has failed',
      { status: 201, body: '{"sid":"SM7","status":"failed","error_code":30005,"error_message":"unknown"}' },
      { outcome: 'permanent_failure', code: '30005', detail: 'unknown' },
    ],
    [
      'a 201 of a message that has failed for a reason that is ours',
      { status: 201, body: '{"sid":"SM7","status":"failed","error_code":21703}' },
      outcome('provider_error'),
    ],
    ...rows([21211, 21217, 21401, 21614], 400, { outcome: 'invalid_recipient' }),
    ...rows([21610], 400, { outcome: 'invalid_recipient', suppress: 'unsubscribed' }),
    ...rows([21408, 21612, 21617, 30003], 400, { outcome: 'permanent_failure' }),
    ...rows([20003], 401, { outcome: 'provider_error' }),
    ...rows([20005], 403, { outcome: 'provider_error' }),
    ...rows([21212, 21606, 21660, 21701, 21703], 400, { outcome: 'provider_error' }),
    ...rows([20429, 429], 429, { outcome: 'rate_limited' }),
    ...rows([21611], 400, { outcome: 'rate_limited' }),
    ...rows([30001], 400, { outcome: 'rate_limited' }),
    ...rows([14107], 400, { outcome: 'rate_limited', recipientOnly: true }),
    [
      'error 20429 with a time',
      { ...error(429, 20429), headers: { 'retry-after': '3' } },
      means({ outcome: 'rate_limited', retryAfterMs: 3_000 }),
    ],
    ['error 20500', error(500, 20500), providerDown],
    ['a code that would mean the recipient, from a server that failed', error(500, 21211), providerDown],
    ['its own words', error(400, 21617, 'too long'), means({ detail: 'too long' })],
    [
      'a code that is a word of JavaScript',
      { status: 400, body: '{"code":"constructor"}' },
      outcome('permanent_failure'),
    ],
  ],
};

describeHttpProvider(subject);

/** The fields of what was sent. */
async function sentForm(
  message: Partial<SmsMessage>,
  settings: GivenSettings = {},
  context: Partial<OpenContext> = {},
): Promise<Record<string, string>> {
  await using server = await startHttp(() => subject.accepted);
  await using provider = await openProvider(twilio, { ...account, baseUrl: server.url, ...settings }, context);
  const result = await provider.send(sms(message), { key: KEY, signal: new AbortController().signal });
  expect(result.outcome).to.equal('sent');
  return Object.fromEntries(new URLSearchParams(server.requests[0]?.body));
}

describe('twilio sends', () => {
  it('from its messaging service rather than from a sender', async () => {
    const form = await sentForm({}, { messagingServiceSid: 'MG1', from: '+15550000002' });
    expect(form).to.include({ MessagingServiceSid: 'MG1' }).and.not.to.have.property('From');
  });

  it("from the message's own sender before everything", async () => {
    const form = await sentForm({ from: 'Shop' }, { messagingServiceSid: 'MG1' });
    expect(form).to.include({ From: 'Shop' }).and.not.to.have.property('MessagingServiceSid');
  });

  it("from its own sender before everybody's", async () => {
    expect(await sentForm({}, { from: '+15550000002' })).to.include({ From: '+15550000002' });
  });

  it('without a callback where nobody can be called', async () => {
    expect(await sentForm({})).not.to.have.property('StatusCallback');
  });

  it('text of any letters unchanged', async () => {
    expect(await sentForm({ coding: 'unicode', text: 'Grüße & 好 = ✓' })).to.include({ Body: 'Grüße & 好 = ✓' });
  });

  const clock = { now: () => NOW, sleep: async () => {} };
  for (const [what, left, validity] of [
    ['the whole seconds that are left', 90_900, '90'],
    ['at least one second', 10, '1'],
    ['one second when it is over', -5_000, '1'],
    ['at most ten hours', 86_400_000, '36000'],
  ] as const) {
    it(`with a validity of ${what}`, async () => {
      expect(await sentForm({ expiresAt: NOW + left }, {}, { clock })).to.include({ ValidityPeriod: validity });
    });
  }

  it('no bytes', async () => {
    await using server = await startHttp();
    await using provider = await openProvider(twilio, { ...account, baseUrl: server.url });
    const result = await provider.send(sms({ coding: 'binary', text: '00ff' }), {
      key: KEY,
      signal: new AbortController().signal,
    });
    expect(result).to.include({ outcome: 'permanent_failure', code: 'type_unsupported' });
    expect(server.requests).to.be.empty;
  });

  it('and shows nothing of its login where an answer repeats it', async () => {
    const result = await answered(subject, error(400, 21617, `you said ${LOGIN}`));
    expect(result.detail).not.to.contain(LOGIN.slice('Basic '.length));
  });
});

describe('twilio needs a sender', () => {
  const faults = (given: GivenSettings, sender?: string): readonly string[] =>
    twilio
      .configure((name) => given[name] ?? twilio.settings[name]?.fallback ?? '')
      .faults(sender === undefined ? {} : { sms: sender });

  it('and says so when there is none', () => {
    expect(faults(account)).to.have.length(1);
  });

  for (const [what, given, sender] of [
    ['its own', { from: '+1' }, undefined],
    ['a messaging service', { messagingServiceSid: 'MG1' }, undefined],
    ["everybody's", {}, '+1'],
  ] as const) {
    it(`and is content with ${what}`, () => {
      expect(faults({ ...account, ...given }, sender)).to.be.empty;
    });
  }
});

describe('twilio asks about its credentials', () => {
  async function check(reaction: HttpAnswer): Promise<{ ok: boolean; request: ReceivedRequest | undefined }> {
    await using server = await startHttp(() => reaction);
    await using provider = await openProvider(twilio, { ...account, baseUrl: `${server.url}/base` });
    const result = await provider.check?.(new AbortController().signal);
    if (result === undefined) throw new Error('it cannot ask');
    return { ok: result.ok, request: server.requests[0] };
  }

  it('by reading the account', async () => {
    const { ok, request } = await check({ status: 200, body: '{"status":"active"}' });
    expect(ok).to.equal(true);
    expect(request).to.include({ method: 'GET', path: `/base/2010-04-01/Accounts/${SID}.json` });
    expect(request?.headers.authorization).to.equal(LOGIN);
  });

  it('and takes a no for a no', async () => {
    expect((await check(error(401, 20003))).ok).to.equal(false);
  });
});

describe('twilio looks numbers up', () => {
  async function lookUp(reaction: HttpReaction): Promise<{ facts: PhoneFacts; request: ReceivedRequest | undefined }> {
    await using server = await startHttp(() => reaction);
    const settings = { ...account, baseUrl: 'http://127.0.0.1:9', lookupBaseUrl: `${server.url}/base/` };
    await using provider = await openProvider(twilio, settings);
    const facts = await provider.lookUpPhone?.('+14155552671', new AbortController().signal);
    if (facts === undefined) throw new Error('it cannot look up');
    return { facts, request: server.requests[0] };
  }

  const known = (type: unknown, carrier: unknown = 'Example Mobile'): HttpAnswer => ({
    status: 200,
    body: JSON.stringify({
      valid: true,
      validation_errors: [],
      country_code: 'US',
      line_type_intelligence: { type, carrier_name: carrier, error_code: null },
    }),
  });

  it('below the path of its base URL', async () => {
    const { request } = await lookUp(known('mobile'));
    expect(request).to.include({ method: 'GET' });
    const url = new URL(request?.path ?? '', 'http://localhost');
    expect(decodeURIComponent(url.pathname)).to.equal('/base/v2/PhoneNumbers/+14155552671');
    expect(url.search).to.equal('?Fields=line_type_intelligence');
    expect(request?.headers.authorization).to.equal(LOGIN);
  });

  for (const [type, expected] of [
    ['mobile', 'mobile'],
    ['landline', 'landline'],
    ['fixedVoip', 'voip'],
    ['nonFixedVoip', 'voip'],
    ['tollFree', 'other'],
    ['pager', 'other'],
  ] as const) {
    it(`and calls ${type} ${expected}`, async () => {
      const { facts } = await lookUp(known(type));
      expect(facts).to.deep.equal({ valid: true, type: expected, country: 'US', carrier: 'Example Mobile' });
    });
  }

  for (const [what, answer] of [
    ['unknown', known('unknown', null)],
    ['not told', known(null, null)],
  ] as const) {
    it(`and leaves out a type that is ${what}`, async () => {
      expect((await lookUp(answer)).facts).to.deep.equal({ valid: true, country: 'US' });
    });
  }

  for (const [what, answer] of [
    ['is too short', { status: 200, body: '{"valid":false,"validation_errors":["TOO_SHORT"],"country_code":null}' }],
    ['is none', error(404, 20404)],
  ] as const) {
    it(`and says that a number is not valid when it ${what}`, async () => {
      expect((await lookUp(answer)).facts).to.deep.equal({ valid: false });
    });
  }

  for (const [what, reaction] of [
    ['a refused login', error(401, 20003)],
    ['a 404 that is not of Twilio', { status: 404, body: '<html>' }],
    ['a 200 that says nothing', { status: 200, body: '{}' }],
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

  it('and passes on how long to wait', async () => {
    const reason = await lookUp({ ...error(429, 20429), headers: { 'retry-after': '5' } }).then(
      () => 'it answered',
      (thrown: unknown) => thrown,
    );
    expect(reason).to.include({ reason: 'LOOKUP_FAILED', retryAfterMs: 5_000 });
  });
});

interface Signed {
  readonly fields?: Readonly<Record<string, string>>;
  readonly url?: string;
  readonly token?: string;
  readonly settings?: GivenSettings;
  /** What comes in place of what was signed. */
  readonly body?: string;
  readonly calledUrl?: string;
  readonly signature?: string;
}

/** As Twilio signs: HMAC-SHA1 over the address, then each field's name and value, sorted by name. */
function sign(token: string, url: string, fields: Readonly<Record<string, string>>): string {
  const data = Object.keys(fields)
    .sort()
    .reduce((text, name) => text + name + (fields[name] ?? ''), url);
  return createHmac('sha1', token).update(data).digest('base64');
}

async function receive(given: Signed): Promise<CallbackResult> {
  const { fields = {}, url = `${CALLBACK}?id=${ID}`, token = TOKEN, settings = account } = given;
  await using provider = await openProvider(twilio, settings);
  const result = await provider.receive?.({
    url: new URL(given.calledUrl ?? url),
    headers: { 'x-twilio-signature': given.signature ?? sign(token, url, fields) },
    body: Buffer.from(given.body ?? new URLSearchParams(fields).toString()),
    now: NOW,
    signal: new AbortController().signal,
  });
  if (result === undefined) throw new Error('it has no callbacks');
  return result;
}

describe('twilio reads its callbacks', () => {
  const fields = {
    MessageSid: 'SM1',
    MessageStatus: 'delivered',
    To: '+15551230000',
    From: '+15550000001',
    AccountSid: SID,
  };

  it('and knows the example of its documentation as signed', async () => {
    // twilio.com/docs/usage/security, with its token.
    const result = await receive({
      settings: { ...account, authToken: '12345' },
      url: 'https://mycompany.com/myapp.php?foo=1&bar=2',
      fields: {
        CallSid: 'CA1234567890ABCDE',
        Caller: '+12349013030',
        Digits: '1234',
        From: '+12349013030',
        To: '+18005551212',
      },
      signature: '0/KCTR6DLpKmkAf8muzZqo1nDgQ=',
    });
    expect(result).to.deep.equal({ kind: 'genuine', receipts: [] });
  });

  it('into a receipt for the notification in the address', async () => {
    expect(await receive({ fields })).to.deep.equal({
      kind: 'genuine',
      receipts: [{ eventId: 'SM1.delivered', kind: 'delivered', notificationId: ID, at: NOW, address: '+15551230000' }],
    });
  });

  for (const [status, code, expected] of [
    ['accepted', undefined, { kind: 'sent' }],
    ['scheduled', undefined, { kind: 'sent' }],
    ['queued', undefined, { kind: 'sent' }],
    ['sending', undefined, { kind: 'sent' }],
    ['sent', undefined, { kind: 'sent' }],
    ['delivered', undefined, { kind: 'delivered' }],
    ['read', undefined, { kind: 'opened' }],
    ['canceled', undefined, { kind: 'failed' }],
    ['undelivered', '30003', { kind: 'bounced', code: '30003' }],
    ['undelivered', '30004', { kind: 'bounced', code: '30004', hard: true }],
    ['undelivered', '30005', { kind: 'bounced', code: '30005', hard: true }],
    ['undelivered', '30006', { kind: 'bounced', code: '30006', hard: true }],
    ['undelivered', '30008', { kind: 'bounced', code: '30008' }],
    ['failed', '30007', { kind: 'failed', code: '30007' }],
    ['failed', '30005', { kind: 'bounced', code: '30005', hard: true }],
  ] as const) {
    it(`and takes ${status}${code === undefined ? '' : ` with ${code}`} for ${expected.kind}`, async () => {
      const result = await receive({
        fields: { ...fields, MessageStatus: status, ...(code === undefined ? {} : { ErrorCode: code }) },
      });
      if (result.kind !== 'genuine') throw new Error(result.why);
      expect(result.receipts).to.deep.equal([
        { eventId: `SM1.${status}`, notificationId: ID, at: NOW, address: '+15551230000', ...expected },
      ]);
    });
  }

  it('and takes a failure because of a STOP for a message that came back, and for the STOP', async () => {
    const result = await receive({ fields: { ...fields, MessageStatus: 'failed', ErrorCode: '21610' } });
    const about = { notificationId: ID, at: NOW, address: '+15551230000', code: '21610' };
    expect(result).to.deep.equal({
      kind: 'genuine',
      receipts: [
        { eventId: 'SM1.failed', kind: 'bounced', ...about },
        { eventId: 'SM1.failed.unsubscribed', kind: 'unsubscribed', wholeChannel: true, ...about },
      ],
    });
  });

  for (const [what, given] of [
    ['says nothing of a message that was sent', { fields: { ...fields, MessageStatus: 'received' } }],
    ['has a status that is a word of JavaScript', { fields: { ...fields, MessageStatus: 'constructor' } }],
    ['names no message', { fields: { MessageStatus: 'delivered' } }],
    ['names no notification', { fields, url: CALLBACK }],
  ] as const) {
    it(`and leaves out what ${what}`, async () => {
      expect(await receive(given)).to.deep.equal({ kind: 'genuine', receipts: [] });
    });
  }

  it('that are signed with an older token', async () => {
    const settings = { ...account, moreAuthTokens: [OLD_TOKEN] };
    expect((await receive({ fields, token: OLD_TOKEN, settings })).kind).to.equal('genuine');
  });

  it('with blanks and signs in their fields', async () => {
    const odd = { ...fields, Body: '  a+b & c=d é ', Empty: '' };
    expect((await receive({ fields: odd })).kind).to.equal('genuine');
  });

  for (const [what, given] of [
    [
      'a field that was changed',
      { fields, body: new URLSearchParams({ ...fields, MessageStatus: 'failed' }).toString() },
    ],
    ['a field that was added', { fields, body: new URLSearchParams({ ...fields, ErrorCode: '30005' }).toString() }],
    ['another notification in the address', { fields, calledUrl: `${CALLBACK}?id=another` }],
    ['another token', { fields, token: OLD_TOKEN }],
    ['an empty token among the further ones', { fields, token: '', settings: { ...account, moreAuthTokens: [''] } }],
    ['no signature', { fields, signature: '' }],
    ['a signature that is none', { fields, signature: '\u{1F511} %%%' }],
    ['a body that is no form', { fields, body: '{"MessageSid":"SM1"}' }],
    ['bytes that are no text', { fields, body: '\u0000\uFFFD%FF%%' }],
  ] as const) {
    it(`and refuses ${what}`, async () => {
      expect(await receive(given)).to.include({ kind: 'refused', status: 401 });
    });
  }
});
