/** How a message of ours becomes the form that Mailgun takes. */
import { MINUTE } from '../../domain/clock.ts';
import type { Attachment, EmailAddress } from '../../domain/notification.ts';
import type { EmailMessage } from '../provider.ts';
import { callerHeaders, importanceHeaders, oneLine, recipientOf } from './message.ts';

/** The variable that comes back with every event. */
export const ID_VARIABLE = 'carillon_id';

/** Minutes: the bounds of `o:deliver-within`. */
const SHORTEST_WINDOW = 5;
const LONGEST_WINDOW = 24 * 60;

export interface FormOptions {
  readonly from: EmailAddress;
  readonly trackOpens: boolean;
  readonly trackClicks: boolean;
  readonly now: number;
}

export function composeForm(message: EmailMessage, options: FormOptions): FormData {
  const { cc, bcc, replyTo, subject, text, html, attachments } = message;
  const form = new FormData();
  form.append('from', mailbox(options.from));
  form.append('to', mailbox(recipientOf(message)));
  for (const copy of cc) form.append('cc', mailbox(copy));
  for (const copy of bcc) form.append('bcc', mailbox(copy));
  form.append('subject', oneLine(subject));
  if (text !== undefined) form.append('text', text);
  if (html !== undefined) form.append('html', html);
  const headers = { ...callerHeaders(message), ...importanceHeaders(message) };
  for (const [name, value] of Object.entries(headers)) form.append(`h:${name}`, value);
  if (replyTo !== undefined) form.append('h:Reply-To', mailbox(replyTo));
  form.append(`v:${ID_VARIABLE}`, message.notificationId);
  form.append('o:tracking-opens', options.trackOpens ? 'yes' : 'no');
  form.append('o:tracking-clicks', options.trackClicks ? 'yes' : 'no');
  const window = deliverWithin(message.expiresAt, options.now);
  if (window !== undefined) form.append('o:deliver-within', window);
  for (const file of attachments) appendFile(form, file);
  return form;
}

/** RFC 5322 §3.4: the name quoted, so that nothing in it can end it. */
function mailbox({ email, name = '' }: EmailAddress): string {
  const words = oneLine(name);
  return words === '' ? email : `"${words.replaceAll(/["\\]/g, '\\$&')}" <${email}>`;
}

/** How long Mailgun may go on trying, as in `1h30m`; undefined leaves that to the domain's own setting. */
function deliverWithin(expiresAt: number | undefined, now: number): string | undefined {
  if (expiresAt === undefined) return undefined;
  const left = Math.max(SHORTEST_WINDOW, Math.floor((expiresAt - now) / MINUTE));
  if (left > LONGEST_WINDOW) return undefined;
  const [hours, minutes] = [Math.floor(left / 60), left % 60];
  return `${hours > 0 ? `${hours}h` : ''}${minutes > 0 ? `${minutes}m` : ''}`;
}

function appendFile(form: FormData, { filename, content, mimeType, contentId }: Attachment): void {
  // The name of an inline part becomes its Content-ID, which the HTML refers to by cid.
  const [field, name] = contentId === undefined ? ['attachment', filename] : ['inline', contentId];
  form.append(field, new File([new Uint8Array(content)], oneLine(name), { type: oneLine(mimeType) }));
}
