/**
 * The enums of the API and of the domain, as total tables: a new value on either side does not compile until it has a
 * partner. `undefined` stands for a value that was not given.
 */
import {
  Backoff as ProtoBackoff,
  Channel as ProtoChannel,
  Choice as ProtoChoice,
  DeviceKind as ProtoDeviceKind,
  Outcome as ProtoOutcome,
  Priority as ProtoPriority,
  Reason as ProtoReason,
  ReceiptKind as ProtoReceiptKind,
  SkipReason as ProtoSkipReason,
  SmsType as ProtoSmsType,
  Status as ProtoStatus,
  UnknownOutcomePolicy as ProtoUnknownOutcome,
  WebhookMethod as ProtoWebhookMethod,
} from '../../gen/carillon/v1/notification_pb.js';
import { CancelResult, DecisionLayer as ProtoLayer } from '../../gen/carillon/v1/notification_service_pb.js';
import { SuppressionReason as ProtoSuppressionReason } from '../../gen/carillon/v1/preference_service_pb.js';
import type {
  Channel,
  Choice,
  DeviceKind,
  Priority,
  Reason,
  RetryPolicy,
  SkipReason,
  SmsOptions,
  SmsType,
  Status,
  TargetOutcome,
  UnknownOutcomePolicy,
  WebhookMethod,
} from '../domain/notification.ts';
import type { ReceiptKind } from '../domain/receipt.ts';
import type { SuppressionReason } from '../domain/suppression.ts';
import type { Cancelled } from '../pipeline/cancel.ts';
import type { DecisionLayer } from '../pipeline/decide.ts';

type To<Domain extends string, Proto> = Readonly<Record<Domain, Proto>>;
type From<Proto extends number, Domain> = Readonly<Record<Proto, Domain | undefined>>;

export const channelTo: To<Channel, ProtoChannel> = {
  email: ProtoChannel.EMAIL,
  sms: ProtoChannel.SMS,
  push: ProtoChannel.PUSH,
  webhook: ProtoChannel.WEBHOOK,
  in_app: ProtoChannel.IN_APP,
  slack: ProtoChannel.SLACK,
  discord: ProtoChannel.DISCORD,
};

export const channelFrom: From<ProtoChannel, Channel> = {
  [ProtoChannel.UNSPECIFIED]: undefined,
  [ProtoChannel.EMAIL]: 'email',
  [ProtoChannel.SMS]: 'sms',
  [ProtoChannel.PUSH]: 'push',
  [ProtoChannel.WEBHOOK]: 'webhook',
  [ProtoChannel.IN_APP]: 'in_app',
  [ProtoChannel.SLACK]: 'slack',
  [ProtoChannel.DISCORD]: 'discord',
};

export const priorityTo: To<Priority, ProtoPriority> = {
  low: ProtoPriority.LOW,
  normal: ProtoPriority.NORMAL,
  high: ProtoPriority.HIGH,
  urgent: ProtoPriority.URGENT,
};

export const priorityFrom: From<ProtoPriority, Priority> = {
  [ProtoPriority.UNSPECIFIED]: undefined,
  [ProtoPriority.LOW]: 'low',
  [ProtoPriority.NORMAL]: 'normal',
  [ProtoPriority.HIGH]: 'high',
  [ProtoPriority.URGENT]: 'urgent',
};

export const statusTo: To<Status, ProtoStatus> = {
  pending: ProtoStatus.PENDING,
  queued: ProtoStatus.QUEUED,
  processing: ProtoStatus.PROCESSING,
  sent: ProtoStatus.SENT,
  delivered: ProtoStatus.DELIVERED,
  bounced: ProtoStatus.BOUNCED,
  failed: ProtoStatus.FAILED,
  cancelled: ProtoStatus.CANCELLED,
};

export const statusFrom: From<ProtoStatus, Status> = {
  [ProtoStatus.UNSPECIFIED]: undefined,
  [ProtoStatus.PENDING]: 'pending',
  [ProtoStatus.QUEUED]: 'queued',
  [ProtoStatus.PROCESSING]: 'processing',
  [ProtoStatus.SENT]: 'sent',
  [ProtoStatus.DELIVERED]: 'delivered',
  [ProtoStatus.BOUNCED]: 'bounced',
  [ProtoStatus.FAILED]: 'failed',
  [ProtoStatus.CANCELLED]: 'cancelled',
};

