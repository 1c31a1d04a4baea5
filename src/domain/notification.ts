/**
 * The words of the domain. A notification is a `spec` (what the caller asked for, never changed), a `state` (what the
 * pipeline made of it, changed only through `domain/transitions.ts`) and the content last rendered.
 * All times are milliseconds since 1970 in UTC.
 */
import type { Receipt, ReceiptKind } from './receipt.ts';

export const CHANNELS = ['email', 'sms', 'push', 'webhook', 'in_app', 'slack', 'discord'] as const;
export type Channel = (typeof CHANNELS)[number];

/** Highest first: the order in which lanes are served. */
export const PRIORITIES = ['urgent', 'high', 'normal', 'low'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** For services that know two priorities only. */
export const isImportant = (priority: Priority): boolean => priority === 'urgent' || priority === 'high';

/** A lane is a queue of its own for one channel and one priority. */
export interface Lane {
  readonly channel: Channel;
  readonly priority: Priority;
}

export const laneName = (lane: Lane): string => `${lane.channel}.${lane.priority}`;

export const LANES: readonly Lane[] = CHANNELS.flatMap((channel) =>
  PRIORITIES.map((priority) => ({ channel, priority })),
);

export const STATUSES = [
  'pending',
  'queued',
  'processing',
  'sent',
  'delivered',
  'bounced',
  'failed',
  'cancelled',
] as const;
export type Status = (typeof STATUSES)[number];

export const PENDING_REASONS = [
  'scheduled',
  'quiet_hours',
  'digested',
  'retrying',
  'rate_limited',
  'route_down',
] as const;
export const CANCELLED_REASONS = [
  'preference_disabled',
  'unsubscribed',
  'suppressed',
  'expired',
  'cancelled_by_caller',
] as const;
export const FAILED_REASONS = [
  'no_provider',
  'no_address',
  'invalid_recipient',
  'rejected',
  'render_failed',
  'attempts_exhausted',
  'held_too_long',
  'outcome_unknown',
  'poisoned',
] as const;
export type PendingReason = (typeof PENDING_REASONS)[number];
export type CancelledReason = (typeof CANCELLED_REASONS)[number];
export type FailedReason = (typeof FAILED_REASONS)[number];
export type Reason = PendingReason | CancelledReason | FailedReason;

export const OUTCOMES = [
  'sent',
  'temporary_failure',
  'rate_limited',
  'permanent_failure',
  'invalid_recipient',
  'provider_error',
  'unknown',
] as const;
/** What a provider answered for one target. */
export type Outcome = (typeof OUTCOMES)[number];

/** What became of a target; `suppressed`: no provider was asked, as the address is on the suppression list. */
export type TargetOutcome = Outcome | 'suppressed';

export type UnknownOutcomePolicy = 'retry' | 'hold';

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

export const DEVICE_KINDS = ['fcm_token', 'fcm_id', 'apns', 'web_push', 'onesignal'] as const;
export type DeviceKind = (typeof DEVICE_KINDS)[number];

/** One device that takes push messages. */
export interface Device {
  readonly kind: DeviceKind;
  /** Registration token, installation id, device token, subscription endpoint (URL) or subscription id, by `kind`. */
  readonly token: string;
  /** Of a web push subscription: its public key and secret, base64url (RFC 8291). */
  readonly p256dh?: string;
  readonly auth?: string;
  /** When the app last registered it: what was said of the token before then no longer counts. */
  readonly registeredAt?: number;
}

export interface Recipient {
  readonly id?: string;
  readonly email?: string;
  readonly phone?: string;
  readonly devices?: readonly Device[];
  readonly webhookUrl?: string;
  readonly slackAddress?: string;
  readonly discordWebhookUrl?: string;
  /** BCP 47. */
  readonly locale?: string;
  /** IANA. */
  readonly timeZone?: string;
  readonly firstName?: string;
  readonly lastName?: string;
}

export interface EmailAddress {
  readonly email: string;
  readonly name?: string;
}

export interface Attachment {
  readonly filename: string;
  readonly content: Uint8Array;
  readonly mimeType: string;
  readonly contentId?: string;
}

export interface EmailOptions {
  readonly from?: EmailAddress;
  readonly replyTo?: EmailAddress;
  readonly cc: readonly EmailAddress[];
  readonly bcc: readonly EmailAddress[];
  readonly headers: Readonly<Record<string, string>>;
}

export type WebhookMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface RetryPolicy {
  readonly maxAttempts?: number;
  readonly backoff: 'linear' | 'exponential';
  readonly initialDelayMs: number;
  readonly maxDelayMs: number;
}

export interface WebhookOptions {
  readonly method: WebhookMethod;
  readonly headers: Readonly<Record<string, string>>;
  readonly retryPolicy?: RetryPolicy;
}

/** How a text is coded: `text` is GSM-7, `unicode` UCS-2; of `binary` the body is hex digits of bytes. */
export type SmsType = 'text' | 'unicode' | 'binary';

export interface SmsOptions {
  /** `auto`: `text` where every character allows it, else `unicode`. */
  readonly type: SmsType | 'auto';
  /** A number in E.164 form, a short code or an alphanumeric name. */
  readonly from?: string;
}

/** What a text message comes to on the air (3GPP TS 23.038, 23.040). */
export interface SmsSize {
  readonly type: SmsType;
  /** Characters as people count them; of `binary` bytes. */
  readonly characters: number;
  /** What is billed. */
  readonly segments: number;
}

export interface PushData {
  readonly title: string;
  readonly body: string;
  readonly icon?: string;
  readonly badge?: string;
  readonly data?: JsonObject;
  readonly actions: readonly { readonly action: string; readonly title: string }[];
}

export interface Content {
  readonly subject?: string;
  readonly htmlBody?: string;
  readonly textBody?: string;
  readonly smsBody?: string;
  readonly push?: PushData;
  readonly webhookBody?: Json;
}

export interface RenderedContent {
  readonly content: Content;
  readonly templateId?: string;
  readonly templateVersion?: string;
  readonly locale?: string;
  readonly sms?: SmsSize;
  readonly renderedAt: number;
}

/** What the caller asked for, on one channel. Never changes, except that retention takes its content away. */
export interface NotificationSpec {
  /** UUIDv7. */
  readonly id: string;
  readonly tenant: string;
  readonly groupId: string;
  readonly type: string;
  readonly channel: Channel;
  readonly priority: Priority;
  readonly category: string;
  readonly recipient: Recipient;
  readonly templateId?: string;
  readonly data?: JsonObject;
  readonly content?: Content;
  readonly scheduledFor?: number;
  readonly expiresAt?: number;
  readonly unknownOutcome: UnknownOutcomePolicy;
  readonly metadata: Readonly<Record<string, string>>;
  readonly email?: EmailOptions;
  readonly webhook?: WebhookOptions;
  readonly sms?: SmsOptions;
  /** Attachments are stored apart, under the notification's id. */
  readonly attachmentCount: number;
  readonly createdAt: number;
}

/** One address of a notification. Open while it has no outcome. */
export interface Target {
  readonly address: string;
  readonly outcome?: TargetOutcome;
  readonly provider?: string;
  readonly messageId?: string;
}

export interface AttemptResult {
  /** Index into `NotificationState.targets`. */
  readonly target: number;
  readonly outcome: Outcome;
  readonly code?: string;
  readonly detail?: string;
}

export const CHOICES = ['first', 'weight', 'repeat', 'fail_over'] as const;
/**
 * Why a provider was asked: `first` in the list of those that could be, picked by `weight`, as a `repeat` of a call whose
 * outcome is unknown, or by `fail_over` within the attempt.
 */
export type Choice = (typeof CHOICES)[number];

export const SKIP_REASONS = ['circuit_open', 'rate_limited', 'quota_used'] as const;
export type SkipReason = (typeof SKIP_REASONS)[number];

/** A provider that would have come first but could not be asked. */
export interface Skipped {
  readonly provider: string;
  readonly reason: SkipReason;
}

/** One call of one provider for some targets. A fail-over is an entry of its own with the same number. */
export interface Attempt {
  readonly run: number;
  readonly number: number;
  readonly provider: string;
  readonly choice: Choice;
  readonly skipped: readonly Skipped[];
  /** Indices of the targets that it was made for. */
  readonly targets: readonly number[];
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly results: readonly AttemptResult[];
}

/** One step: the row's history and, until it is published, its outbox of events. */
export interface Transition {
  readonly version: number;
  readonly at: number;
  readonly status: Status;
  readonly reason?: Reason;
  /** Number of the attempt it belongs to, where there is one. */
  readonly attempt?: number;
  readonly provider?: string;
  /** The provider's report that led to it. */
  readonly receipt?: ReceiptKind;
}

export interface Lease {
  readonly id: string;
  /** Past this time the worker counts as dead and the outcome as unknown. */
  readonly until: number;
}

export interface NotificationState {
  /** Raised by one with every write except clearing events and postponing. */
  readonly version: number;
  /** Every event up to this version is acknowledged by the feed. */
  readonly published: number;
  readonly status: Status;
  readonly reason?: Reason;
  /** What led to the reason, for people; no address, no content. */
  readonly detail?: string;
  /** It may be claimed from here on, never before. */
  readonly dueAt: number;
  /** The scheduler must look at it from here on; not set when nothing is left to do. */
  readonly wakeAt?: number;
  /** QUEUED: when its last hint was made. */
  readonly enqueuedAt?: number;
  /** PENDING: a job in the queue will come back at `dueAt`, so the scheduler waits a minute longer. */
  readonly naked?: boolean;
  /** 1, and one more for each re-drive. */
  readonly run: number;
  /** Attempts counted in this run. */
  readonly attempt: number;
  /** Times a worker has taken up a job that was delivered suspiciously often, since the last other write. */
  readonly starts: number;
  /** Since when rate limits or a route that is down have held it, without an attempt between. */
  readonly heldSince?: number;
  readonly cancelRequested: boolean;
  readonly lease?: Lease;
  readonly targets: readonly Target[];
  /** The last MAX_ATTEMPTS_KEPT, and those of this run with an unknown result. */
  readonly attempts: readonly Attempt[];
  /** What providers reported since, in the order in which it was applied; the last MAX_RECEIPTS_KEPT. */
  readonly receipts: readonly Receipt[];
  /** The last MAX_HISTORY_KEPT, and every one that is not yet published. */
  readonly history: readonly Transition[];
  readonly updatedAt: number;
}

export const MAX_ATTEMPTS_KEPT = 50;
export const MAX_HISTORY_KEPT = 100;
export const MAX_RECEIPTS_KEPT = 50;

export interface Notification {
  readonly spec: NotificationSpec;
  readonly state: NotificationState;
  readonly rendered?: RenderedContent;
}

export function isFinal(status: Status): boolean {
  return status !== 'pending' && status !== 'queued' && status !== 'processing';
}

/** Indices of the targets that have no outcome yet. */
export function openTargets(targets: readonly Target[]): number[] {
  return targets.flatMap((target, index) => (target.outcome === undefined ? [index] : []));
}

export const laneOf = (n: Notification): Lane => ({ channel: n.spec.channel, priority: n.spec.priority });

/** The addresses of a recipient on a channel; none when it has no such address. */
export function addressesOf(recipient: Recipient, channel: Channel): readonly string[] {
  switch (channel) {
    case 'email':
      return recipient.email ? [recipient.email] : [];
    case 'sms':
      return recipient.phone ? [recipient.phone] : [];
    case 'push':
      return recipient.devices?.map((device) => device.token) ?? [];
    case 'webhook':
      return recipient.webhookUrl ? [recipient.webhookUrl] : [];
    case 'in_app':
      return recipient.id ? [recipient.id] : [];
    case 'slack':
      return recipient.slackAddress ? [recipient.slackAddress] : [];
    case 'discord':
      return recipient.discordWebhookUrl ? [recipient.discordWebhookUrl] : [];
  }
}
