/**
 * The provider port. A provider turns one message for one target into one call of a service and tells the truth about it.
 *
 * What every provider promises:
 * - `send` never throws and never says `sent` unless the service took the message.
 * - It makes one try: retries and fail-over are the pipeline's. The SDK's own retries are off.
 * - It ends soon after `signal` is aborted. Aborted before the request went out: temporary_failure; after: unknown.
 * - No credential stands in `code` or `detail`.
 * - Not connected or TLS failed: temporary_failure with `providerDown`. Request sent and no answer, or 502/504: unknown.
 *   500/503 with an answer: temporary_failure with `providerDown`.
 */
import type {
  Attachment,
  Channel,
  EmailAddress,
  Json,
  Outcome,
  Priority,
  PushData,
  WebhookMethod,
} from '../domain/notification.ts';

interface MessageBase {
  /** The notification's id, for correlation where the service can carry it. */
  readonly notificationId: string;
  readonly type: string;
  readonly tenant: string;
  readonly priority: Priority;
  readonly expiresAt?: number;
  /** The target's address. */
  readonly to: string;
}

export interface EmailMessage extends MessageBase {
  readonly channel: 'email';
  /** Not given: the provider's configured sender. */
  readonly from?: EmailAddress;
  readonly replyTo?: EmailAddress;
  readonly toName?: string;
  readonly cc: readonly EmailAddress[];
  readonly bcc: readonly EmailAddress[];
  readonly subject: string;
  readonly html?: string;
  readonly text?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly attachments: readonly Attachment[];
}

export interface TextMessage extends MessageBase {
  readonly channel: 'sms' | 'slack' | 'discord';
  readonly text: string;
}

export interface PushMessage extends MessageBase {
  readonly channel: 'push';
  readonly push: PushData;
}

export interface WebhookMessage extends MessageBase {
  readonly channel: 'webhook';
  readonly method: WebhookMethod;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Json;
}

export interface InAppMessage extends MessageBase {
  readonly channel: 'in_app';
  readonly title?: string;
  readonly text: string;
}

export type Message = EmailMessage | TextMessage | PushMessage | WebhookMessage | InAppMessage;
/** The messages of one channel. */
export type MessageOf<C extends Channel> = Extract<Message, { readonly channel: C }>;

export interface Call {
  /** UUIDv5, the same for every try of this target within a run: for services that take an idempotency key. */
  readonly key: string;
  readonly signal: AbortSignal;
}

interface Told<O extends Outcome> {
  readonly outcome: O;
  /** The service's own code, such as an SMTP or HTTP status. */
  readonly code?: string;
  /** The service's own words; the pipeline shortens them to 500 characters. */
  readonly detail?: string;
}

export type SendResult =
  | (Told<'sent'> & { readonly messageId?: string })
  /** `providerDown`: the fault is the service's own, not this message's: the next provider may be tried at once. */
  | (Told<'temporary_failure'> & { readonly providerDown: boolean })
  /** `retryAfterMs`: as long as the service asks to wait. */
  | (Told<'rate_limited'> & { readonly retryAfterMs?: number })
  | Told<'permanent_failure'>
  | Told<'invalid_recipient'>
  | Told<'provider_error'>
  | Told<'unknown'>;

export interface Provider<M extends Message = Message> extends AsyncDisposable {
  /** Its name in the configuration, such as `smtp`. */
  readonly name: string;
  readonly channel: M['channel'];
  send(message: M, call: Call): Promise<SendResult>;
}