export const reasonTo: To<Reason, ProtoReason> = {
  scheduled: ProtoReason.SCHEDULED,
  quiet_hours: ProtoReason.QUIET_HOURS,
  digested: ProtoReason.DIGESTED,
  retrying: ProtoReason.RETRYING,
  rate_limited: ProtoReason.RATE_LIMITED,
  route_down: ProtoReason.ROUTE_DOWN,
  preference_disabled: ProtoReason.PREFERENCE_DISABLED,
  unsubscribed: ProtoReason.UNSUBSCRIBED,
  suppressed: ProtoReason.SUPPRESSED,
  expired: ProtoReason.EXPIRED,
  cancelled_by_caller: ProtoReason.CANCELLED_BY_CALLER,
  no_provider: ProtoReason.NO_PROVIDER,
  no_address: ProtoReason.NO_ADDRESS,
  invalid_recipient: ProtoReason.INVALID_RECIPIENT,
  rejected: ProtoReason.REJECTED,
  render_failed: ProtoReason.RENDER_FAILED,
  attempts_exhausted: ProtoReason.ATTEMPTS_EXHAUSTED,
  held_too_long: ProtoReason.HELD_TOO_LONG,
  outcome_unknown: ProtoReason.OUTCOME_UNKNOWN,
  poisoned: ProtoReason.POISONED,
};

export const reasonFrom: From<ProtoReason, Reason> = {
  [ProtoReason.UNSPECIFIED]: undefined,
  [ProtoReason.SCHEDULED]: 'scheduled',
  [ProtoReason.QUIET_HOURS]: 'quiet_hours',
  [ProtoReason.DIGESTED]: 'digested',
  [ProtoReason.RETRYING]: 'retrying',
  [ProtoReason.RATE_LIMITED]: 'rate_limited',
  [ProtoReason.ROUTE_DOWN]: 'route_down',
  [ProtoReason.PREFERENCE_DISABLED]: 'preference_disabled',
  [ProtoReason.UNSUBSCRIBED]: 'unsubscribed',
  [ProtoReason.SUPPRESSED]: 'suppressed',
  [ProtoReason.EXPIRED]: 'expired',
  [ProtoReason.CANCELLED_BY_CALLER]: 'cancelled_by_caller',
  [ProtoReason.NO_PROVIDER]: 'no_provider',
  [ProtoReason.NO_ADDRESS]: 'no_address',
  [ProtoReason.INVALID_RECIPIENT]: 'invalid_recipient',
  [ProtoReason.REJECTED]: 'rejected',
  [ProtoReason.RENDER_FAILED]: 'render_failed',
  [ProtoReason.ATTEMPTS_EXHAUSTED]: 'attempts_exhausted',
  [ProtoReason.HELD_TOO_LONG]: 'held_too_long',
  [ProtoReason.OUTCOME_UNKNOWN]: 'outcome_unknown',
  [ProtoReason.POISONED]: 'poisoned',
};

export const outcomeTo: To<TargetOutcome, ProtoOutcome> = {
  sent: ProtoOutcome.SENT,
  temporary_failure: ProtoOutcome.TEMPORARY_FAILURE,
  rate_limited: ProtoOutcome.RATE_LIMITED,
  permanent_failure: ProtoOutcome.PERMANENT_FAILURE,
  invalid_recipient: ProtoOutcome.INVALID_RECIPIENT,
  provider_error: ProtoOutcome.PROVIDER_ERROR,
  unknown: ProtoOutcome.UNKNOWN,
  suppressed: ProtoOutcome.SUPPRESSED,
};

export const choiceTo: To<Choice, ProtoChoice> = {
  first: ProtoChoice.FIRST,
  weight: ProtoChoice.WEIGHT,
  repeat: ProtoChoice.REPEAT,
  fail_over: ProtoChoice.FAIL_OVER,
};

export const skipReasonTo: To<SkipReason, ProtoSkipReason> = {
  circuit_open: ProtoSkipReason.CIRCUIT_OPEN,
  rate_limited: ProtoSkipReason.RATE_LIMITED,
  quota_used: ProtoSkipReason.QUOTA_USED,
};

