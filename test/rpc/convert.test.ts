import { create, fromBinary, toBinary, toJson } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { DescEnum, JsonValue } from '@bufbuild/protobuf';
import { expect } from 'chai';
import {
  Backoff,
  BackoffSchema,
  Channel,
  ChannelSchema,
  ChoiceSchema,
  DeviceKind,
  DeviceKindSchema,
  NotificationEventSchema,
  NotificationInputSchema,
  NotificationSchema,
  OutcomeSchema,
  Priority,
  PrioritySchema,
  ReasonSchema,
  ReceiptKindSchema,
  SkipReasonSchema,
  SmsType,
  SmsTypeSchema,
  StatusSchema,
  UnknownOutcomePolicy,
  UnknownOutcomePolicySchema,
  WebhookMethod,
  WebhookMethodSchema,
} from '../../gen/carillon/v1/notification_pb.js';
import type { NotificationInput } from '../../gen/carillon/v1/notification_pb.js';
import { CancelResultSchema, DecisionLayerSchema } from '../../gen/carillon/v1/notification_service_pb.js';
import { SuppressionReasonSchema } from '../../gen/carillon/v1/preference_service_pb.js';
import { EmailVerdictSchema, PhoneTypeSchema } from '../../gen/carillon/v1/verification_service_pb.js';
import { HOUR, SECOND } from '../../src/domain/clock.ts';
import {
  CANCELLED_REASONS,
  CHANNELS,
  CHOICES,
  DEVICE_KINDS,
  FAILED_REASONS,
  OUTCOMES,
  PENDING_REASONS,
  PRIORITIES,
  SKIP_REASONS,
  STATUSES,
} from '../../src/domain/notification.ts';
import { RECEIPT_KINDS } from '../../src/domain/receipt.ts';
import { SUPPRESSION_REASONS } from '../../src/domain/suppression.ts';
import { CarillonError } from '../../src/errors.ts';
import { fromEvent, fromNotification, toRequest } from '../../src/rpc/convert.ts';
import {
  backoffFrom,
  cancelResultTo,
  channelFrom,
  channelTo,
  choiceTo,
  deviceKindFrom,
  deviceKindTo,
  layerTo,
  outcomeTo,
  priorityFrom,
  priorityTo,
  reasonFrom,
  reasonTo,
  receiptKindTo,
  skipReasonTo,
  smsTypeFrom,
  smsTypeTo,
  statusFrom,
  statusTo,
  suppressionReasonTo,
  unknownOutcomeFrom,
  unknownOutcomeTo,
  webhookMethodFrom,
} from '../../src/rpc/enums.ts';
import { emailVerdictTo, phoneTypeTo } from '../../src/rpc/verification-service.ts';
import { EMAIL_VERDICTS } from '../../src/verify/email.ts';
import { PHONE_TYPES } from '../../src/verify/phone.ts';
import { SAMPLE_TIME, aFullReceipt, aNotification, aRendered, anEvent } from '../support/sample.ts';

type Table<To> = Readonly<Record<string | number, To>>;

interface Pair {
  readonly desc: DescEnum;
  readonly words: readonly string[];
  readonly to?: Table<number>;
  readonly from?: Table<string | undefined>;
}

