import { expect } from 'chai';
import { definitionFaults } from '../aws-settings.ts';
import { ConfigError, loadConfig } from '../../../src/config.ts';
import { ses } from '../../../src/providers/email/ses.ts';
import type { EmailMessage, SendResult } from '../../../src/providers/provider.ts';
import { startHttp, type HttpAnswer, type HttpReaction } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { describeHttpProvider, outcome, providerDown, waits } from '../http-provider.ts';
import { email } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const TOKEN = 'IQoJb3JpZ2luX2VjEXAMPLE-session';
const ACCEPTED = { status: 200, headers: { 'content-type': 'application/json' }, body: '{"MessageId":"0102-ses"}' };
const ID = '0197f3c2-0000-7000-8000-000000000001';

const SETTINGS: GivenSettings = {
  region: 'eu-west-1',
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: SECRET,
  sessionToken: TOKEN,
};

const MESSAGE = email({
  from: { email: 'orders@bücher.example', name: 'Smith, "Jo"' },
  replyTo: { email: 'help@example.org' },
  toName: 'Ada Lovelace',
  cc: [{ email: 'copy@example.com', name: 'Zoë' }],
  bcc: [{ email: 'blind@example.com' }],
  subject: 'Grüße\r\nBcc: evil@example.com',
  html: '<p>Hello</p>',
  priority: 'high',
  headers: {
    'List-Unsubscribe': '<https://example.org/u?t=1>, <mailto:u@example.org>',
    'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
    'X-Place': 'Köln\r\nX-Evil: 1',
    'X-Carillon-Id': 'another',
    From: 'evil@example.com',
  },
  attachments: [
    { filename: 'a.txt', content: Buffer.from('text'), mimeType: 'text/plain' },
    { filename: 'logo.png', content: Buffer.from([0x89, 0, 0xff]), mimeType: 'image/png', contentId: 'logo' },
  ],
});

/** As the service words its errors (REST, JSON). */
const error = (name: string, message = 'told', status = 400, headers: HttpAnswer['headers'] = {}): HttpAnswer => ({
  status,
  headers: {
    'content-type': 'application/json',
    'x-amzn-errortype': `${name}:http://internal.amazon.com/`,
    ...headers,
  },
  body: JSON.stringify({ message }),
});

const means =
  (wanted: SendResult['outcome'], code: string) =>
  (result: SendResult): void => {
    expect(result).to.include({ outcome: wanted, code });
  };