export const receiptKindTo: To<ReceiptKind, ProtoReceiptKind> = {
  sent: ProtoReceiptKind.SENT,
  delivered: ProtoReceiptKind.DELIVERED,
  bounced: ProtoReceiptKind.BOUNCED,
  failed: ProtoReceiptKind.FAILED,
  opened: ProtoReceiptKind.OPENED,
  clicked: ProtoReceiptKind.CLICKED,
  complained: ProtoReceiptKind.COMPLAINED,
  unsubscribed: ProtoReceiptKind.UNSUBSCRIBED,
  resubscribed: ProtoReceiptKind.RESUBSCRIBED,
};

export const suppressionReasonTo: To<SuppressionReason, ProtoSuppressionReason> = {
  hard_bounce: ProtoSuppressionReason.HARD_BOUNCE,
  complaint: ProtoSuppressionReason.COMPLAINT,
  unsubscribed: ProtoSuppressionReason.UNSUBSCRIBED,
  invalid_token: ProtoSuppressionReason.INVALID_TOKEN,
  manual: ProtoSuppressionReason.MANUAL,
};

export const deviceKindTo: To<DeviceKind, ProtoDeviceKind> = {
  fcm_token: ProtoDeviceKind.FCM_TOKEN,
  fcm_id: ProtoDeviceKind.FCM_ID,
  apns: ProtoDeviceKind.APNS,
  web_push: ProtoDeviceKind.WEB_PUSH,
  onesignal: ProtoDeviceKind.ONESIGNAL,
};

export const deviceKindFrom: From<ProtoDeviceKind, DeviceKind> = {
  [ProtoDeviceKind.UNSPECIFIED]: undefined,
  [ProtoDeviceKind.FCM_TOKEN]: 'fcm_token',
  [ProtoDeviceKind.FCM_ID]: 'fcm_id',
  [ProtoDeviceKind.APNS]: 'apns',
  [ProtoDeviceKind.WEB_PUSH]: 'web_push',
  [ProtoDeviceKind.ONESIGNAL]: 'onesignal',
};

export const smsTypeTo: To<SmsType, ProtoSmsType> = {
  text: ProtoSmsType.TEXT,
  unicode: ProtoSmsType.UNICODE,
  binary: ProtoSmsType.BINARY,
};

export const smsTypeFrom: From<ProtoSmsType, SmsOptions['type']> = {
  [ProtoSmsType.UNSPECIFIED]: undefined,
  [ProtoSmsType.TEXT]: 'text',
  [ProtoSmsType.UNICODE]: 'unicode',
  [ProtoSmsType.BINARY]: 'binary',
};

export const unknownOutcomeTo: To<UnknownOutcomePolicy, ProtoUnknownOutcome> = {
  retry: ProtoUnknownOutcome.RETRY,
  hold: ProtoUnknownOutcome.HOLD,
};

export const unknownOutcomeFrom: From<ProtoUnknownOutcome, UnknownOutcomePolicy> = {
  [ProtoUnknownOutcome.UNSPECIFIED]: undefined,
  [ProtoUnknownOutcome.RETRY]: 'retry',
  [ProtoUnknownOutcome.HOLD]: 'hold',
};

export const webhookMethodFrom: From<ProtoWebhookMethod, WebhookMethod> = {
  [ProtoWebhookMethod.UNSPECIFIED]: undefined,
  [ProtoWebhookMethod.GET]: 'GET',
  [ProtoWebhookMethod.POST]: 'POST',
  [ProtoWebhookMethod.PUT]: 'PUT',
  [ProtoWebhookMethod.PATCH]: 'PATCH',
  [ProtoWebhookMethod.DELETE]: 'DELETE',
};

export const backoffFrom: From<ProtoBackoff, RetryPolicy['backoff']> = {
  [ProtoBackoff.UNSPECIFIED]: undefined,
  [ProtoBackoff.LINEAR]: 'linear',
  [ProtoBackoff.EXPONENTIAL]: 'exponential',
};

export const layerTo: To<DecisionLayer, ProtoLayer> = {
  expiry: ProtoLayer.EXPIRY,
  schedule: ProtoLayer.SCHEDULE,
  route: ProtoLayer.ROUTE,
  content: ProtoLayer.CONTENT,
  suppression: ProtoLayer.SUPPRESSION,
};

export const cancelResultTo: To<Cancelled['result'], CancelResult> = {
  cancelled: CancelResult.CANCELLED,
  requested: CancelResult.REQUESTED,
  too_late: CancelResult.TOO_LATE,
};
