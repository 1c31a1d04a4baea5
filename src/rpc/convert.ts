/** Between the messages of the API and the words of the domain. Messages that come in have passed protovalidate. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { fromJson, toJson } from '@bufbuild/protobuf';
import { ValueSchema, timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { Duration, Timestamp } from '@bufbuild/protobuf/wkt';
import type {
  Attachment as ProtoAttachment,
  Content as ProtoContent,
  ContentSchema,
  Device as ProtoDevice,
  DeviceSchema,
  EmailAddress as ProtoEmailAddress,
  EmailOptions as ProtoEmailOptions,
  NotificationEventSchema,
  NotificationInput,
  NotificationSchema,
  PushData as ProtoPushData,
  Recipient as ProtoRecipient,
  RecipientSchema,
  ReceiptSchema,
  RenderedContentSchema,
  RetryPolicy as ProtoRetryPolicy,
  SmsOptions as ProtoSmsOptions,
  WebhookOptions as ProtoWebhookOptions,
} from '../../gen/carillon/v1/notification_pb.js';
import { HOUR, SECOND } from '../domain/clock.ts';
import type {
  Attachment,
  Content,
  Device,
  EmailAddress,
  EmailOptions,
  Notification,
  PushData,
  Recipient,
  RenderedContent,
  RetryPolicy,
  SmsOptions,
  WebhookOptions,
} from '../domain/notification.ts';
import type { Receipt } from '../domain/receipt.ts';
import { invalidField } from '../errors.ts';
import type { FeedEvent } from '../feed/feed.ts';
import type { NotificationRequest } from '../pipeline/resolve.ts';
import {
  backoffFrom,
  channelFrom,
  channelTo,
  choiceTo,
  deviceKindFrom,
  deviceKindTo,
  outcomeTo,
  priorityFrom,
  priorityTo,
  reasonTo,
  receiptKindTo,
  skipReasonTo,
  smsTypeFrom,
  smsTypeTo,
  statusTo,
  unknownOutcomeFrom,
  unknownOutcomeTo,
  webhookMethodFrom,
} from './enums.ts';

const DEFAULT_CATEGORY = 'general';
const DEFAULT_WEBHOOK_DELAY = 30 * SECOND;
const DEFAULT_WEBHOOK_MAX_DELAY = HOUR;

const ms = (at: Timestamp | undefined): number | undefined => (at ? timestampMs(at) : undefined);
const durationMs = (d: Duration | undefined): number | undefined =>
  d ? Number(d.seconds) * SECOND + Math.floor(d.nanos / 1e6) : undefined;

export function toRequest(input: NotificationInput): NotificationRequest {
  const { recipient, email, webhook, sms, content, data } = input;
  if (!recipient) throw invalidField('notification.recipient', 'is required');
  const scheduledFor = ms(input.scheduledFor);
  const expiresAt = ms(input.expiresAt);
  return {
    type: input.type,
    channels: input.channels.flatMap((channel) => channelFrom[channel] ?? []),
    recipient: toRecipient(recipient),
    priority: priorityFrom[input.priority] ?? 'normal',
    category: input.category || DEFAULT_CATEGORY,
    ...(data && { data: data }),
    ...(input.templateId && { templateId: input.templateId }),
    ...(content && { content: toContent(content) }),
    ...(scheduledFor !== undefined && { scheduledFor }),
    ...(expiresAt !== undefined && { expiresAt }),
    unknownOutcome: unknownOutcomeFrom[input.unknownOutcome] ?? 'retry',
    metadata: { ...input.metadata },
    ...(email && { email: toEmailOptions(email) }),
    ...(webhook && { webhook: toWebhookOptions(webhook) }),
    ...(sms && { sms: toSmsOptions(sms) }),
    attachments: (email?.attachments ?? []).map(toAttachment),
  };
}

function toRecipient(r: ProtoRecipient): Recipient {
  return {
    ...(r.id && { id: r.id }),
    ...(r.email && { email: r.email }),
    ...(r.phone && { phone: r.phone }),
    ...(r.devices.length > 0 && { devices: r.devices.map(toDevice) }),
    ...(r.webhookUrl && { webhookUrl: r.webhookUrl }),
    ...(r.slackAddress && { slackAddress: r.slackAddress }),
    ...(r.discordWebhookUrl && { discordWebhookUrl: r.discordWebhookUrl }),
    ...(r.locale && { locale: r.locale }),
    ...(r.timeZone && { timeZone: r.timeZone }),
    ...(r.firstName && { firstName: r.firstName }),
    ...(r.lastName && { lastName: r.lastName }),
  };
}

function toDevice(d: ProtoDevice): Device {
  const registeredAt = ms(d.registeredAt);
  return {
    kind: deviceKindFrom[d.kind] ?? 'fcm_token',
    token: d.token,
    ...(d.p256dh && { p256dh: d.p256dh }),
    ...(d.auth && { auth: d.auth }),
    ...(registeredAt !== undefined && { registeredAt }),
  };
}

const toSmsOptions = (s: ProtoSmsOptions): SmsOptions => ({
  type: smsTypeFrom[s.type] ?? 'auto',
  ...(s.from && { from: s.from }),
});

function toContent(c: ProtoContent): Content {
  return {
    ...(c.subject && { subject: c.subject }),
    ...(c.htmlBody && { htmlBody: c.htmlBody }),
    ...(c.textBody && { textBody: c.textBody }),
    ...(c.smsBody && { smsBody: c.smsBody }),
    ...(c.push && { push: toPush(c.push) }),
    ...(c.webhookBody && { webhookBody: toJson(ValueSchema, c.webhookBody) }),
  };
}

function toPush(p: ProtoPushData): PushData {
  return {
    title: p.title,
    body: p.body,
    ...(p.icon && { icon: p.icon }),
    ...(p.badge && { badge: p.badge }),
    ...(p.data && { data: p.data }),
    actions: p.actions.map(({ action, title }) => ({ action, title })),
  };
}

const toAddress = (a: ProtoEmailAddress): EmailAddress => ({ email: a.email, ...(a.name && { name: a.name }) });

function toEmailOptions(e: ProtoEmailOptions): EmailOptions {
  return {
    ...(e.from && { from: toAddress(e.from) }),
    ...(e.replyTo && { replyTo: toAddress(e.replyTo) }),
    cc: e.cc.map(toAddress),
    bcc: e.bcc.map(toAddress),
    headers: { ...e.headers },
  };
}

function toAttachment(a: ProtoAttachment): Attachment {
  return {
    filename: a.filename,
    content: a.content,
    mimeType: a.mimeType || 'application/octet-stream',
    ...(a.contentId && { contentId: a.contentId }),
  };
}

function toWebhookOptions(w: ProtoWebhookOptions): WebhookOptions {
  return {
    method: webhookMethodFrom[w.method] ?? 'POST',
    headers: { ...w.headers },
    ...(w.retryPolicy && { retryPolicy: toRetryPolicy(w.retryPolicy) }),
  };
}

function toRetryPolicy(p: ProtoRetryPolicy): RetryPolicy {
  return {
    ...(p.maxAttempts > 0 && { maxAttempts: p.maxAttempts }),
    backoff: backoffFrom[p.backoff] ?? 'exponential',
    initialDelayMs: durationMs(p.initialDelay) ?? DEFAULT_WEBHOOK_DELAY,
    maxDelayMs: durationMs(p.maxDelay) ?? DEFAULT_WEBHOOK_MAX_DELAY,
  };
}

export function fromNotification({ spec, state, rendered }: Notification): MessageInitShape<typeof NotificationSchema> {
  return {
    id: spec.id,
    groupId: spec.groupId,
    type: spec.type,
    channel: channelTo[spec.channel],
    priority: priorityTo[spec.priority],
    category: spec.category,
    status: statusTo[state.status],
    ...(state.reason && { reason: reasonTo[state.reason] }),
    ...(state.detail && { reasonDetail: state.detail }),
    version: BigInt(state.version),
    run: state.run,
    recipient: fromRecipient(spec.recipient),
    targets: state.targets.map((t) => ({
      address: t.address,
      ...(t.outcome && { outcome: outcomeTo[t.outcome] }),
      provider: t.provider ?? '',
      providerMessageId: t.messageId ?? '',
    })),
    attempts: state.attempts.map((a) => ({
      number: a.number,
      run: a.run,
      provider: a.provider,
      startedAt: timestampFromMs(a.startedAt),
      ...(a.endedAt !== undefined && { endedAt: timestampFromMs(a.endedAt) }),
      results: a.results.map((r) => ({
        target: r.target,
        outcome: outcomeTo[r.outcome],
        responseCode: r.code ?? '',
        responseMessage: r.detail ?? '',
      })),
      choice: choiceTo[a.choice],
      skipped: a.skipped.map((s) => ({ provider: s.provider, reason: skipReasonTo[s.reason] })),
      targets: [...a.targets],
    })),
    history: state.history.map((t) => ({
      version: BigInt(t.version),
      at: timestampFromMs(t.at),
      status: statusTo[t.status],
      ...(t.reason && { reason: reasonTo[t.reason] }),
      ...(t.receipt && { receipt: receiptKindTo[t.receipt] }),
    })),
    receipts: state.receipts.map(fromReceipt),
    ...(rendered && { renderedContent: fromRendered(rendered) }),
    ...(spec.data && { data: spec.data }),
    metadata: { ...spec.metadata },
    createdAt: timestampFromMs(spec.createdAt),
    updatedAt: timestampFromMs(state.updatedAt),
    ...(state.status === 'pending' && { dueAt: timestampFromMs(state.dueAt) }),
    ...(spec.scheduledFor !== undefined && { scheduledFor: timestampFromMs(spec.scheduledFor) }),
    ...(spec.expiresAt !== undefined && { expiresAt: timestampFromMs(spec.expiresAt) }),
    cancelRequested: state.cancelRequested,
    unknownOutcome: unknownOutcomeTo[spec.unknownOutcome],
  };
}

function fromRecipient({ devices = [], ...rest }: Recipient): MessageInitShape<typeof RecipientSchema> {
  return { ...rest, devices: devices.map(fromDevice) };
}

function fromDevice({ kind, registeredAt, ...rest }: Device): MessageInitShape<typeof DeviceSchema> {
  return {
    ...rest,
    kind: deviceKindTo[kind],
    ...(registeredAt !== undefined && { registeredAt: timestampFromMs(registeredAt) }),
  };
}

function fromReceipt(r: Receipt): MessageInitShape<typeof ReceiptSchema> {
  return {
    provider: r.provider,
    kind: receiptKindTo[r.kind],
    hard: r.hard ?? false,
    at: timestampFromMs(r.at),
    code: r.code ?? '',
    detail: r.detail ?? '',
    machine: r.machine ?? false,
  };
}

export function fromRendered(r: RenderedContent): MessageInitShape<typeof RenderedContentSchema> {
  return {
    content: fromContent(r.content),
    templateId: r.templateId ?? '',
    templateVersion: r.templateVersion ?? '',
    locale: r.locale ?? '',
    renderedAt: timestampFromMs(r.renderedAt),
    ...(r.sms && { smsSize: { ...r.sms, type: smsTypeTo[r.sms.type] } }),
  };
}

function fromContent({ webhookBody, push, ...texts }: Content): MessageInitShape<typeof ContentSchema> {
  return {
    ...texts,
    ...(push && { push: { ...push, actions: [...push.actions], ...(push.data && { data: push.data }) } }),
    ...(webhookBody !== undefined && { webhookBody: fromJson(ValueSchema, webhookBody) }),
  };
}

export function fromEvent(event: FeedEvent): MessageInitShape<typeof NotificationEventSchema> {
  return {
    notificationId: event.notificationId,
    groupId: event.groupId,
    recipientId: event.recipientId ?? '',
    channel: channelTo[event.channel],
    type: event.type,
    version: BigInt(event.version),
    at: timestampFromMs(event.at),
    status: statusTo[event.status],
    ...(event.reason && { reason: reasonTo[event.reason] }),
    attempt: event.attempt,
    provider: event.provider ?? '',
    ...(event.receipt && { receipt: receiptKindTo[event.receipt] }),
  };
}
