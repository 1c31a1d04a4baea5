import { create, fromBinary, toBinary, toJson } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { DescEnum, JsonValue } from '@bufbuild/protobuf';
import { expect } from 'chai';
import {
  Backoff,
  BackoffSchema,
  Channel,
  ChannelSchema,
  NotificationEventSchema,
  NotificationInputSchema,
  NotificationSchema,
  OutcomeSchema,
  Priority,
  PrioritySchema,
  ReasonSchema,
  StatusSchema,
  UnknownOutcomePolicy,
  UnknownOutcomePolicySchema,
  WebhookMethod,
  WebhookMethodSchema,
} from '../../gen/carillon/v1/notification_pb.js';
import type { NotificationInput } from '../../gen/carillon/v1/notification_pb.js';
import { CancelResultSchema, DecisionLayerSchema } from '../../gen/carillon/v1/notification_service_pb.js';
import { HOUR, SECOND } from '../../src/domain/clock.ts';
import {
  CANCELLED_REASONS,
  CHANNELS,
  FAILED_REASONS,
  OUTCOMES,
  PENDING_REASONS,
  PRIORITIES,
  STATUSES,
} from '../../src/domain/notification.ts';
import { CarillonError } from '../../src/errors.ts';
import { fromEvent, fromNotification, toRequest } from '../../src/rpc/convert.ts';
import {
  backoffFrom,
  cancelResultTo,
  channelFrom,
  channelTo,
  layerTo,
  outcomeTo,
  priorityFrom,
  priorityTo,
  reasonFrom,
  reasonTo,
  statusFrom,
  statusTo,
  unknownOutcomeFrom,
  unknownOutcomeTo,
  webhookMethodFrom,
} from '../../src/rpc/enums.ts';
import { SAMPLE_TIME, aNotification, aRendered, anEvent } from '../support/sample.ts';

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
  { desc: OutcomeSchema, words: OUTCOMES, to: outcomeTo },
  { desc: UnknownOutcomePolicySchema, words: ['retry', 'hold'], to: unknownOutcomeTo, from: unknownOutcomeFrom },
  { desc: WebhookMethodSchema, words: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'], from: webhookMethodFrom },
  { desc: BackoffSchema, words: ['linear', 'exponential'], from: backoffFrom },
  { desc: DecisionLayerSchema, words: Object.keys(layerTo), to: layerTo },
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
      devices: [{ token: 'device-1' }, { token: 'device-2' }],
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
        deviceTokens: ['device-1', 'device-2'],
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
        recipient: { deviceTokens: ['device-1'] },
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
            targets: [0, 1],
            startedAt: SAMPLE_TIME,
            endedAt: SAMPLE_TIME + SECOND,
            results: [{ target: 0, outcome: 'temporary_failure', code: '451', detail: 'busy' }],
          },
        ],
        history: [{ version: 3, at: SAMPLE_TIME, status: 'pending', reason: 'retrying' }],
      },
      rendered: aRendered({ ...(content && { content }), templateId: 't', templateVersion: '2', locale: 'pt' }),
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
      recipient: { devices: [{ token: 'device-1' }] },
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
        },
      ],
      history: [{ version: '3', at: at(SAMPLE_TIME), status: 'STATUS_PENDING', reason: 'REASON_RETRYING' }],
      renderedContent: { content, templateId: 't', templateVersion: '2', locale: 'pt', renderedAt: at(SAMPLE_TIME) },
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
    const event = anEvent({ recipientId: 'ana', reason: 'rejected', status: 'failed', attempt: 2, provider: 'smtp' });
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
    });
  });
});
