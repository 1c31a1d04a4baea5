/** How a message of ours becomes one of SendGrid's library. */
import type library from '@sendgrid/mail';
import type { Attachment, EmailAddress } from '../../domain/notification.ts';
import type { EmailMessage } from '../provider.ts';
import { callerHeaders, importanceHeaders, oneLine, recipientOf } from './message.ts';

/** Comes back as a field of every event about the message. */
export const ID_FIELD = 'carillon_id';

/** The library's own type for it. */
export type SendgridMail = Exclude<Parameters<typeof library.send>[0], readonly unknown[]>;

interface Tracking {
  readonly trackOpens: boolean;
  readonly trackClicks: boolean;
}

export function sendgridMail(message: EmailMessage, from: EmailAddress, tracking: Tracking): SendgridMail {
  const { replyTo, text, html } = message;
  const [target, cc, bcc] = withoutRepeats([[recipientOf(message)], message.cc, message.bcc]);
  return {
    from: person(from),
    personalizations: [
      {
        to: target.map(person),
        cc: cc.map(person),
        bcc: bcc.map(person),
        // Not beside `personalizations`: the library would put them into the HTTP request, where one could replace the key.
        headers: { ...callerHeaders(message), ...importanceHeaders(message) },
        // No address and no content: SendGrid keeps these in its logs.
        customArgs: { [ID_FIELD]: message.notificationId },
      },
    ],
    ...(replyTo === undefined ? {} : { replyTo: person(replyTo) }),
    subject: oneLine(message.subject),
    // It refuses a part without a character.
    ...(html === undefined ? { text: text ?? '' } : { html, ...(text ? { text } : {}) }),
    attachments: message.attachments.map(attachment),
    // Said either way: what is not said is as the account has it.
    trackingSettings: {
      openTracking: { enable: tracking.trackOpens },
      clickTracking: { enable: tracking.trackClicks, enableText: tracking.trackClicks },
    },
  };
}

type Lists = readonly [readonly EmailAddress[], readonly EmailAddress[], readonly EmailAddress[]];

/** SendGrid refuses a message that names an address twice. */
function withoutRepeats([to, cc, bcc]: Lists): Lists {
  const seen = new Set<string>();
  const isNew = ({ email }: EmailAddress): boolean => {
    const known = seen.has(email.toLowerCase());
    seen.add(email.toLowerCase());
    return !known;
  };
  return [to.filter(isNew), cc.filter(isNew), bcc.filter(isNew)];
}

function person({ email, name }: EmailAddress): { email: string; name?: string } {
  return name === undefined ? { email } : { email, name: oneLine(name) };
}

/** The library renames the fields of a mail, but not of the attachments, whatever its types say. */
function attachment({ filename, content, mimeType, contentId }: Attachment) {
  const { buffer, byteOffset, byteLength } = content;
  return {
    filename: oneLine(filename),
    content: Buffer.from(buffer, byteOffset, byteLength).toString('base64'),
    type: oneLine(mimeType),
    ...(contentId === undefined
      ? { disposition: 'attachment' }
      : { disposition: 'inline', content_id: oneLine(contentId) }),
  };
}