describeHttpProvider({
  definition: ses,
  settings: (baseUrl) => ({ ...SETTINGS, baseUrl, configurationSet: 'carillon' }),
  message: MESSAGE,
  accepted: ACCEPTED,
  credentials: [SECRET, TOKEN],
  check({ method, path, headers, body }) {
    expect({ method, path }).to.deep.equal({ method: 'POST', path: '/v2/email/outbound-emails' });
    expect(headers.authorization).to.match(
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/ses\/aws4_request, SignedHeaders=[^,]*host[^,]*, Signature=[0-9a-f]{64}$/,
    );
    expect(headers['x-amz-security-token']).to.equal(TOKEN);
    expect(JSON.parse(body)).to.deep.equal({
      FromEmailAddress: '"Smith, \\"Jo\\"" <orders@xn--bcher-kva.example>',
      Destination: {
        ToAddresses: ['"Ada Lovelace" <ada@example.com>'],
        CcAddresses: ['=?UTF-8?Q?Zo=C3=AB?= <copy@example.com>'],
        BccAddresses: ['blind@example.com'],
      },
      ReplyToAddresses: ['help@example.org'],
      Content: {
        Simple: {
          Subject: { Data: 'Grüße Bcc: evil@example.com', Charset: 'UTF-8' },
          Body: {
            Html: { Data: '<p>Hello</p>', Charset: 'UTF-8' },
            Text: { Data: 'A short text.\n', Charset: 'UTF-8' },
          },
          Headers: [
            { Name: 'List-Unsubscribe', Value: '<https://example.org/u?t=1>, <mailto:u@example.org>' },
            { Name: 'List-Unsubscribe-Post', Value: 'List-Unsubscribe=One-Click' },
            { Name: 'X-Place', Value: '=?UTF-8?Q?K=C3=B6ln_X-Evil=3A_1?=' },
            { Name: 'X-Carillon-Id', Value: ID },
            { Name: 'X-Priority', Value: '1 (Highest)' },
            { Name: 'X-MSMail-Priority', Value: 'High' },
            { Name: 'Importance', Value: 'High' },
          ],
          Attachments: [
            {
              FileName: 'a.txt',
              RawContent: Buffer.from('text').toString('base64'),
              ContentType: 'text/plain',
              ContentTransferEncoding: 'BASE64',
              ContentDisposition: 'ATTACHMENT',
            },
            {
              FileName: 'logo.png',
              RawContent: 'iQD/',
              ContentType: 'image/png',
              ContentTransferEncoding: 'BASE64',
              ContentDisposition: 'INLINE',
              ContentId: 'logo',
            },
          ],
        },
      },
      EmailTags: [{ Name: 'carillon_id', Value: ID }],
      ConfigurationSetName: 'carillon',
    });
  },
  answers: [
    ['a message id', ACCEPTED, { outcome: 'sent', code: '200', messageId: '0102-ses' }],
    ['a 200 without a message id', { status: 200, body: '{}' }, outcome('unknown')],
    ['too many requests', error('TooManyRequestsException', 'slow down', 429), outcome('rate_limited')],
    [
      'too many requests, with a time',
      error('TooManyRequestsException', 'slow down', 429, { 'retry-after': '7' }),
      waits(7_000),
    ],
    ['the daily quota, which is a long wait', error('LimitExceededException'), waits(3_600_000)],
    ['the daily quota, with a time', error('LimitExceededException', '', 400, { 'retry-after': '60' }), waits(60_000)],
    ['throttled with a 400', error('ThrottlingException'), outcome('rate_limited')],
    ['a rejected message', error('MessageRejected', 'Bad content'), means('permanent_failure', 'MessageRejected')],
    [
      'a sender that is not verified',
      error(
        'MessageRejected',
        'Email address is not verified. The following identities failed the check: shop@example.org',
      ),
      means('provider_error', 'MessageRejected'),
    ],
    [
      'a recipient that cannot be',
      error('BadRequestException', 'Illegal address: ADA@example.com'),
      means('invalid_recipient', 'BadRequestException'),
    ],
    [
      'another bad request',
      error('BadRequestException', 'too many headers'),
      { outcome: 'permanent_failure', code: 'BadRequestException', detail: 'too many headers' },
    ],
    [
      'an error whose name stands in the body',
      { status: 400, body: '{"__type":"com.amazonaws.ses#TooManyRequestsException","message":"slow down"}' },
      means('rate_limited', 'TooManyRequestsException'),
    ],
    ...['AccountSuspendedException', 'SendingPausedException', 'MailFromDomainNotVerifiedException'].map(
      (name) => [name, error(name), means('provider_error', name)] as const,
    ),
    [
      'an unknown configuration set',
      error('NotFoundException', 'none', 404),
      means('provider_error', 'NotFoundException'),
    ],
    ['an unknown key', error('UnrecognizedClientException', 'unknown', 403), outcome('provider_error')],
    ['an ended session, with a 400', error('ExpiredTokenException'), means('provider_error', 'ExpiredTokenException')],
    ['a fault of its own', error('InternalServiceErrorException', 'sorry', 500), providerDown],
    ['an unknown error', error('NewException', 'what?', 409), means('permanent_failure', 'NewException')],
  ],
});

/** The body of the one request for the message. */
async function posted(message: EmailMessage, given: GivenSettings = {}): Promise<unknown> {
  await using server = await startHttp(() => ACCEPTED);
  await using provider = await openProvider(ses, { ...SETTINGS, ...given, baseUrl: server.url });
  expect((await provider.send(message, { key: KEY, signal: new AbortController().signal })).outcome).to.equal('sent');
  expect(server.requests).to.have.length(1);
  return JSON.parse(server.requests[0]?.body ?? '');
}

async function check(
  answer: HttpReaction,
): Promise<{ ok: boolean | undefined; path: string | undefined; detail: string }> {
  await using server = await startHttp(() => answer);
  await using provider = await openProvider(ses, { ...SETTINGS, baseUrl: server.url });
  const result = await provider.check?.(new AbortController().signal);
  return { ok: result?.ok, path: server.requests[0]?.path, detail: result?.detail ?? '' };
}

