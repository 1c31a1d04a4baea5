import { expect } from 'chai';
import { SnsInbox, type Opened } from '../../src/providers/aws-sns-inbox.ts';
import {
  callback,
  CERTIFICATE,
  CERTIFICATE_URL,
  confirmation,
  notification,
  NOW,
  SENT_AT,
  startSns,
  TOPIC,
} from './aws-sns-double.ts';

type Body = Parameters<typeof callback>[0];

/** Signed by `openssl dgst -sha1 -sign`, over what AWS says is signed. */
const SIGNED_V1 = {
  Type: 'Notification',
  MessageId: '22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324',
  TopicArn: TOPIC,
  Subject: 'My First Message',
  Message: 'hello\nworld',
  Timestamp: SENT_AT,
  SignatureVersion: '1',
  Signature:
    'X9BKqCxxI5R9kzUdpmrkGzUddvjBTzIoc00Jymywp9M9NqwtWIUWAyU6KlkFb/9vhwylcDyor3BLMhbOkxVCuPPlMpZ4TAEO/NlOVvng05GuwgDMEqEJ' +
    '+/ZsS7B4vtO1mTZ/Jo+sIoO75WRpclMNun45iD5V/yw8u+WS5vmYI56H9zVpPR3WkqD7Ek7wjyTICrYcWftnAYAb6AK5jsLhTyMHjItOCkVbrhqN/EjB' +
    'g87TOYkcpB731uBDck1sP7bSanVHJTKV4m440beiciSe5FGYFjhmgnN+RGzlhMb6tj7FEofat1wH9lNv5HFV/cEqLtlvlBIRAjRD40UOUrKWtg==',
  SigningCertURL: CERTIFICATE_URL,
};

/** Signed by `openssl dgst -sha256 -sign`. */
const SIGNED_V2 = {
  Type: 'SubscriptionConfirmation',
  MessageId: '165545c9-2a5c-472c-8df2-7ff2be2b3b1b',
  Token: '2336412f37',
  TopicArn: TOPIC,
  Message: 'You have chosen to subscribe',
  SubscribeURL: `https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=${TOPIC}&Token=2336412f37`,
  Timestamp: SENT_AT,
  SignatureVersion: '2',
  Signature:
    'XHvV8I8UXYZ4qw+f+TTAjXtT0QDN6LEgvjmjBv+YYEghc1GPK/cd/wFkxBE/aSfnjeL43LS4b5s9KEpiuWYOvjCSU1VOPC27tTpgqHuJmOpTEkavtoca' +
    'rh3qsgkCGKE2AuMrnTJAE76PUySPDFeOYKGVbFDhnSqfcl1gUlkxXVYQkX+dYj5ySEl951Y/NRHFFp0IiEdOTXOhKuCYMD+JaJcTQRoEmH20gteVBQwV' +
    'oiPIwa+p5A4Hf355WRQAsqbyCDWVQuE0yEU59DwyYc/I4l5SejX4LScc47GMie9dv3sVF0EaNz0UnLSblI5ARpv9Tsa5EyYpJOaaCV8ypIqf9A==',
  SigningCertURL: CERTIFICATE_URL,
};

const MINUTES = 60_000;
const SENT = Date.parse(SENT_AT);

/** @param react what stands at addresses of SNS, unless the double has it */
async function opened(
  body: Body,
  now = NOW,
  react?: Parameters<typeof startSns>[0],
): Promise<Opened & { asked: number }> {
  await using sns = await startSns(react);
  const result = await new SnsInbox([TOPIC], sns.fetch).open(callback(body, now));
  return { ...result, asked: sns.requests.length };
}

async function refusal(
  body: Body,
  now = NOW,
  react?: Parameters<typeof startSns>[0],
): Promise<{ status: number; asked: number }> {
  const result = await opened(body, now, react);
  if (result.kind !== 'refused') throw new Error(`it is a ${result.kind}`);
  return { status: result.status, asked: result.asked };
}