const PAIRS: readonly Pair[] = [
  { desc: ChannelSchema, words: CHANNELS, to: channelTo, from: channelFrom },
  { desc: PrioritySchema, words: PRIORITIES, to: priorityTo, from: priorityFrom },
  { desc: StatusSchema, words: STATUSES, to: statusTo, from: statusFrom },
  {
    desc: ReasonSchema,
    words: [...PENDING_REASONS, ...CANCELLED_REASONS, ...FAILED_REASONS],
    to: reasonTo,
    from: reasonFrom,
  },
  { desc: OutcomeSchema, words: [...OUTCOMES, 'suppressed'], to: outcomeTo },
  { desc: UnknownOutcomePolicySchema, words: ['retry', 'hold'], to: unknownOutcomeTo, from: unknownOutcomeFrom },
  { desc: WebhookMethodSchema, words: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'], from: webhookMethodFrom },
  { desc: BackoffSchema, words: ['linear', 'exponential'], from: backoffFrom },
  { desc: DecisionLayerSchema, words: Object.keys(layerTo), to: layerTo },
  { desc: ChoiceSchema, words: CHOICES, to: choiceTo },
  { desc: SkipReasonSchema, words: SKIP_REASONS, to: skipReasonTo },
  { desc: ReceiptKindSchema, words: RECEIPT_KINDS, to: receiptKindTo },
  { desc: DeviceKindSchema, words: DEVICE_KINDS, to: deviceKindTo, from: deviceKindFrom },
  { desc: SmsTypeSchema, words: ['text', 'unicode', 'binary'], to: smsTypeTo, from: smsTypeFrom },
  { desc: SuppressionReasonSchema, words: SUPPRESSION_REASONS, to: suppressionReasonTo },
  { desc: EmailVerdictSchema, words: EMAIL_VERDICTS, to: emailVerdictTo },
  { desc: PhoneTypeSchema, words: PHONE_TYPES, to: phoneTypeTo },
  { desc: CancelResultSchema, words: Object.keys(cancelResultTo), to: cancelResultTo },
];

describe('the enums of the API', () => {
  for (const { desc, words, to, from } of PAIRS) {
    it(`${desc.name}: each value has its own word of the same name, and back`, () => {
      const given = desc.values.filter((value) => value.number !== 0);
      expect(given.map((value) => value.localName.toLowerCase())).to.have.members(words.map((w) => w.toLowerCase()));
      for (const { number, localName } of given) {
        const word = words.find((w) => w.toLowerCase() === localName.toLowerCase()) ?? '';
        if (to) expect(to[word], word).to.equal(number);
        if (from) expect(from[number], localName).to.equal(word);
      }
      if (from) expect(from[0]).to.equal(undefined);
    });
  }
});

/** Every field of a request set, after a journey over the wire. */
function aFullInput(): NotificationInput {
  const input = create(NotificationInputSchema, {
    type: 'order_confirmation',
    channels: [Channel.EMAIL, Channel.WEBHOOK],
    recipient: {
      id: 'ana',
      email: 'ana@example.com',
      phone: '+15551230000',
      devices: [
        { token: 'device-1' },
        {
          token: 'https://push.example.com/1',
          kind: DeviceKind.WEB_PUSH,
          p256dh: 'key',
          auth: 'secret',
          registeredAt: timestampFromMs(SAMPLE_TIME),
        },
      ],
      webhookUrl: 'https://example.com/hook',
      slackAddress: 'C1',
      discordWebhookUrl: 'https://discord.example.com/hook',
      locale: 'pt-BR',
      timeZone: 'America/Sao_Paulo',
      firstName: 'Ana',
      lastName: 'Souza',
    },
    priority: Priority.URGENT,
    category: 'security',
    data: { order: { total: 12.5, lines: [1, 'two', null, true] } },
    templateId: 'order',
    content: {
      subject: 'Hello',
      htmlBody: '<p>Hello</p>',
      textBody: 'Hello',
      smsBody: 'Hi',
      push: {
        title: 'Hello',
        body: 'There',
        icon: 'https://example.com/icon.png',
        badge: '1',
        data: { deep: { link: true } },
        actions: [{ action: 'open', title: 'Open' }],
      },
      webhookBody: { kind: { case: 'stringValue', value: 'body' } },
    },
    scheduledFor: timestampFromMs(SAMPLE_TIME + 1),
    expiresAt: timestampFromMs(SAMPLE_TIME + 2),
    unknownOutcome: UnknownOutcomePolicy.HOLD,
    metadata: { campaign: 'spring' },
    email: {
      from: { email: 'shop@example.com', name: 'Shop' },
      replyTo: { email: 'help@example.com' },
      cc: [{ email: 'c@example.com' }],
      bcc: [{ email: 'b@example.com' }],
      headers: { 'X-Campaign': 'spring' },
      attachments: [
        { filename: 'a.pdf', content: new Uint8Array([1, 2]), mimeType: 'application/pdf', contentId: 'a' },
      ],
    },
    webhook: {
      method: WebhookMethod.PATCH,
      headers: { 'X-Key': 'k' },
      retryPolicy: {
        maxAttempts: 7,
        backoff: Backoff.LINEAR,
        initialDelay: { seconds: 2n, nanos: 500_000_000 },
        maxDelay: { seconds: 60n },
      },
    },
    sms: { type: SmsType.UNICODE, from: 'Acme' },
  });
  return fromBinary(NotificationInputSchema, toBinary(NotificationInputSchema, input));
}

describe('a request', () => {
  it('keeps everything that the caller said', () => {
    expect(toRequest(aFullInput())).to.deep.equal({
      type: 'order_confirmation',
      channels: ['email', 'webhook'],
      recipient: {
        id: 'ana',
        email: 'ana@example.com',
        phone: '+15551230000',
        devices: [
          { kind: 'fcm_token', token: 'device-1' },
          {
            kind: 'web_push',
            token: 'https://push.example.com/1',
            p256dh: 'key',
            auth: 'secret',
            registeredAt: SAMPLE_TIME,
          },
        ],
        webhookUrl: 'https://example.com/hook',
        slackAddress: 'C1',
        discordWebhookUrl: 'https://discord.example.com/hook',
        locale: 'pt-BR',
        timeZone: 'America/Sao_Paulo',
        firstName: 'Ana',
        lastName: 'Souza',
      },
      priority: 'urgent',
      category: 'security',
      data: { order: { total: 12.5, lines: [1, 'two', null, true] } },
      templateId: 'order',
      content: {
        subject: 'Hello',
        htmlBody: '<p>Hello</p>',
        textBody: 'Hello',
        smsBody: 'Hi',
        push: {
          title: 'Hello',
          body: 'There',
          icon: 'https://example.com/icon.png',
          badge: '1',
          data: { deep: { link: true } },
          actions: [{ action: 'open', title: 'Open' }],
        },
        webhookBody: 'body',
      },
      scheduledFor: SAMPLE_TIME + 1,
      expiresAt: SAMPLE_TIME + 2,
      unknownOutcome: 'hold',
      metadata: { campaign: 'spring' },
      email: {
        from: { email: 'shop@example.com', name: 'Shop' },
        replyTo: { email: 'help@example.com' },
        cc: [{ email: 'c@example.com' }],
        bcc: [{ email: 'b@example.com' }],
        headers: { 'X-Campaign': 'spring' },
      },
      webhook: {
        method: 'PATCH',
        headers: { 'X-Key': 'k' },
        retryPolicy: { maxAttempts: 7, backoff: 'linear', initialDelayMs: 2_500, maxDelayMs: 60_000 },
      },
      sms: { type: 'unicode', from: 'Acme' },
      attachments: [
        { filename: 'a.pdf', content: new Uint8Array([1, 2]), mimeType: 'application/pdf', contentId: 'a' },
      ],
    });
  });

  it('has every default when the caller said no more than he must', () => {
    const input = create(NotificationInputSchema, {
      type: 'hello',
      channels: [Channel.WEBHOOK],
      recipient: { webhookUrl: 'https://example.com' },
      webhook: { retryPolicy: {} },
      sms: {},
    });
    expect(toRequest(input)).to.deep.equal({
      type: 'hello',
      channels: ['webhook'],
      recipient: { webhookUrl: 'https://example.com' },
      priority: 'normal',
      category: 'general',
      unknownOutcome: 'retry',
      metadata: {},
      webhook: {
        method: 'POST',
        headers: {},
        retryPolicy: { backoff: 'exponential', initialDelayMs: 30 * SECOND, maxDelayMs: HOUR },
      },
      sms: { type: 'auto' },
      attachments: [],
    });
  });

  it('without a recipient is refused by its field', () => {
    const thrown = ((): unknown => {
      try {
        return toRequest(create(NotificationInputSchema, { type: 'hello' }));
      } catch (error) {
        return error;
      }
    })();
    expect(CarillonError.from(thrown).violations.map((v) => v.field)).to.deep.equal(['notification.recipient']);
  });
});

describe('a notification', () => {
  const json = (row: Parameters<typeof fromNotification>[0]): JsonValue => {
    const message = create(NotificationSchema, fromNotification(row));
    return toJson(NotificationSchema, fromBinary(NotificationSchema, toBinary(NotificationSchema, message)));
  };
  const at = (ms: number): JsonValue => new Date(ms).toISOString().replace('.000Z', 'Z');

  it('comes with all that the service knows of it', () => {
    const { content } = toRequest(aFullInput());
    const row = aNotification({
      spec: {
        data: { n: 1 },
        metadata: { campaign: 'spring' },
        recipient: {
          devices: [
            { kind: 'apns', token: 'device-1' },
            { kind: 'web_push', token: 'device-2', p256dh: 'key', auth: 'secret', registeredAt: SAMPLE_TIME },
          ],
        },
        scheduledFor: SAMPLE_TIME,
        expiresAt: SAMPLE_TIME + HOUR,
        unknownOutcome: 'hold',
      },
      state: {
        version: 3,
        run: 2,
        status: 'pending',
        reason: 'retrying',
        detail: 'why',
        dueAt: SAMPLE_TIME + SECOND,
        cancelRequested: true,
        targets: [{ address: 'ana@example.com' }, { address: 'b', outcome: 'sent', provider: 'smtp', messageId: 'm' }],
        attempts: [
          {
            run: 2,
            number: 1,
            provider: 'smtp',
            choice: 'fail_over',
            skipped: [{ provider: 'ses', reason: 'quota_used' }],
            targets: [0, 1],
            startedAt: SAMPLE_TIME,
            endedAt: SAMPLE_TIME + SECOND,
            results: [{ target: 0, outcome: 'temporary_failure', code: '451', detail: 'busy' }],
          },
        ],
        receipts: [aFullReceipt({ detail: 'no such user', machine: true })],
        history: [{ version: 3, at: SAMPLE_TIME, status: 'pending', reason: 'retrying', receipt: 'bounced' }],
      },
      rendered: aRendered({
        ...(content && { content }),
        templateId: 't',
        templateVersion: '2',
        locale: 'pt',
        sms: { type: 'unicode', characters: 71, segments: 2 },
      }),
    });
    expect(json(row)).to.deep.equal({
      id: row.spec.id,
      groupId: row.spec.groupId,
      type: 'order_confirmation',
      channel: 'CHANNEL_EMAIL',
      priority: 'PRIORITY_NORMAL',
      category: 'order_updates',
      status: 'STATUS_PENDING',
      reason: 'REASON_RETRYING',
      reasonDetail: 'why',
      version: '3',
      run: 2,
      recipient: {
        devices: [
          { token: 'device-1', kind: 'DEVICE_KIND_APNS' },
          {
            token: 'device-2',
            kind: 'DEVICE_KIND_WEB_PUSH',
            p256dh: 'key',
            auth: 'secret',
            registeredAt: at(SAMPLE_TIME),
          },
        ],
      },
      targets: [
        { address: 'ana@example.com' },
        { address: 'b', outcome: 'OUTCOME_SENT', provider: 'smtp', providerMessageId: 'm' },
      ],
      attempts: [
        {
          number: 1,
          run: 2,
          provider: 'smtp',
          startedAt: at(SAMPLE_TIME),
          endedAt: at(SAMPLE_TIME + SECOND),
          results: [{ outcome: 'OUTCOME_TEMPORARY_FAILURE', responseCode: '451', responseMessage: 'busy' }],
          choice: 'CHOICE_FAIL_OVER',
          skipped: [{ provider: 'ses', reason: 'SKIP_REASON_QUOTA_USED' }],
          targets: [0, 1],
        },
      ],
      history: [
        {
          version: '3',
          at: at(SAMPLE_TIME),
          status: 'STATUS_PENDING',
          reason: 'REASON_RETRYING',
          receipt: 'RECEIPT_KIND_BOUNCED',
        },
      ],
      receipts: [
        {
          provider: 'smtp',
          kind: 'RECEIPT_KIND_BOUNCED',
          hard: true,
          at: at(SAMPLE_TIME),
          code: '550',
          detail: 'no such user',
          machine: true,
        },
      ],
      renderedContent: {
        content,
        templateId: 't',
        templateVersion: '2',
        locale: 'pt',
        renderedAt: at(SAMPLE_TIME),
        smsSize: { type: 'SMS_TYPE_UNICODE', characters: 71, segments: 2 },
      },
      data: { n: 1 },
      metadata: { campaign: 'spring' },
      createdAt: at(SAMPLE_TIME),
      updatedAt: at(SAMPLE_TIME),
      dueAt: at(SAMPLE_TIME + SECOND),
      scheduledFor: at(SAMPLE_TIME),
      expiresAt: at(SAMPLE_TIME + HOUR),
      cancelRequested: true,
      unknownOutcome: 'UNKNOWN_OUTCOME_POLICY_HOLD',
    });
  });

  it('says when it is due only while it waits', () => {
    expect(json(aNotification())).not.to.have.property('dueAt');
  });

  it('of which an event tells is told with ids and words only', () => {
    const event = anEvent({
      recipientId: 'ana',
      reason: 'rejected',
      status: 'failed',
      attempt: 2,
      provider: 'smtp',
      receipt: 'failed',
    });
    const message = create(NotificationEventSchema, fromEvent(event));
    expect(toJson(NotificationEventSchema, message)).to.deep.equal({
      notificationId: event.notificationId,
      groupId: event.groupId,
      recipientId: 'ana',
      channel: 'CHANNEL_EMAIL',
      type: 'order_confirmation',
      version: '1',
      at: at(SAMPLE_TIME),
      status: 'STATUS_FAILED',
      reason: 'REASON_REJECTED',
      attempt: 2,
      provider: 'smtp',
      receipt: 'RECEIPT_KIND_FAILED',
    });
  });
});
