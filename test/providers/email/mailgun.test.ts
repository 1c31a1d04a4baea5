import { expect } from 'chai';
import type { OpenContext } from '../../../src/providers/definition.ts';
import { mailgun } from '../../../src/providers/email/mailgun.ts';
import type { EmailMessage, SendResult } from '../../../src/providers/provider.ts';
import { startHttp } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { describeHttpProvider, outcome, waits } from '../http-provider.ts';
import { email } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

const API_KEY = 'key-2f1b6c0d9e8a7f5b4c3d2e1f0a9b8c7d';
const SIGNING_KEY = 'signing-0a1b2c3d4e5f';
const TOKEN = 'Zk3vQ9-xW7_bT1mPnR5sYd8H';
const AUTHORIZATION = `Basic ${Buffer.from(`api:${API_KEY}`).toString('base64')}`;
const ACCEPTED = { status: 200, body: '{"id":"<20261122.1@mg.example.org>","message":"Queued. Thank you."}' };
const SETTINGS = { domain: 'mg.example.org', apiKey: API_KEY };
const NOW = Date.parse('2026-11-22T12:00:00Z');

const refusal = (status: number, message: string) => ({ status, body: JSON.stringify({ message }) });

describeHttpProvider({
  definition: mailgun,
  settings: (baseUrl) => ({ ...SETTINGS, baseUrl, signingKeys: [SIGNING_KEY], callbackToken: TOKEN }),
  message: email(),
  accepted: ACCEPTED,
  credentials: [API_KEY, Buffer.from(`api:${API_KEY}`).toString('base64'), SIGNING_KEY, TOKEN],
  check({ method, path, headers, body }) {
    expect(`${method} ${path}`).to.equal('POST /v3/mg.example.org/messages');
    expect(headers.authorization).to.equal(AUTHORIZATION);
    expect(headers['content-type']).to.match(/^multipart\/form-data; boundary=/);
    expect(headers['content-length']).to.equal(String(Buffer.byteLength(body)));
    expect(body).to.contain('name="to"\r\n\r\nada@example.com\r\n');
  },
  answers: [
    [
      'an id, without its angle brackets',
      ACCEPTED,
      { outcome: 'sent', code: '200', detail: 'Queued. Thank you.', messageId: '20261122.1@mg.example.org' },
    ],
    ['a 200 without an id', { status: 200, body: '{"message":"hello"}' }, outcome('unknown')],
    ['a 200 with an empty id', { status: 200, body: '{"id":""}' }, outcome('unknown')],
    [
      'a recipient that is no address',
      refusal(400, "'to' parameter is not a valid address. please check documentation"),
      outcome('invalid_recipient'),
    ],
    [
      'a recipient that is no address, without quotes',
      refusal(400, 'to parameter is not a valid address. please check documentation'),
      outcome('invalid_recipient'),
    ],
    [
      'a sender that is no address',
      refusal(400, 'from parameter is not a valid address'),
      outcome('permanent_failure'),
    ],
    [
      'a reply-to that is no address',
      refusal(400, 'reply-to parameter is not a valid address'),
      outcome('permanent_failure'),
    ],
    [
      'any other 400',
      refusal(400, 'message is too large'),
      { outcome: 'permanent_failure', code: '400', detail: 'message is too large' },
    ],
    [
      'a 401 in plain text',
      { status: 401, body: 'Forbidden' },
      { outcome: 'provider_error', code: '401', detail: 'Forbidden' },
    ],
    ['402, not paid', refusal(402, 'payment required'), outcome('provider_error')],
    ['404, no such domain', refusal(404, 'Domain not found: mg.example.org'), outcome('provider_error')],
    [
      '429 with the seconds in its words',
      refusal(429, 'Domain limit exceeded, try again after 120 seconds'),
      waits(120_000),
    ],
    ['429 with the seconds in plain text', { status: 429, body: 'try again after 1 second' }, waits(1_000)],
    [
      '429 with seconds in the header and others in its words',
      { ...refusal(429, 'try again after 120 seconds'), headers: { 'retry-after': '9' } },
      waits(9_000),
    ],
  ],
});

