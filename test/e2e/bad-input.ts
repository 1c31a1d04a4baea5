import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { Channel, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { PairRig } from '../support/pairs.ts';
import { failureOf } from '../support/rpc-server.ts';
import { type NotificationInit, onlyId, TestCarillon } from '../support/start-carillon.ts';
import { inApp, mail, sampleData, sms, webhook } from './samples.ts';

const DAY = 86_400_000;
/** Of no enum: a newer client may send it. */
const UNKNOWN: number = 99;
const URL = 'https://shop.example/hook';
const ORDER = { type: 'order_confirmation', channels: [Channel.EMAIL], recipient: { email: 'ada@example.com' } };
const in_ = (ms: number) => timestampFromMs(Date.now() + ms);
const attachment = (bytes: number) => ({ filename: 'a.bin', content: new Uint8Array(bytes) });

/** What is wrong, the request, and the field that the answer has to name. */
const INVALID: readonly (readonly [string, () => NotificationInit, string])[] = [
  ['no recipient', () => ({ type: 'note', channels: [Channel.EMAIL], content: { textBody: 'x' } }), 'recipient'],
  ['no type', () => inApp({ type: '' }), 'type'],
  ['a type with blanks', () => inApp({ type: 'My Type' }), 'type'],
  ['no channel', () => inApp({ channels: [] }), 'channels'],
  ['a channel twice', () => inApp({ channels: [Channel.IN_APP, Channel.IN_APP] }), 'channels'],
  ['a channel that does not exist', () => inApp({ channels: [UNKNOWN] }), 'channels[0]'],
  ['a bad e-mail address', () => mail({ recipient: { email: 'ada@' } }), 'recipient.email'],
  ['a bad phone number', () => sms({ recipient: { phone: '555-1234' } }), 'recipient.phone'],
  ['a bad webhook URL', () => webhook('not a url'), 'recipient.webhook_url'],
  ['a device without a token', () => inApp({ recipient: { id: 'a', devices: [{}] } }), 'recipient.devices[0].token'],
  ['a bad locale', () => inApp({ recipient: { id: 'a', locale: 'english please' } }), 'recipient.locale'],
  [
    'a time zone nobody knows',
    () => inApp({ recipient: { id: 'a', timeZone: 'Mars/Olympus' } }),
    'recipient.time_zone',
  ],
  ['a priority that does not exist', () => inApp({ priority: UNKNOWN }), 'priority'],
  ['a schedule more than 366 days ahead', () => inApp({ scheduledFor: in_(367 * DAY) }), 'scheduled_for'],
  ['an end before the schedule', () => inApp({ scheduledFor: in_(DAY), expiresAt: in_(DAY / 2) }), 'expires_at'],
  [
    'a subject with a line break',
    () => mail({ content: { subject: 'a\r\nBcc: b', textBody: 'x' } }),
    'content.subject',
  ],
  ['a mail without a subject', () => mail({ content: { textBody: 'x' } }), 'content.subject'],
  ['a text message that is too long', () => sms({ content: { smsBody: 'x'.repeat(1_601) } }), 'content.sms_body'],
  ['an oversized body', () => inApp({ content: { textBody: 'x'.repeat(1_048_577) } }), 'content.text_body'],
  ['oversized data', () => inApp({ data: { a: 'x'.repeat(300_000) } }), 'data'],
  ['too many labels', () => inApp({ metadata: labels(51) }), 'metadata'],
  ['a bad copy', () => mail({ email: { cc: [{ email: 'nobody' }] } }), 'email.cc[0].email'],
  ['a reserved mail header', () => mail({ email: { headers: { 'Message-ID': 'a' } } }), 'email.headers["Message-ID"]'],
  ['a mail header with a line break', () => mail({ email: { headers: { 'X-A': 'a\nb' } } }), 'email.headers["X-A"]'],
  [
    'a file name with a path',
    () => mail({ email: { attachments: [{ ...attachment(1), filename: '../a' }] } }),
    'email.attachments[0].filename',
  ],
  [
    'attachments of more than 10 MB',
    () => mail({ email: { attachments: [attachment(6e6), attachment(6e6)] } }),
    'email.attachments',
  ],
  [
    'a reserved webhook header',
    () => webhook(URL, { webhook: { headers: { 'webhook-id': 'a' } } }),
    'webhook.headers["webhook-id"]',
  ],
  [
    'a retry delay below a second',
    () => webhook(URL, { webhook: { retryPolicy: { initialDelay: durationFromMs(10) } } }),
    'webhook.retry_policy.initial_delay',
  ],
];

/** A channel, and the field that it needs. */
const MISSING: readonly (readonly [Channel, string])[] = [
  [Channel.EMAIL, 'email'],
  [Channel.SMS, 'phone'],
  [Channel.PUSH, 'devices'],
  [Channel.WEBHOOK, 'webhook_url'],
  [Channel.IN_APP, 'id'],
  [Channel.SLACK, 'slack_address'],
  [Channel.DISCORD, 'discord_webhook_url'],
];

function labels(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`label-${n}`, 'x']));
}

