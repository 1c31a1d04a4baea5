/** From a notification and its content to the message for one of its targets. */
import type { Attachment, Device, NotificationSpec, Recipient, RenderedContent } from '../domain/notification.ts';
import type { Message } from '../providers/provider.ts';
import { RenderError } from './render-error.ts';

export interface MessageTarget {
  readonly address: string;
  /** Of a push. */
  readonly device?: Device;
  /** Those of the notification; only e-mail carries some. */
  readonly attachments: readonly Attachment[];
}

function needed<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw new RenderError(`the content has no ${field}`);
  return value;
}

/** Stands in the To header, which a line break would end. */
function displayName({ firstName, lastName }: Recipient): string | undefined {
  const name = `${firstName ?? ''} ${lastName ?? ''}`.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim();
  return name === '' ? undefined : name;
}

/**
 * Pure: the same arguments make the same message.
 * @throws RenderError when the content lacks what the channel needs; content that came from a Renderer never does.
 */
export function toMessage(
  spec: NotificationSpec,
  { content, sms }: RenderedContent,
  { address, device, attachments }: MessageTarget,
): Message {
  const base = {
    notificationId: spec.id,
    type: spec.type,
    tenant: spec.tenant,
    priority: spec.priority,
    ...(spec.expiresAt === undefined ? {} : { expiresAt: spec.expiresAt }),
    to: address,
  };
  const { channel } = spec;
  switch (channel) {
    case 'email': {
      const from = spec.email?.from;
      const toName = displayName(spec.recipient);
      return {
        ...base,
        channel,
        ...(from === undefined ? {} : { from }),
        ...(spec.email?.replyTo === undefined ? {} : { replyTo: spec.email.replyTo }),
        ...(toName === undefined ? {} : { toName }),
        cc: spec.email?.cc ?? [],
        bcc: spec.email?.bcc ?? [],
        subject: needed(content.subject, 'subject'),
        ...(content.htmlBody === undefined ? {} : { html: content.htmlBody }),
        ...(content.textBody === undefined ? {} : { text: content.textBody }),
        headers: spec.email?.headers ?? {},
        attachments,
      };
    }
    case 'sms': {
      const from = spec.sms?.from;
      return {
        ...base,
        channel,
        ...(from === undefined ? {} : { from }),
        coding: sms?.type ?? 'text',
        text: needed(content.smsBody, 'sms_body'),
      };
    }
    case 'slack':
    case 'discord':
      return { ...base, channel, text: needed(content.textBody, 'text_body') };
    case 'push':
      return { ...base, channel, device: needed(device, 'device'), push: needed(content.push, 'push') };
    case 'in_app':
      return {
        ...base,
        channel,
        ...(content.subject === undefined ? {} : { title: content.subject }),
        text: needed(content.textBody, 'text_body'),
      };
    case 'webhook':
      return {
        ...base,
        channel,
        method: spec.webhook?.method ?? 'POST',
        headers: spec.webhook?.headers ?? {},
        body: needed(content.webhookBody, 'webhook_body'),
      };
  }
}