describe('what SNS posts', () => {
  it('is opened with a signature of version 1 that was made elsewhere', async () => {
    expect(await opened(SIGNED_V1)).to.deep.include({
      kind: 'notification',
      messageId: SIGNED_V1.MessageId,
      at: SENT,
      message: 'hello\nworld',
    });
  });

  it('is opened with a signature of version 2 that was made elsewhere', async () => {
    expect((await opened(SIGNED_V2)).kind).to.equal('subscription');
  });

  for (const [what, body] of [
    ['a notification without a subject', notification('{}')],
    ['a notification with a signature of version 2', notification('{}', { SignatureVersion: '2' })],
    ['a notification with a text beyond ASCII', notification('Grüße — 你好')],
  ] as const) {
    it(`is opened: ${what}`, async () => {
      expect((await opened(body)).kind).to.equal('notification');
    });
  }

  it('has its certificate fetched once', async () => {
    await using sns = await startSns();
    const inbox = new SnsInbox([TOPIC], sns.fetch);
    await inbox.open(callback(notification('1')));
    expect((await inbox.open(callback(notification('2')))).kind).to.equal('notification');
    expect(sns.requests.map(({ path }) => path)).to.deep.equal([new URL(CERTIFICATE_URL).pathname]);
  });

  for (const [field, value] of [
    ['Message', 'bye'],
    ['MessageId', 'another'],
    ['Subject', 'Another'],
    ['Timestamp', '2027-01-01T00:01:00.000Z'],
    ['Signature', ''],
    ['Signature', 'no base64!'],
    ['SignatureVersion', '2'],
    ['SignatureVersion', '3'],
    ['Type', 'UnsubscribeConfirmation'],
  ] as const) {
    it(`is refused with another ${field}: ${value}`, async () => {
      const { status } = await refusal({ ...SIGNED_V2, ...SIGNED_V1, [field]: value });
      expect(status).to.equal(401);
    });
  }

  it('is refused where a subject was put in', async () => {
    expect((await refusal({ ...notification('{}'), Subject: 'new' })).status).to.equal(401);
  });

  for (const [what, body] of [
    ['no JSON', '<xml/>'],
    ['an empty body', ''],
    ['a list', '[]'],
    ['null', 'null'],
    ['an event without its envelope', '{"eventType":"Bounce"}'],
    ['an unknown type', { ...notification('{}'), Type: 'Other' }],
    ['no signature', JSON.stringify({ ...notification('{}'), Signature: undefined })],
    ['a message that is no text', JSON.stringify({ ...notification('{}'), Message: {} })],
    ['bytes that are no text', Buffer.from([0xff, 0xfe]).toString('latin1')],
  ] as const) {
    it(`is refused as malformed: ${what}`, async () => {
      expect(await refusal(body)).to.deep.equal({ status: 400, asked: 0 });
    });
  }

  it('is refused for a topic that nobody allowed, before anything is fetched', async () => {
    const foreign = confirmation('SubscriptionConfirmation', { TopicArn: `${TOPIC}-of-somebody-else` });
    expect(await refusal(foreign)).to.deep.equal({ status: 401, asked: 0 });
  });

  it('is believed for as long as SNS tries to deliver it', async () => {
    expect((await opened(notification('{}'), SENT + 60 * MINUTES)).kind).to.equal('notification');
  });

  for (const [what, now] of [
    ['long past', SENT + 66 * MINUTES],
    ['still to come', SENT - 6 * MINUTES],
  ] as const) {
    it(`is refused with a time ${what}`, async () => {
      expect(await refusal(notification('{}'), now)).to.deep.equal({ status: 401, asked: 0 });
    });
  }

  it('is refused with a time that is none', async () => {
    expect((await refusal(notification('{}', { Timestamp: 'yesterday' }))).status).to.equal(401);
  });

  for (const url of [
    CERTIFICATE_URL.replace('https:', 'http:'),
    CERTIFICATE_URL.replace('sns.eu-west-1.amazonaws.com', 'sns.eu-west-1.amazonaws.com.evil.example'),
    CERTIFICATE_URL.replace('sns.eu-west-1.amazonaws.com', 'evil.example'),
    CERTIFICATE_URL.replace('sns.eu-west-1', 's3.eu-west-1'),
    CERTIFICATE_URL.replace('sns.eu-west-1', 'bucket.s3'),
    CERTIFICATE_URL.replace('sns.eu-west-1', 'sns.s3-us-west-2'),
    CERTIFICATE_URL.replace('sns.eu-west-1', 'sns.s3-website-us-east-1'),
    CERTIFICATE_URL.replace('sns.eu-west-1', 'sns.elasticbeanstalk'),
    CERTIFICATE_URL.replace('amazonaws.com', 'amazonaws.com:8443'),
    CERTIFICATE_URL.replace('https://', 'https://evil.example@'),
    CERTIFICATE_URL.replace('SimpleNotificationService-', 'Other-'),
    `${CERTIFICATE_URL}?x=1`,
    CERTIFICATE_URL.replace('/Simple', '/uploads/Simple'),
    'not a URL',
  ]) {
    it(`is refused with its certificate at ${url}`, async () => {
      expect(await refusal(notification('{}', { SigningCertURL: url }))).to.deep.equal({ status: 401, asked: 0 });
    });
  }

  it('is believed with a certificate of the Chinese regions', async () => {
    const url = CERTIFICATE_URL.replace('eu-west-1.amazonaws.com', 'cn-north-1.amazonaws.com.cn');
    expect((await opened(notification('{}', { SigningCertURL: url }))).kind).to.equal('notification');
  });

  for (const [what, answer] of [
    ['is not there', { status: 404, body: CERTIFICATE }],
    ['stands elsewhere', { status: 302, headers: { location: 'https://evil.example/' } }],
    ['cannot be read', { status: 200, body: 'no certificate' }],
    ['is not answered', 'reset'],
  ] as const) {
    it(`is asked for again later where the certificate ${what}`, async () => {
      expect((await refusal(notification('{}'), NOW, () => answer)).status).to.equal(503);
    });
  }

  it('is refused once the certificate has ended', async () => {
    const at = '2127-01-01T00:00:00.000Z';
    expect((await refusal(notification('{}', { Timestamp: at }), Date.parse(at))).status).to.equal(401);
  });

  it('ends the wait for a certificate with the signal', async () => {
    await using sns = await startSns(() => 'hang');
    const controller = new AbortController();
    const opening = new SnsInbox([TOPIC], sns.fetch).open(callback(notification('{}'), NOW, controller.signal));
    controller.abort();
    expect((await opening).kind).to.equal('refused');
  });
});