describe('mailgun makes a form of a message', () => {
  it('with its texts, the notification id, and tracking switched off whatever the domain says', async () => {
    const form = await sentForm(email({ html: '<p>Hello</p>' }));
    expect(plain(form)).to.deep.equal([
      ['from', '"Shop" <shop@example.org>'],
      ['to', 'ada@example.com'],
      ['subject', 'Hello'],
      ['text', 'A short text.\r\n'],
      ['html', '<p>Hello</p>'],
      ['v:carillon_id', '0197f3c2-0000-7000-8000-000000000001'],
      ['o:tracking-opens', 'no'],
      ['o:tracking-clicks', 'no'],
    ]);
  });

  it('with tracking where it is switched on', async () => {
    const form = await sentForm(email(), { settings: { trackOpens: true, trackClicks: true } });
    expect([form.get('o:tracking-opens'), form.get('o:tracking-clicks')]).to.deep.equal(['yes', 'yes']);
  });

  it('with names that cannot end early, copies and reply-to', async () => {
    const form = await sentForm(
      email({
        from: { email: 'a@example.org', name: 'Say "hi", \\o/' },
        toName: 'Lovelace, Ada\r\nBcc: eve@example.com',
        replyTo: { email: 'help@example.org', name: 'Hilfe für alle' },
        cc: [{ email: 'c1@example.org' }, { email: 'c2@example.org', name: 'C' }],
        bcc: [{ email: 'b@example.org' }],
      }),
    );
    expect(form.get('from')).to.equal('"Say \\"hi\\", \\\\o/" <a@example.org>');
    expect(form.get('to')).to.equal('"Lovelace, Ada Bcc: eve@example.com" <ada@example.com>');
    expect(form.get('h:Reply-To')).to.equal('"Hilfe für alle" <help@example.org>');
    expect(form.getAll('cc')).to.deep.equal(['c1@example.org', '"C" <c2@example.org>']);
    expect(form.getAll('bcc')).to.deep.equal(['b@example.org']);
  });

  it("with the caller's headers, but none that are the service's own or steer Mailgun", async () => {
    const headers = {
      'List-Unsubscribe': '<https://example.org/u?a=1&b=2>',
      'X-Trace': 'one\r\nBcc: eve@example.com',
      'Reply-To': 'eve@example.com',
      'X-Mailgun-Variables': '{"carillon_id":"another"}',
    };
    const names = plain(await sentForm(email({ headers }))).filter(([name]) => name.startsWith('h:'));
    expect(names).to.deep.equal([
      ['h:List-Unsubscribe', '<https://example.org/u?a=1&b=2>'],
      ['h:X-Trace', 'one Bcc: eve@example.com'],
    ]);
  });

  for (const [priority, marked] of [
    ['urgent', '1 (Highest)'],
    ['high', '1 (Highest)'],
    ['normal', null],
    ['low', null],
  ] as const) {
    it(`${marked === null ? 'not marked' : 'marked'} as important with the priority ${priority}`, async () => {
      expect((await sentForm(email({ priority }))).get('h:X-Priority')).to.equal(marked);
    });
  }

  it('with attachments, and with inline parts named after their content id', async () => {
    const form = await sentForm(
      email({
        attachments: [
          { filename: 'größe.txt', content: Buffer.from('first'), mimeType: 'text/plain' },
          { filename: 'second.csv', content: Buffer.from('a;b'), mimeType: 'text/csv' },
          { filename: 'logo.svg', content: Buffer.from('<svg/>'), mimeType: 'image/svg+xml', contentId: 'logo@shop' },
        ],
      }),
    );
    expect(await files(form, 'attachment')).to.deep.equal([
      ['größe.txt', 'text/plain', 'first'],
      ['second.csv', 'text/csv', 'a;b'],
    ]);
    expect(await files(form, 'inline')).to.deep.equal([['logo@shop', 'image/svg+xml', '<svg/>']]);
  });

  for (const [what, ms, window] of [
    ['that is over', -1_000, '5m'],
    ['of seven and a half minutes', 450_000, '7m'],
    ['of two hours', 7_200_000, '2h'],
    ['of ninety minutes', 5_400_000, '1h30m'],
    ['of a week', 7 * 86_400_000, null],
  ] as const) {
    it(`with a time to live ${what} as Mailgun takes it`, async () => {
      const form = await sentForm(email({ expiresAt: NOW + ms }), { context: { clock: clockAt(NOW) } });
      expect(form.get('o:deliver-within')).to.equal(window);
    });
  }

  it('with its own sender in place of the general one', async () => {
    const form = await sentForm(email(), { settings: { fromAddress: 'own@example.org', fromName: 'Own' } });
    expect(form.get('from')).to.equal('"Own" <own@example.org>');
  });
});