// Refused before anything is stored, so one pair tells it all.
export function badInput(rig: PairRig): void {
  let carillon: TestCarillon;

  before(async () => {
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store() }));
  });

  for (const [what, request, field] of INVALID) {
    it(`${what} is INVALID_ARGUMENT and names notification.${field}`, async () => {
      const failure = await failureOf(carillon.send(request()));
      expect(failure).to.include({ code: Code[Code.InvalidArgument], reason: 'INVALID_FIELD' });
      expect(failure.fields).to.deep.equal([`notification.${field}`]);
    });
  }

  for (const [channel, field] of MISSING) {
    it(`a recipient without an address for ${Channel[channel]} is refused, naming ${field}`, async () => {
      const failure = await failureOf(carillon.send(inApp({ channels: [channel], recipient: { firstName: 'Ada' } })));
      expect(failure).to.include({ code: Code[Code.InvalidArgument], reason: 'RECIPIENT_ADDRESS_MISSING' });
      expect(failure.fields).to.deep.equal([`notification.recipient.${field}`]);
    });
  }

  it('a template that does not exist is NOT_FOUND and names itself', async () => {
    const failure = await failureOf(carillon.send({ ...ORDER, templateId: 'no_such_template' }));
    expect(failure).to.include({ code: Code[Code.NotFound], reason: 'TEMPLATE_NOT_FOUND' });
    expect(failure.metadata).to.include({ template: 'no_such_template' });
  });

  it('a template that has nothing for the channel is NOT_FOUND', async () => {
    const failure = await failureOf(
      carillon.send({ ...ORDER, channels: [Channel.SMS], recipient: { phone: '+15551230000' } }),
    );
    expect(failure).to.include({ code: Code[Code.NotFound], reason: 'TEMPLATE_NOT_FOUND' });
  });

  it('data that does not fit the template is refused with the path of each fault', async () => {
    const { order } = sampleData('order_confirmation');
    // The sample is an object with an order in it.
    const data = { order: { ...(order as object), total: 'much', items: [{ name: 'Desk', price: 1 }] } };
    const failure = await failureOf(carillon.send({ ...ORDER, data }));
    expect(failure).to.include({ code: Code[Code.InvalidArgument], reason: 'TEMPLATE_DATA_INVALID' });
    expect(failure.fields).to.have.members([
      'notification.data.order.items[0].quantity',
      'notification.data.order.total',
    ]);
  });

  it('nothing of a refused send is stored', async () => {
    const channels = [Channel.IN_APP, Channel.EMAIL];
    await failureOf(carillon.send(inApp({ channels, recipient: { id: 'half' } })));
    const { notifications } = await carillon.client.listNotifications({ filter: { recipientId: 'half' } });
    expect(notifications).to.deep.equal([]);
  });

  it('a key that is too long is refused', async () => {
    const failure = await failureOf(carillon.send(inApp(), 'k'.repeat(256)));
    expect(failure.fields).to.deep.equal(['idempotency_key']);
  });

  // Over gRPC the library ends the stream, which each client tells in its own way.
  it('a request beyond the largest message is RESOURCE_EXHAUSTED', async () => {
    const attachments = [attachment(9e6), attachment(9e6)];
    for (const protocol of ['Connect', 'gRPC-Web'] as const) {
      const client = carillon.connect(protocol);
      const failure = await failureOf(client.sendNotification({ notification: mail({ email: { attachments } }) }));
      expect(failure.code, protocol).to.equal(Code[Code.ResourceExhausted]);
    }
  });

  it('files of 10 MB are accepted, over gRPC and Connect', async () => {
    const attachments = [attachment(5e6), attachment(5e6)];
    for (const protocol of ['gRPC', 'Connect'] as const) {
      const notification = mail({ email: { attachments } });
      await carillon.until(onlyId(await carillon.connect(protocol).sendNotification({ notification })), Status.SENT);
    }
  });
}
