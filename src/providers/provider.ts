/**
 * The provider port. A provider turns one message for one target into one call of a service and tells the truth about it.
 *
 * What every provider promises:
 * - `send` never throws and never says `sent` unless the service took the message.
 * - It makes one try: retries and fail-over are the pipeline's. The SDK's own retries are off.
 * - It ends soon after `signal` is aborted. Aborted before the request went out: temporary_failure; after: unknown.
 * - No credential stands in `code` or `detail`.
 * - Not connected or TLS failed: temporary_failure with `providerDown`. Request sent and no answer, or the answer of a gateway
 *   (502, 504, and Cloudflare's 520 and 524): unknown. 500/503 with an answer: temporary_failure with `providerDown`.
 */
import type {
  Attachment,
  Device,
  EmailAddress,
  Json,
  Outcome,
  Priority,
  PushData,
  SmsType,
  WebhookMethod,
} from '../domain/notification.ts';
import type { ProviderReceipt } from '../domain/receipt.ts';

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

export interface SmsMessage extends MessageBase {
  readonly channel: 'sms';
  /** Not given: the provider's configured sender. */
  readonly from?: string;
  readonly coding: SmsType;
  /** Of `binary` hex digits. */
  readonly text: string;
}

export interface ChatMessage extends MessageBase {
  readonly channel: 'slack' | 'discord';
  readonly text: string;
}

export interface PushMessage extends MessageBase {
  readonly channel: 'push';
  /** Its token is `to`. */
  readonly device: Device;
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

export type Message = EmailMessage | SmsMessage | ChatMessage | PushMessage | WebhookMessage | InAppMessage;

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
  /** Decided without asking the service: it says nothing about whether that works. */
  readonly notAsked?: true;
}

export type SendResult =
  | (Told<'sent'> & { readonly messageId?: string })
  /**
   * `providerDown`: the fault is the service's own, not this message's: the next provider may be tried at once.
   * `retryAfterMs`: as long as the service asks to wait before it is asked again.
   */
  | (Told<'temporary_failure'> & { readonly providerDown: boolean; readonly retryAfterMs?: number })
  /** `retryAfterMs`: as long as the service asks to wait. `recipientOnly`: the limit is this target's own. */
  | (Told<'rate_limited'> & { readonly retryAfterMs?: number; readonly recipientOnly?: boolean })
  | Told<'permanent_failure'>
  /**
   * `suppress`: nothing is to be sent to this address again, because it is dead (`invalid_token`, of a push device) or
   * because its owner said STOP (`unsubscribed`). `since`: the service knows it as dead from then on, milliseconds.
   */
  | (Told<'invalid_recipient'> & { readonly suppress?: 'invalid_token' | 'unsubscribed'; readonly since?: number })
  | Told<'provider_error'>
  | Told<'unknown'>;

/** One target, as far as the choice of a provider is concerned. */
export interface Destination {
  readonly address: string;
  /** Of a push. */
  readonly device?: Device;
}

/** What a service said of the credentials it was shown. */
export interface Check {
  readonly ok: boolean;
  /** For people: whose credentials they are, or what is wrong; no credential. */
  readonly detail: string;
}

export interface PhoneFacts {
  readonly valid: boolean;
  readonly type?: 'mobile' | 'landline' | 'voip' | 'other';
  /** ISO 3166-1 alpha-2. */
  readonly country?: string;
  readonly carrier?: string;
}

export interface Provider<M extends Message = Message> extends AsyncDisposable {
  /** Its name in the configuration, such as `smtp`. */
  readonly name: string;
  readonly channel: M['channel'];
  /**
   * Each recipient has an endpoint of its own, chosen by whoever registered it: what one of them does says nothing of the
   * others, so it opens no circuit and rests nobody. Default: one service for all.
   */
  readonly perRecipient?: boolean;
  /** Not given: it serves every target of its channel. */
  serves?(destination: Destination): boolean;
  send(message: M, call: Call): Promise<SendResult>;
  /** Asks the service about the credentials without sending anything; not given where it has no way to. Never throws. */
  check?(signal: AbortSignal): Promise<Check>;
  /** What the service knows of a number in E.164 form. @throws CarillonError LOOKUP_FAILED */
  lookUpPhone?(phone: string, signal: AbortSignal): Promise<PhoneFacts>;
  /** Reads what the service calls back with; not given where it never does. */
  readonly receive?: Receive;
}

/** A provider in its place in a channel's list. */
export interface Route {
  readonly provider: Provider;
  /** Share of the notifications that go to it first, against the other weights of the channel; 0: only in its turn. */
  readonly weight: number;
  /** In any minute at most this and the burst together, over all processes. */
  readonly limit?: { readonly perMinute: number; readonly burst: number };
  /** Messages per UTC day, over all processes. */
  readonly maxPerDay?: number;
}

/** A callback, before anything of it was believed. */
export interface CallbackRequest {
  /** The address as the service was told to call it, by `server.public_url`, with the path and query that came. */
  readonly url: URL;
  /** Names in lower case; several of one name joined by commas. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** As it came: signatures are over the bytes. */
  readonly body: Buffer;
  readonly now: number;
  /** Ends what the check itself asks for, such as the certificate of a signature. */
  readonly signal: AbortSignal;
}

export type CallbackResult =
  /**
   * It is the service's own and fresh. `nonce`: what the service uses once; the same with another body is refused.
   * Events that mean nothing here are left out, and so is one that names no notification.
   */
  | { readonly kind: 'genuine'; readonly receipts: readonly ProviderReceipt[]; readonly nonce?: string }
  /** `status`: what makes the service stop, or try again where that helps. `why` is logged, never sent. */
  | { readonly kind: 'refused'; readonly status: 400 | 401 | 406 | 503; readonly why: string };

/** Never throws. */
export type Receive = (request: CallbackRequest) => Promise<CallbackResult>;
