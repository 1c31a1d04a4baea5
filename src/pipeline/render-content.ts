/** What the content of each channel consists of, wherever it comes from. */
import type { Channel, Content, Json, PushData, SmsOptions } from '../domain/notification.ts';
import { smsSize } from '../domain/sms.ts';
import type { FieldViolation } from '../errors.ts';
import { textFromHtml } from './render-text.ts';

/** RFC 5322, 2.1.1: a line of a mail. */
const MAX_SUBJECT_CHARS = 998;
export const MAX_BODY_BYTES = 1_048_576;
const MAX_PUSH_TITLE_CHARS = 256;
const MAX_PUSH_BODY_CHARS = 4_096;

/** The notification's data, a webhook's body and a push's data, as JSON. */
const MAX_DATA_BYTES = 262_144;
/** Objects and lists inside one another. */
const MAX_DATA_DEPTH = 32;

const isBlank = (text: string | undefined): boolean => text === undefined || text.trim() === '';

/** Characters as people count them, near enough: a pair of surrogates is one. */
function charCount(text: string): number {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

function checkText(field: string, text: string | undefined, maxChars: number): FieldViolation[] {
  if (text === undefined || text.length <= maxChars || charCount(text) <= maxChars) return [];
  return [{ field, description: `must not have more than ${maxChars} characters` }];
}

function checkBody(field: string, text: string | undefined): FieldViolation[] {
  if (text === undefined || Buffer.byteLength(text) <= MAX_BODY_BYTES) return [];
  return [{ field, description: `must not have more than ${MAX_BODY_BYTES} bytes` }];
}

/** A line break in a subject would let its author write headers of their own. */
function checkLine(field: string, text: string | undefined): FieldViolation[] {
  if (text === undefined || !/[\r\n\0]/.test(text)) return checkText(field, text, MAX_SUBJECT_CHARS);
  return [{ field, description: 'must be a single line' }];
}

function need(field: string, missing: boolean): FieldViolation[] {
  return missing ? [{ field, description: 'is needed on this channel' }] : [];
}

function checkPush(push: PushData | undefined): FieldViolation[] {
  if (!push) return need('push', true);
  return [
    ...need('push.title', isBlank(push.title) && isBlank(push.body)),
    ...checkText('push.title', push.title, MAX_PUSH_TITLE_CHARS),
    ...checkText('push.body', push.body, MAX_PUSH_BODY_CHARS),
    ...checkJson('push.data', push.data),
  ];
}

/** The text of a text message stands in `smsBody`, or in `textBody` where there is no other. */
const smsText = ({ smsBody, textBody }: Content): string => smsBody ?? textBody ?? '';

function checkSms(content: Content, type: SmsOptions['type']): FieldViolation[] {
  const text = smsText(content);
  if (isBlank(text)) return need('sms_body', true);
  const size = smsSize(text, type);
  const field = content.smsBody === undefined ? 'text_body' : 'sms_body';
  return 'fault' in size ? [{ field, description: size.fault }] : [];
}

/**
 * What keeps the content from being sent on the channel; fields are named as in the API's Content.
 *
 * @param smsType how a text message is to be coded; `auto` takes any text
 */
export function checkContent(
  channel: Channel,
  content: Content,
  smsType: SmsOptions['type'] = 'auto',
): readonly FieldViolation[] {
  switch (channel) {
    case 'email':
      return [
        ...need('subject', isBlank(content.subject)),
        ...need('html_body', isBlank(content.htmlBody) && isBlank(content.textBody)),
        ...checkLine('subject', content.subject),
        ...checkBody('html_body', content.htmlBody),
        ...checkBody('text_body', content.textBody),
      ];
    case 'sms':
      return checkSms(content, smsType);
    case 'push':
      return checkPush(content.push);
    case 'in_app':
      return [
        ...need('text_body', isBlank(content.textBody)),
        ...checkLine('subject', content.subject),
        ...checkBody('text_body', content.textBody),
      ];
    case 'slack':
    case 'discord':
      return [...need('text_body', isBlank(content.textBody)), ...checkBody('text_body', content.textBody)];
    case 'webhook':
      return checkJson('webhook_body', content.webhookBody);
  }
}

function completeEmail({ subject, htmlBody, textBody }: Content): Content {
  const text = isBlank(textBody) && htmlBody !== undefined ? textFromHtml(htmlBody) : textBody;
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(htmlBody === undefined || isBlank(htmlBody) ? {} : { htmlBody }),
    ...(text === undefined ? {} : { textBody: text }),
  };
}

/** Only what the channel uses, with what can be made from the rest. The content must have passed `checkContent`. */
export function completeContent(channel: Channel, content: Content): Content {
  const { subject, textBody, push, webhookBody } = content;
  switch (channel) {
    case 'email':
      return completeEmail(content);
    case 'sms':
      return { smsBody: smsText(content) };
    case 'push':
      return push ? { push } : {};
    case 'in_app':
      return { ...(subject === undefined ? {} : { subject }), textBody: textBody ?? '' };
    case 'slack':
    case 'discord':
      return { textBody: textBody ?? '' };
    case 'webhook':
      return webhookBody === undefined ? {} : { webhookBody };
  }
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(inner, levels - 1));
}

/** What keeps JSON of a caller's own from being stored and sent. */
export function checkJson(field: string, value: Json | undefined): FieldViolation[] {
  if (value === undefined) return [];
  if (isDeeperThan(value, MAX_DATA_DEPTH)) {
    return [{ field, description: `must not be nested more than ${MAX_DATA_DEPTH} deep` }];
  }
  if (Buffer.byteLength(JSON.stringify(value)) > MAX_DATA_BYTES) {
    return [{ field, description: `must not have more than ${MAX_DATA_BYTES} bytes as JSON` }];
  }
  return [];
}