describe('ses', () => {
  it('sends a plain message without what it does not have', async () => {
    expect(await posted(email())).to.deep.equal({
      FromEmailAddress: '"Shop" <shop@example.org>',
      Destination: { ToAddresses: ['ada@example.com'] },
      Content: {
        Simple: {
          Subject: { Data: 'Hello', Charset: 'UTF-8' },
          Body: { Text: { Data: 'A short text.\n', Charset: 'UTF-8' } },
          Headers: [{ Name: 'X-Carillon-Id', Value: ID }],
        },
      },
      EmailTags: [{ Name: 'carillon_id', Value: ID }],
    });
  });

  it('takes its own sender before the general one', async () => {
    const body = await posted(email(), { fromAddress: 'own@example.org', fromName: 'Own' });
    expect(body).to.include({ FromEmailAddress: '"Own" <own@example.org>' });
  });

  it('splits a long name into words that mail allows', async () => {
    const body = await posted(email({ from: { email: 'shop@example.org', name: 'Überlange Größe '.repeat(12) } }));
    const [words = ''] = /^.*(?= <)/.exec((body as { FromEmailAddress: string }).FromEmailAddress) ?? [];
    expect(words.split(' ').every((word) => word.length <= 75 && /^=\?UTF-8\?Q\?[!-~]+\?=$/.test(word))).to.equal(true);
  });

  for (const to of ['ada@example.com,eve@example.com', 'ada@example.com>', 'ada', 'a b@example.com']) {
    it(`calls nobody for the recipient ${to}`, async () => {
      await using server = await startHttp(() => ACCEPTED);
      await using provider = await openProvider(ses, { ...SETTINGS, baseUrl: server.url });
      const result = await provider.send(email({ to }), { key: KEY, signal: new AbortController().signal });
      expect(result.outcome).to.equal('invalid_recipient');
      expect(server.requests).to.be.empty;
    });
  }

  it('does not blame the recipient for a copy that cannot be', async () => {
    await using provider = await openProvider(ses, { ...SETTINGS, baseUrl: 'http://127.0.0.1:9' });
    const message = email({ cc: [{ email: 'a@example.com, b@example.com' }] });
    const result = await provider.send(message, { key: KEY, signal: new AbortController().signal });
    expect(result.outcome).to.equal('permanent_failure');
  });

  describe('asked about its credentials', () => {
    const account = (fields: object): HttpAnswer => ({ status: 200, body: JSON.stringify(fields) });

    it('asks for the account', async () => {
      const result = await check(account({ SendingEnabled: true, ProductionAccessEnabled: true }));
      expect(result).to.include({ ok: true, path: '/v2/email/account' });
    });

    it('says yes for a sandbox', async () => {
      expect((await check(account({ SendingEnabled: true, ProductionAccessEnabled: false }))).ok).to.equal(true);
    });

    for (const [what, answer] of [
      ['an account that may not send', account({ SendingEnabled: false, ProductionAccessEnabled: true })],
      ['an answer that is none of the service', { status: 200, body: '<html>' }],
      ['an empty answer', account({})],
      ['an unknown key', error('UnrecognizedClientException', 'unknown', 403)],
      ['no answer', 'reset'],
    ] as const) {
      it(`says no for ${what}, and why`, async () => {
        const { ok, detail } = await check(answer);
        expect(ok).to.equal(false);
        expect(detail).not.to.be.empty;
      });
    }
  });

  describe('finds the fault of its settings:', () => {
    const good = { ...SETTINGS, fromAddress: 'shop@example.org' };

    it('none', () => {
      const topicArns = ['arn:aws:sns:eu-west-1:123456789012:mail-events', 'arn:aws-cn:sns:cn-north-1:123456789012:a'];
      expect(definitionFaults(ses, { ...good, topicArns })).to.deep.equal([]);
    });

    for (const [what, given] of [
      ['no sender', { ...SETTINGS }],
      ['a region that is none', { ...good, region: 'eu-west-1.evil.example/' }],
      ['a key without its secret', { ...good, secretAccessKey: '' }],
      ['a secret without its key', { ...good, accessKeyId: '', sessionToken: '' }],
      ['a session without a key', { ...good, accessKeyId: '', secretAccessKey: '' }],
      ['a topic by its name alone', { ...good, topicArns: ['mail-events'] }],
    ] as const) {
      it(what, () => {
        expect(definitionFaults(ses, given)).to.have.length(1);
      });
    }

    it('no region, told once', () => {
      const set = ['notifications.email.providers=ses', 'notifications.default_sender_email=shop@example.org'];
      const load = (): unknown => loadConfig({ set }, {}, import.meta.dirname);
      expect(load).to.throw(ConfigError).with.property('faults').that.has.length(1);
    });
  });
});
