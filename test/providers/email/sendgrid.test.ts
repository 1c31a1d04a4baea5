import { expect } from 'chai';
import { sendgrid } from '../../../src/providers/email/sendgrid.ts';
import type { EmailMessage, SendResult } from '../../../src/providers/provider.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { startHttp, type ReceivedRequest } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { describeHttpProvider, outcome, waits } from '../http-provider.ts';
import { email } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

const API_KEY = 'SG.a-key-of-the-shop.and-its-secret-part';
const NOW = Date.UTC(2026, 10, 22, 12);
const ID = '0197f3c2-0000-7000-8000-000000000001';
const ACCEPTED = { status: 202, headers: { 'x-message-id': 'LRzXl_NHStOGhQ4kofSm_A' } };

/** As SendGrid answers what it cannot take. */
const refusal = (field: string | null, message: string): string =>
  JSON.stringify({ errors: [{ message, field, help: null }] });

describeHttpProvider({
  definition: sendgrid,
  settings: (baseUrl) => ({ baseUrl, apiKey: API_KEY }),
  message: email({
    toName: 'Ada',
    replyTo: { email: 'help@example.org', name: 'Help' },
    cc: [{ email: 'cc@example.com', name: 'Copy' }],
    bcc: [{ email: 'bcc@example.com' }],
    html: '<p>Olá <img src="cid:logo"></p>',
    headers: { 'List-Unsubscribe': '<https://example.org/u/abc>', 'X-Shop_Id': '7' },
    attachments: [
      { filename: 'bill.pdf', content: Uint8Array.of(1, 2, 3, 0, 255), mimeType: 'application/pdf' },
      { filename: 'logo.png', content: Uint8Array.of(9), mimeType: 'image/png', contentId: 'logo' },
    ],
  }),
  accepted: ACCEPTED,
  credentials: [API_KEY, Buffer.from(API_KEY).toString('base64')],
  context: { clock: new ManualClock(NOW) },
  check({ method, path, headers, body }) {
    expect(`${method} ${path}`).to.equal('POST /v3/mail/send');
    expect(headers).to.include({ authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' });
    expect(JSON.parse(body)).to.deep.equal({
      from: { email: 'shop@example.org', name: 'Shop' },
      reply_to: { email: 'help@example.org', name: 'Help' },
      subject: 'Hello',
      personalizations: [
        {
          to: [{ email: 'ada@example.com', name: 'Ada' }],
          cc: [{ email: 'cc@example.com', name: 'Copy' }],
          bcc: [{ email: 'bcc@example.com' }],
          headers: { 'List-Unsubscribe': '<https://example.org/u/abc>', 'X-Shop_Id': '7' },
          custom_args: { carillon_id: ID },
        },
      ],
      content: [
        { type: 'text/plain', value: 'A short text.\n' },
        { type: 'text/html', value: '<p>Olá <img src="cid:logo"></p>' },
      ],
      attachments: [
        { filename: 'bill.pdf', content: 'AQIDAP8=', type: 'application/pdf', disposition: 'attachment' },
        { filename: 'logo.png', content: 'CQ==', type: 'image/png', disposition: 'inline', content_id: 'logo' },
      ],
      tracking_settings: {
        open_tracking: { enable: false },
        click_tracking: { enable: false, enable_text: false },
      },
    });
  },
  answers: [
    ['a 202', ACCEPTED, { outcome: 'sent', code: '202', messageId: 'LRzXl_NHStOGhQ4kofSm_A' }],
    ['a 202 without an id', { status: 202 }, { outcome: 'sent', code: '202' }],
    ['a 202 with a page and no id', { status: 202, body: '<html>Accepted</html>' }, outcome('unknown')],
    ['a 200, which is not how it takes a message', { status: 200, body: '{}' }, outcome('unknown')],
    [
      'a 400 about the recipient',
      { status: 400, body: refusal('personalizations.0.to.0.email', 'not a valid address') },
      { outcome: 'invalid_recipient', code: '400', detail: 'not a valid address' },
    ],
    [
      'a 400 about a copy',
      { status: 400, body: refusal('personalizations.0.cc.0.email', 'not a valid address') },
      outcome('permanent_failure'),
    ],
    ['a 400 about the sender', { status: 400, body: refusal('from.email', 'no') }, outcome('permanent_failure')],
    [
      'a 400 about no field',
      { status: 400, body: refusal(null, 'Bad Request') },
      { outcome: 'permanent_failure', code: '400', detail: 'Bad Request' },
    ],
    ['a 400 that is not JSON', { status: 400, body: '<html>' }, outcome('permanent_failure')],
    [
      'a 401',
      { status: 401, body: refusal(null, 'no such key') },
      { outcome: 'provider_error', code: '401', detail: 'no such key' },
    ],
    ['a 403', { status: 403, body: refusal('from', 'not a verified sender') }, outcome('provider_error')],
    ['a 413', { status: 413, body: refusal(null, 'too large') }, outcome('permanent_failure')],
    ['a 429 with the time of its end', { status: 429, headers: reset(30_000) }, waits(30_000)],
    ['a 429 whose end is past', { status: 429, headers: reset(-30_000) }, waits(0)],
    ['a 429 with both', { status: 429, headers: { ...reset(30_000), 'retry-after': '7' } }, waits(7_000)],
    [
      'a 429 with a time that is none',
      { status: 429, headers: { 'x-ratelimit-reset': 'soon' } },
      (result) => expect(result).to.include({ outcome: 'rate_limited' }).and.not.to.have.property('retryAfterMs'),
    ],
  ],
});

function reset(inMs: number): Record<string, string> {
  return { 'x-ratelimit-reset': String((NOW + inMs) / 1_000) };
}

async function send(
  message: EmailMessage,
  settings: GivenSettings = {},
): Promise<{ readonly result: SendResult; readonly requests: readonly ReceivedRequest[] }> {
  await using server = await startHttp(() => ACCEPTED);
  await using provider = await openProvider(sendgrid, { baseUrl: server.url, apiKey: API_KEY, ...settings });
  const result = await provider.send(message, { key: KEY, signal: new AbortController().signal });
  return { result, requests: server.requests };
}

/** The body of the one request. */
async function sent(message: EmailMessage, settings: GivenSettings = {}): Promise<unknown> {
  const { result, requests } = await send(message, settings);
  expect(result.outcome).to.equal('sent');
  expect(requests).to.have.length(1);
  return JSON.parse(requests[0]?.body ?? '');
}

describe('a message of sendgrid', () => {
  it('is tracked where that was asked for', async () => {
    const body = await sent(email(), { trackOpens: true, trackClicks: true });
    expect(body).to.deep.nested.include({
      'tracking_settings.open_tracking': { enable: true },
      'tracking_settings.click_tracking': { enable: true, enable_text: true },
    });
  });

  it('names its own sender, else the one of its settings', async () => {
    const settings = { fromAddress: 'own@example.org', fromName: 'Own' };
    expect(await sent(email(), settings)).to.deep.include({ from: { email: 'own@example.org', name: 'Own' } });
    expect(await sent(email({ from: { email: 'billing@example.net' } }), settings)).to.deep.include({
      from: { email: 'billing@example.net' },
    });
  });

  it('names no address twice, which would have it refused', async () => {
    const message = email({
      cc: [{ email: 'Ada@Example.com' }, { email: 'cc@example.com' }, { email: 'cc@example.com' }],
      bcc: [{ email: 'CC@example.com' }],
    });
    expect(await sent(message))
      .to.have.nested.property('personalizations[0].cc')
      .that.deep.equals([{ email: 'cc@example.com' }]);
    expect(await sent(message)).not.to.have.nested.property('personalizations[0].bcc');
  });

  it('has no part that is empty, which would have it refused', async () => {
    const { content } = (await sent(email({ html: '<p>Hi</p>', text: '' }))) as { content: unknown };
    expect(content).to.deep.equal([{ type: 'text/html', value: '<p>Hi</p>' }]);
  });

  for (const priority of ['urgent', 'high', 'normal', 'low'] as const) {
    const marked = priority === 'urgent' || priority === 'high';
    it(`is ${marked ? '' : 'not '}marked as important at priority ${priority}`, async () => {
      const { requests } = await send(email({ priority }));
      expect(requests[0]?.body.includes('"Importance":"High"')).to.equal(marked);
    });
  }

  it('has headers of the caller that never become headers of the call', async () => {
    const headers = { Authorization: 'Bearer evil', 'On-Behalf-Of': 'evil', 'X-Own': 'kept' };
    const { requests } = await send(email({ headers }));
    expect(requests[0]?.headers.authorization).to.equal(`Bearer ${API_KEY}`);
    expect(requests[0]?.headers).not.to.have.any.keys('on-behalf-of', 'x-own');
    expect(JSON.parse(requests[0]?.body ?? '')).to.deep.nested.include({ 'personalizations[0].headers': headers });
  });

  it('is not overridden by headers of the caller that are ours, and has no line break in one', async () => {
    const headers = { From: 'evil@example.com', Subject: 'evil', 'X-Own': 'a\r\nBcc: evil@example.com' };
    const body = await sent(email({ headers, subject: 'a\r\nb', toName: 'Ada\nX' }));
    expect(body).to.deep.nested.include({
      subject: 'a b',
      'personalizations[0].headers': { 'X-Own': 'a Bcc: evil@example.com' },
      'personalizations[0].to': [{ email: 'ada@example.com', name: 'Ada X' }],
    });
  });

  it('fails for good, without a call, when the library finds it impossible', async () => {
    // Nothing that the pipeline can make: the type rules it out.
    const { result, requests } = await send(email({ to: undefined as unknown as string }));
    expect(result).to.include({ outcome: 'permanent_failure', code: 'message_invalid' });
    expect(requests).to.be.empty;
  });
});

describe('sendgrid checks its key', () => {
  async function check(status: number): Promise<[boolean | undefined, readonly ReceivedRequest[]]> {
    await using server = await startHttp(() => ({ status, body: `{"scopes":["mail.send"],"you":"${API_KEY}"}` }));
    await using provider = await openProvider(sendgrid, { baseUrl: `${server.url}/double`, apiKey: API_KEY });
    const result = await provider.check?.(new AbortController().signal);
    expect(result?.detail).not.to.contain(API_KEY);
    return [result?.ok, server.requests];
  }

  it('by asking what it may do', async () => {
    const [ok, requests] = await check(200);
    expect(ok).to.equal(true);
    expect(requests.map(({ method, path }) => `${method} ${path}`)).to.deep.equal(['GET /double/v3/scopes']);
    expect(requests[0]?.headers.authorization).to.equal(`Bearer ${API_KEY}`);
  });

  for (const status of [401, 403, 500]) {
    it(`and does not find it good at ${status}`, async () => {
      expect((await check(status))[0]).to.equal(false);
    });
  }
});