describe('mailgun sends nothing', () => {
  it('to a text that Mailgun would read as two recipients', async () => {
    expect(await unsent(email({ to: 'ada@example.com,eve@example.com' }))).to.include({ outcome: 'invalid_recipient' });
  });

  it('with a copy that is more than one address', async () => {
    const cc = [{ email: 'a@example.com, b@example.com' }];
    expect(await unsent(email({ cc }))).to.include({ outcome: 'permanent_failure' });
  });
});

describe('mailgun checks its credentials', () => {
  for (const [status, ok] of [
    [200, true],
    [401, false],
    [404, false],
  ] as const) {
    it(`by asking for its domain: ${status}`, async () => {
      await using server = await startHttp(() => ({ status, body: JSON.stringify(API_KEY) }));
      await using provider = await openProvider(mailgun, { ...SETTINGS, baseUrl: server.url });
      const check = await provider.check?.(new AbortController().signal);
      expect(check).to.include({ ok });
      expect(check?.detail).not.to.contain(API_KEY);
      const [request] = server.requests;
      expect(`${request?.method} ${request?.path}`).to.equal('GET /v4/domains/mg.example.org');
      expect(request?.headers.authorization).to.equal(AUTHORIZATION);
    });
  }
});

describe('mailgun finds faults in its settings', () => {
  const faults = (given: GivenSettings, senders = {}): number =>
    mailgun.configure((name) => given[name] ?? mailgun.settings[name]?.fallback ?? '').faults(senders).length;
  const sender = { fromAddress: 'shop@example.org' };

  it('none where all is given', () => {
    expect(faults({ ...SETTINGS, ...sender, signingKeys: [SIGNING_KEY], callbackToken: TOKEN })).to.equal(0);
  });

  it('none without callbacks and with a general sender', () => {
    expect(faults(SETTINGS, { emailAddress: 'shop@example.org' })).to.equal(0);
  });

  for (const [what, given] of [
    ['no sender', {}],
    ['signing keys without a callback token', { ...sender, signingKeys: [SIGNING_KEY] }],
    ['a callback token without signing keys', { ...sender, callbackToken: TOKEN }],
    ['a callback token that can be guessed', { ...sender, signingKeys: [SIGNING_KEY], callbackToken: 'secret' }],
    [
      'a callback token that a URL cannot hold',
      { ...sender, signingKeys: [SIGNING_KEY], callbackToken: `${TOKEN}/${TOKEN}` },
    ],
  ] as const) {
    it(`one for ${what}`, () => {
      expect(faults({ ...SETTINGS, ...given })).to.equal(1);
    });
  }
});

interface Circumstances {
  readonly settings?: GivenSettings;
  readonly context?: Partial<OpenContext>;
}

async function sentForm(message: EmailMessage, { settings, context }: Circumstances = {}): Promise<FormData> {
  await using server = await startHttp(() => ACCEPTED);
  await using provider = await openProvider(mailgun, { ...SETTINGS, baseUrl: server.url, ...settings }, context);
  const result = await provider.send(message, { key: KEY, signal: new AbortController().signal });
  expect(result.outcome).to.equal('sent');
  const [request] = server.requests;
  const type = request?.headers['content-type'];
  if (request === undefined || type === undefined) throw new Error('no form arrived');
  return await new Response(request.body, { headers: { 'content-type': type } }).formData();
}

async function unsent(message: EmailMessage): Promise<SendResult> {
  await using server = await startHttp(() => ACCEPTED);
  await using provider = await openProvider(mailgun, { ...SETTINGS, baseUrl: server.url });
  const result = await provider.send(message, { key: KEY, signal: new AbortController().signal });
  expect(server.requests).to.have.length(0);
  return result;
}

/** Without the files. */
function plain(form: FormData): readonly (readonly [string, string])[] {
  return [...form].flatMap(([name, value]) => (typeof value === 'string' ? [[name, value] as const] : []));
}

async function files(form: FormData, field: string): Promise<readonly (readonly string[])[]> {
  const all = form.getAll(field).flatMap((value) => (typeof value === 'string' ? [] : [value]));
  return await Promise.all(all.map(async (file) => [file.name, file.type, await file.text()]));
}

const clockAt = (now: number): OpenContext['clock'] => ({ now: () => now, sleep: async () => {} });
