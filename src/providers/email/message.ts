/** What every provider of e-mail does alike with its sender, its addresses and its headers. */
import { isImportant, type EmailAddress } from '../../domain/notification.ts';
import { invalidField } from '../../errors.ts';
import type { Senders } from '../definition.ts';
import type { EmailMessage, SendResult } from '../provider.ts';
import { isHeaderName, isReservedEmailHeader } from '../reserved-headers.ts';
import { text, type SettingsOf } from '../settings.ts';

export const SENDER_SETTINGS = {
  fromAddress: text('Sender. Empty: notifications.default_sender_email and default_sender_name.', { format: 'email' }),
  fromName: text("The sender's name."),
};
type SenderSettings = SettingsOf<typeof SENDER_SETTINGS>;

/** The sender of messages that name none: each part from the provider's own settings, else from the general ones. */
function senderOf({ fromAddress, fromName }: SenderSettings, senders: Senders): EmailAddress | undefined {
  const email = fromAddress ?? senders.emailAddress;
  return email === undefined ? undefined : withName(email, fromName ?? senders.emailName);
}

/** @param section of these settings in the configuration */
export function senderFaults(section: string, settings: SenderSettings, senders: Senders): string[] {
  const known = senderOf(settings, senders) !== undefined;
  return known ? [] : [`${section}.from_address or notifications.default_sender_email must be given`];
}

/** @throws CarillonError INVALID_FIELD where `senderFaults` has one */
export function neededSender(settings: SenderSettings, senders: Senders): EmailAddress {
  const sender = senderOf(settings, senders);
  if (sender === undefined) throw invalidField('from_address', 'there is no sender');
  return sender;
}

export const recipientOf = ({ to, toName }: EmailMessage): EmailAddress => withName(to, toName);

const withName = (email: string, name: string | undefined): EmailAddress =>
  name === undefined ? { email } : { email, name };

/** An address that may be put in an envelope: it has both parts and nothing that could end it early (RFC 5321 §4.1.2). */
export function isUsableAddress(address: string): boolean {
  return /^[^<>\p{Cc}]+@[^<>@\p{Cc}\s]+$/u.test(address);
}

/** For services that take addresses as text, where a comma or a quoted local part could add a recipient. */
export function isUsableInText(address: string): boolean {
  return isUsableAddress(address) && !/[\s,;:"()]/.test(address);
}

/**
 * What a message comes to that has an address nobody can write to; undefined where all can be used.
 * @param isUsable what the service can be given
 */
export function unusableAddress(
  message: EmailMessage,
  from: EmailAddress,
  isUsable: (address: string) => boolean,
): SendResult | undefined {
  const { to, cc, bcc, replyTo } = message;
  const code = 'address_invalid';
  if (!isUsable(to)) {
    return { outcome: 'invalid_recipient', code, detail: 'not an address that mail can be sent to', notAsked: true };
  }
  const others = [from, ...cc, ...bcc, ...(replyTo === undefined ? [] : [replyTo])];
  if (others.every(({ email }) => isUsable(email))) return undefined;
  const detail = 'sender, reply-to or a copy has an address that cannot be used';
  return { outcome: 'permanent_failure', code, detail, notAsked: true };
}

/** Those of the caller's headers that are not the service's own to write. */
export function callerHeaders(message: EmailMessage): Record<string, string> {
  const own = Object.entries(message.headers).filter(([name]) => isHeaderName(name) && !isReservedEmailHeader(name));
  return Object.fromEntries(own.map(([name, value]) => [name, oneLine(value)]));
}

/** How mail programs are told that a message is important: the headers that nodemailer writes for it. */
const IMPORTANT = { 'X-Priority': '1 (Highest)', 'X-MSMail-Priority': 'High', Importance: 'High' };

/** For services that do not write them themselves; none for a message that is not important. */
export function importanceHeaders(message: EmailMessage): Readonly<Record<string, string>> {
  return isImportant(message.priority) ? IMPORTANT : {};
}

/** A line break in a header would start one of the caller's own. */
export function oneLine(value: string): string {
  return value.replaceAll(/\p{Cc}+/gu, ' ').trim();
}