describe('a subscription of SNS', () => {
  it('is confirmed at the address it names', async () => {
    await using sns = await startSns();
    const result = await new SnsInbox([TOPIC], sns.fetch).open(callback(confirmation('SubscriptionConfirmation')));
    expect(result.kind).to.equal('subscription');
    expect(sns.requests.at(-1)?.path).to.match(/^\/\?Action=ConfirmSubscription&TopicArn=.*&Token=2336412f37$/);
  });

  it('is not confirmed with a bad signature', async () => {
    await using sns = await startSns();
    const forged = { ...confirmation('SubscriptionConfirmation'), Token: 'another' };
    expect((await new SnsInbox([TOPIC], sns.fetch).open(callback(forged))).kind).to.equal('refused');
    expect(sns.requests.filter(({ path }) => path.includes('Action='))).to.be.empty;
  });

  it('is not confirmed at an address that is not of SNS', async () => {
    await using sns = await startSns();
    const elsewhere = confirmation('SubscriptionConfirmation', { SubscribeURL: 'https://internal.example/?Action=x' });
    const result = await new SnsInbox([TOPIC], sns.fetch).open(callback(elsewhere));
    expect(result).to.include({ kind: 'refused', status: 401 });
    expect(sns.requests.filter(({ path }) => path.includes('Action='))).to.be.empty;
  });

  it('is to be asked for again where it could not be confirmed', async () => {
    const body = confirmation('SubscriptionConfirmation');
    const { status } = await refusal(body, NOW, ({ path }) => (path.endsWith('.pem') ? undefined : { status: 500 }));
    expect(status).to.equal(503);
  });

  it('is not taken up again when it ends', async () => {
    const { kind, asked } = await opened(confirmation('UnsubscribeConfirmation'));
    expect({ kind, asked }).to.deep.equal({ kind: 'subscription', asked: 1 });
  });
});
