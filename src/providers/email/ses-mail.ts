/** How a message of ours becomes a request to SES, whose limits on texts are those of mail before MIME: ASCII. */
import { domainToASCII } from 'node:url';
import type { MessageHeader, SendEmailCommandInput } from '@aws-sdk/client-sesv2';
import { encodeWord, isPlainText, quoteString } from 'nodemailer/lib/mime-funcs';
import type { Attachment, EmailAddress } from '../../domain/notification.ts';
import type { EmailMessage } from '../provider.ts';
import { callerHeaders, importanceHeaders, oneLine, recipientOf } from './message.ts';
import { ID_HEADER, ID_TAG } from './ses-events.ts';

type SimpleMessage = NonNullable<NonNullable<SendEmailCommandInput['Content']>['Simple']>;
type SesAttachment = NonNullable<SimpleMessage['Attachments']>[number];

/** An encoded word is at most 75 characters long (RFC 2047 §2), the marks around it included. */
const WORD_LENGTH = 52;

export function sesMail(message: EmailMessage, from: EmailAddress, configurationSet?: string): SendEmailCommandInput {
  const { html, text, replyTo, notificationId } = message;
  return {
    FromEmailAddress: mailbox(from),
    Destination: {
      ToAddresses: [mailbox(recipientOf(message))],
      ...(message.cc.length === 0 ? {} : { CcAddresses: message.cc.map(mailbox) }),
      ...(message.bcc.length === 0 ? {} : { BccAddresses: message.bcc.map(mailbox) }),
    },
    ...(replyTo === undefined ? {} : { ReplyToAddresses: [mailbox(replyTo)] }),
    Content: {
      Simple: {
        Subject: utf8(oneLine(message.subject)),
        Body: {
          ...(html === undefined ? {} : { Html: utf8(html) }),
          ...(text === undefined ? {} : { Text: utf8(text) }),
        },
        Headers: headersOf(message),
        ...(message.attachments.length === 0 ? {} : { Attachments: message.attachments.map(attachment) }),
      },
    },
    EmailTags: [{ Name: ID_TAG, Value: notificationId }],
    ...(configurationSet === undefined ? {} : { ConfigurationSetName: configurationSet }),
  };
}

const utf8 = (text: string): { readonly Data: string; readonly Charset: string } => ({ Data: text, Charset: 'UTF-8' });

/** SES takes an address as a text, so the name in front of it must not be able to end it (RFC 5322 §3.4). */
function mailbox({ email, name }: EmailAddress): string {
  const address = asciiAddress(email);
  const words = oneLine(name ?? '');
  if (words === '') return address;
  const phrase = isPlainText(words) ? quoteString(words) : encodeWord(words, 'Q', WORD_LENGTH);
  return `${phrase} <${address}>`;
}

/** SES wants a domain in Punycode. */
function asciiAddress(email: string): string {
  const at = email.lastIndexOf('@') + 1;
  return email.slice(0, at) + (domainToASCII(email.slice(at)) || email.slice(at));
}

function headersOf(message: EmailMessage): MessageHeader[] {
  const headers = {
    ...callerHeaders(message),
    [ID_HEADER]: message.notificationId,
    ...importanceHeaders(message),
  };
  // What can stand as it is must: a link to unsubscribe by would not work coded (RFC 8058).
  return Object.entries(headers).map(([name, value]) => ({
    Name: name,
    Value: isPlainText(value) ? value : encodeWord(value, 'Q', WORD_LENGTH),
  }));
}

function attachment(file: Attachment): SesAttachment {
  return {
    FileName: oneLine(file.filename),
    RawContent: file.content,
    ContentType: oneLine(file.mimeType),
    ContentTransferEncoding: 'BASE64',
    ...(file.contentId === undefined
      ? { ContentDisposition: 'ATTACHMENT' as const }
      : { ContentId: oneLine(file.contentId), ContentDisposition: 'INLINE' as const }),
  };
}
