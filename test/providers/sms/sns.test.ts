import { expect } from 'chai';
import type { SendResult, SmsMessage } from '../../../src/providers/provider.ts';
import { sns } from '../../../src/providers/sms/sns.ts';
import { startHttp, type HttpAnswer, type HttpReaction } from '../../support/start-http.ts';
import { definitionFaults } from '../aws-settings.ts';
import { KEY } from '../conformance.ts';
import { describeHttpProvider, outcome, providerDown } from '../http-provider.ts';
import { sms } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const NAMESPACE = 'http://sns.amazonaws.com/doc/2010-03-31/';
const SETTINGS: GivenSettings = { region: 'eu-west-1', accessKeyId: 'AKIDEXAMPLE', secretAccessKey: SECRET };

/** As the service answers (query protocol, XML). */
const xml = (status: number, body: string): HttpAnswer => ({ status, headers: { 'content-type': 'text/xml' }, body });

const ACCEPTED = xml(
  200,
  `<PublishResponse xmlns="${NAMESPACE}"><PublishResult><MessageId>94f20ce6</MessageId></PublishResult>` +
    '<ResponseMetadata><RequestId>f187a3c1</RequestId></ResponseMetadata></PublishResponse>',
);

const error = (code: string, message = 'told', status = 400): HttpAnswer =>
  xml(
    status,
    `<ErrorResponse xmlns="${NAMESPACE}"><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error>` +
      '<RequestId>f187a3c1</RequestId></ErrorResponse>',
  );

const means =
  (wanted: SendResult['outcome'], code: string) =>
  (result: SendResult): void => {
    expect(result).to.include({ outcome: wanted, code });
  };

/** The attributes of the form, by name: type and value. */
function attributes(form: URLSearchParams): Record<string, string> {
  const found: Record<string, string> = {};
  for (let n = 1; form.has(`MessageAttributes.entry.${n}.Name`); n += 1) {
    const entry = `MessageAttributes.entry.${n}`;
    const name = form.get(`${entry}.Name`) ?? '';
    found[name] = `${form.get(`${entry}.Value.DataType`)} ${form.get(`${entry}.Value.StringValue`)}`;
  }
  return found;
}

describeHttpProvider({
  definition: sns,
  settings: (baseUrl) => ({ ...SETTINGS, baseUrl, maxPrice: '0.50' }),
  message: sms({ text: 'Grüße & mehr' }),
  accepted: ACCEPTED,
  credentials: [SECRET],
  check({ method, path, headers, body }) {
    expect({ method, path }).to.deep.equal({ method: 'POST', path: '/' });
    expect(headers.authorization).to.match(
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/sns\/aws4_request, SignedHeaders=[^,]*host[^,]*, Signature=[0-9a-f]{64}$/,
    );
    const form = new URLSearchParams(body);
    expect(form.get('Action')).to.equal('Publish');
    expect(form.get('PhoneNumber')).to.equal('+15551230000');
    expect(form.get('Message')).to.equal('Grüße & mehr');
    expect(attributes(form)).to.deep.equal({
      'AWS.SNS.SMS.SMSType': 'String Transactional',
      'AWS.MM.SMS.OriginationNumber': 'String +15550000001',
      'AWS.SNS.SMS.MaxPrice': 'Number 0.50',
    });
  },
  answers: [
    ['a message id', ACCEPTED, { outcome: 'sent', code: '200', messageId: '94f20ce6' }],
    ['a 200 without a message id', xml(200, `<PublishResponse xmlns="${NAMESPACE}"/>`), outcome('unknown')],
    ['an empty 200', { status: 200 }, outcome('unknown')],
    ['throttling with a 400, which has no class', error('Throttling'), means('rate_limited', 'Throttling')],
    ['throttling with a 429', error('Throttled', 'slow down', 429), means('rate_limited', 'ThrottledException')],
    [
      'a number that cannot be',
      error('InvalidParameter', 'Invalid parameter: PhoneNumber Reason: +1555 is not valid to publish to'),
      means('invalid_recipient', 'InvalidParameterException'),
    ],
    [
      'another invalid parameter',
      error('InvalidParameter', 'Invalid parameter: Message too long'),
      {
        outcome: 'permanent_failure',
        code: 'InvalidParameterException',
        detail: 'Invalid parameter: Message too long',
      },
    ],
    [
      'a recipient who said STOP',
      error('OptedOut', 'opted out'),
      { outcome: 'invalid_recipient', code: 'OptedOutException', suppress: 'unsubscribed', detail: 'opted out' },
    ],
    ['no permission', error('AuthorizationError', 'no', 403), means('provider_error', 'AuthorizationErrorException')],
    ['a wrong secret', error('SignatureDoesNotMatch', 'no', 403), means('provider_error', 'SignatureDoesNotMatch')],
    ['an old request, with a 400', error('RequestExpired'), means('provider_error', 'RequestExpired')],
    ['a key of KMS', error('KMSDisabled'), means('provider_error', 'KMSDisabledException')],
    ['a sender that cannot be', error('ValidationException'), means('provider_error', 'ValidationException')],
    ['a fault of its own', error('InternalError', 'sorry', 500), providerDown],
    ['an invalid value', error('ParameterValueInvalid'), outcome('permanent_failure')],
    ['a 400 that is no XML', { status: 400, body: '{"no":"xml"}' }, outcome('permanent_failure')],
  ],
});

