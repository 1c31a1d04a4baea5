/**
 * From what a caller asked for to one spec per channel. Checks what the proto's own rules cannot: addresses, times, headers,
 * the size of all attachments, and through `checkContent` the template and its data. Nothing is stored before it holds.
 */
import { DAY } from '../domain/clock.ts';
import { addressesOf } from '../domain/notification.ts';
import type { Attachment, Channel, NotificationSpec } from '../domain/notification.ts';
import { phoneFault } from '../domain/phone.ts';
import { CarillonError, invalidField } from '../errors.ts';
import { isReservedEmailHeader, isReservedWebhookHeader } from '../providers/reserved-headers.ts';

/** What each spec of a request takes over as the caller gave it. */
type Asked = Omit<NotificationSpec, 'id' | 'tenant' | 'groupId' | 'channel' | 'attachmentCount' | 'createdAt'>;

/** One request of a caller, in the words of the domain. */
export interface NotificationRequest extends Asked {
  readonly channels: readonly Channel[];
  readonly attachments: readonly Attachment[];
}

/**
 * Checks that content exists for the spec and that its data, locale and time zone can be used.
 * @throws CarillonError TEMPLATE_NOT_FOUND, TEMPLATE_DATA_INVALID or INVALID_FIELD
 */
export type ContentCheck = (spec: NotificationSpec) => void;

/** Bytes of all attachments of a notification. */
export const MAX_ATTACHMENT_BYTES = 10_000_000;
export const MAX_SCHEDULE_AHEAD = 366 * DAY;

const ADDRESS_FIELDS: Readonly<Record<Channel, string>> = {
  email: 'email',
  sms: 'phone',
  push: 'devices',
  webhook: 'webhook_url',
  in_app: 'id',
  slack: 'slack_address',
  discord: 'discord_webhook_url',
};

export interface ResolvedIds {
  readonly tenant: string;
  readonly groupId: string;
  /** One per channel of the request. */
  readonly ids: readonly string[];
}

/** @throws CarillonError for the first fault found */
export function resolve(
  request: NotificationRequest,
  { tenant, groupId, ids }: ResolvedIds,
  now: number,
  checkContent: ContentCheck,
): NotificationSpec[] {
  checkRequest(request, now);
  const { channels, attachments, email, webhook, sms, ...shared } = request;
  return channels.map((channel, index) => {
    const id = ids[index];
    if (id === undefined) throw new Error('one id per channel is needed');
    const spec: NotificationSpec = {
      ...shared,
      id,
      tenant,
      groupId,
      channel,
      ...(channel === 'email' && email && { email }),
      ...(channel === 'webhook' && webhook && { webhook }),
      ...(channel === 'sms' && sms && { sms }),
      attachmentCount: channel === 'email' ? attachments.length : 0,
      createdAt: now,
    };
    checkContent(spec);
    return spec;
  });
}

function checkRequest(request: NotificationRequest, now: number): void {
  for (const channel of request.channels) {
    if (addressesOf(request.recipient, channel).length === 0) throw missingAddress(channel);
  }
  checkPhone(request);
  checkTimes(request, now);
  checkAttachments(request);
  checkHeaders('notification.email.headers', request.email?.headers, isReservedEmailHeader);
  checkHeaders('notification.webhook.headers', request.webhook?.headers, isReservedWebhookHeader);
}

function missingAddress(channel: Channel): CarillonError {
  const field = `notification.recipient.${ADDRESS_FIELDS[channel]}`;
  return new CarillonError('RECIPIENT_ADDRESS_MISSING', `the recipient has no address for the channel ${channel}`, {
    violations: [{ field, description: `is needed for the channel ${channel}` }],
    metadata: { channel },
  });
}

function checkPhone({ channels, recipient: { phone } }: NotificationRequest): void {
  const fault = phone !== undefined && channels.includes('sms') ? phoneFault(phone) : undefined;
  if (fault !== undefined) throw invalidField('notification.recipient.phone', fault);
}

function checkTimes({ scheduledFor, expiresAt }: NotificationRequest, now: number): void {
  if (scheduledFor !== undefined && scheduledFor > now + MAX_SCHEDULE_AHEAD) {
    throw invalidField('notification.scheduled_for', 'lies more than 366 days ahead');
  }
  if (scheduledFor !== undefined && expiresAt !== undefined && expiresAt <= scheduledFor) {
    throw invalidField('notification.expires_at', 'must be later than scheduled_for');
  }
}

function checkAttachments({ attachments }: NotificationRequest): void {
  const bytes = attachments.reduce((sum, file) => sum + file.content.byteLength, 0);
  if (bytes > MAX_ATTACHMENT_BYTES) {
    throw invalidField('notification.email.attachments', 'are larger than 10 MB in all');
  }
}

function checkHeaders(
  field: string,
  headers: Readonly<Record<string, string>> | undefined,
  reserved: (name: string) => boolean,
): void {
  for (const name of Object.keys(headers ?? {})) {
    if (reserved(name)) throw invalidField(`${field}["${name}"]`, 'is set by the service itself');
  }
}
