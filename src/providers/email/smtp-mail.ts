/** How a message of ours becomes one of nodemailer's. */
import { domainToASCII } from 'node:url';
import type { SendMailOptions } from 'nodemailer';
import { isImportant, type Attachment, type EmailAddress } from '../../domain/notification.ts';
import type { EmailMessage } from '../provider.ts';
import { callerHeaders, oneLine, recipientOf } from './message.ts';

type Headers = Record<string, string | { readonly prepared: true; readonly value: string }>;

export function composeMail(message: EmailMessage, from: EmailAddress, key: string): SendMailOptions {
  return {
    from: mailbox(from),
    to: mailbox(recipientOf(message)),
    cc: message.cc.map(mailbox),
    bcc: message.bcc.map(mailbox),
    ...(message.replyTo === undefined ? {} : { replyTo: mailbox(message.replyTo) }),
    subject: oneLine(message.subject),
    ...(message.html === undefined ? {} : { html: message.html }),
    ...(message.text === undefined ? {} : { text: message.text }),
    messageId: messageIdOf(key, from.email),
    headers: headersOf(message),
    attachments: message.attachments.map(attachment),
    ...(isImportant(message.priority) ? { priority: 'high' as const } : {}),
    xMailer: false,
    // Content is given as it is; a string in it must never be taken for a path or an address to fetch from.
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}

/** The same for every try of a message, so that a receiver can drop a repeat (RFC 5322 §3.6.4). */
function messageIdOf(key: string, from: string): string {
  const domain = domainToASCII(from.slice(from.lastIndexOf('@') + 1));
  return `<${key}@${domain || 'localhost'}>`;
}

/** As an object and never as text, which nodemailer would take apart at every comma. */
function mailbox(address: EmailAddress): { readonly name: string; readonly address: string } {
  return { name: oneLine(address.name ?? ''), address: address.email };
}

function headersOf(message: EmailMessage): Headers {
  const headers: Headers = {};
  for (const [name, line] of Object.entries(callerHeaders(message))) {
    // nodemailer would encode and fold the URLs of List-Unsubscribe, and RFC 8058 wants them as they are.
    const asIs = /^list-unsubscribe(-post)?$/i.test(name) && /^[\x20-\x7e]*$/.test(line);
    headers[name] = asIs ? { prepared: true, value: line } : line;
  }
  return headers;
}

function attachment(file: Attachment): NonNullable<SendMailOptions['attachments']>[number] {
  const { buffer, byteOffset, byteLength } = file.content;
  return {
    filename: oneLine(file.filename),
    content: Buffer.from(buffer, byteOffset, byteLength),
    // nodemailer would open these as parts of the mail itself: a `multipart/*` loses its content, a `message/*` its encoding.
    contentType: /^(?:multipart|message)\//i.test(file.mimeType) ? 'application/octet-stream' : oneLine(file.mimeType),
    ...(file.contentId === undefined
      ? { contentDisposition: 'attachment' as const }
      : { cid: oneLine(file.contentId), contentDisposition: 'inline' as const }),
  };
}