async function published(message: SmsMessage, given: GivenSettings = {}): Promise<Record<string, string>> {
  await using server = await startHttp(() => ACCEPTED);
  await using provider = await openProvider(sns, { ...SETTINGS, ...given, baseUrl: server.url });
  expect((await provider.send(message, { key: KEY, signal: new AbortController().signal })).outcome).to.equal('sent');
  return attributes(new URLSearchParams(server.requests[0]?.body));
}

describe('sns', () => {
  for (const [what, from, attribute] of [
    ['a name', 'Shop24', 'AWS.SNS.SMS.SenderID'],
    ['a number', '+15550000009', 'AWS.MM.SMS.OriginationNumber'],
    ['a short code', '12345', 'AWS.MM.SMS.OriginationNumber'],
  ] as const) {
    it(`sends from ${what}`, async () => {
      expect(await published(sms({ from }))).to.deep.equal({
        'AWS.SNS.SMS.SMSType': 'String Transactional',
        [attribute]: `String ${from}`,
      });
    });
  }

  it('takes its own sender before the general one', async () => {
    expect(await published(sms(), { from: 'Own' })).to.include({ 'AWS.SNS.SMS.SenderID': 'String Own' });
  });

  it('leaves the sender to SNS where none is configured', async () => {
    await using server = await startHttp(() => ACCEPTED);
    await using provider = await openProvider(sns, { ...SETTINGS, baseUrl: server.url }, { senders: {} });
    await provider.send(sms(), { key: KEY, signal: new AbortController().signal });
    expect(attributes(new URLSearchParams(server.requests[0]?.body))).to.have.all.keys('AWS.SNS.SMS.SMSType');
  });

  for (const [priority, type] of [
    ['urgent', 'Transactional'],
    ['high', 'Transactional'],
    ['normal', 'Promotional'],
    ['low', 'Promotional'],
  ] as const) {
    it(`sends a promotional route's ${priority} message as ${type}`, async () => {
      const found = await published(sms({ priority }), { smsType: 'promotional' });
      expect(found).to.include({ 'AWS.SNS.SMS.SMSType': `String ${type}` });
    });
  }

  it('refuses bytes, which SNS has no field for, without a call', async () => {
    await using server = await startHttp(() => ACCEPTED);
    await using provider = await openProvider(sns, { ...SETTINGS, baseUrl: server.url });
    const message = sms({ coding: 'binary', text: '00ff' });
    const result = await provider.send(message, { key: KEY, signal: new AbortController().signal });
    expect(result).to.include({ outcome: 'permanent_failure', code: 'type_unsupported' });
    expect(server.requests).to.be.empty;
  });

  it('has no callbacks', async () => {
    await using provider = await openProvider(sns, { ...SETTINGS, baseUrl: 'http://127.0.0.1:9' });
    expect(provider.receive).to.equal(undefined);
  });

  async function check(answer: HttpReaction): Promise<{ ok: boolean | undefined; action: string | null }> {
    await using server = await startHttp(() => answer);
    await using provider = await openProvider(sns, { ...SETTINGS, baseUrl: server.url });
    const result = await provider.check?.(new AbortController().signal);
    return { ok: result?.ok, action: new URLSearchParams(server.requests[0]?.body).get('Action') };
  }

  it('asks for its attributes to check the credentials', async () => {
    const answer = `<GetSMSAttributesResponse xmlns="${NAMESPACE}"><GetSMSAttributesResult><attributes/></GetSMSAttributesResult></GetSMSAttributesResponse>`;
    expect(await check(xml(200, answer))).to.deep.equal({ ok: true, action: 'GetSMSAttributes' });
  });

  for (const [what, answer] of [
    ['a wrong secret', error('SignatureDoesNotMatch', 'no', 403)],
    ['no answer', 'reset'],
  ] as const) {
    it(`says no for ${what}`, async () => {
      expect((await check(answer)).ok).to.equal(false);
    });
  }

  it('finds no fault in good settings', () => {
    expect(definitionFaults(sns, { ...SETTINGS, maxPrice: '0.5' })).to.deep.equal([]);
  });

  for (const [what, given] of [
    ['a price that is none', { maxPrice: '1,50' }],
    ['a region that is none', { region: 'Ireland' }],
  ] as const) {
    it(`finds the fault of ${what}`, () => {
      expect(definitionFaults(sns, { ...SETTINGS, ...given })).to.have.length(1);
    });
  }
});
