/**
 * Twilio's status callbacks: a form, signed over the address that Twilio was given and every field. Neither a time nor a
 * nonce is signed; a repeat says the same of the same message and changes nothing.
 */
import type { ProviderReceipt, ReceiptKind } from '../../domain/receipt.ts';
import type { CallbackRequest, Receive } from '../provider.ts';

/** Words of MessageStatus that say something of a message that was sent. */
const KINDS: ReadonlyMap<string, ReceiptKind> = new Map([
  ['accepted', 'sent'],
  ['scheduled', 'sent'],
  ['queued', 'sent'],
  ['sending', 'sent'],
  ['sent', 'sent'],
  ['delivered', 'delivered'],
  ['read', 'opened'],
  ['undelivered', 'bounced'],
  ['failed', 'failed'],
  ['canceled', 'failed'],
]);

/** Blocked, unknown, a landline: the number will never take a text (twilio.com/docs/api/errors). */
const HARD: readonly (string | undefined)[] = ['30004', '30005', '30006'];

/** Its owner said STOP. A messaging service takes the message all the same and tells so only afterwards. */
const SAID_STOP = '21610';

/** @param tokens any of them may have signed */
export async function openCallbacks(tokens: readonly string[]): Promise<Receive> {
  // With an empty token anybody could sign.
  const usable = tokens.filter((token) => token !== '');
  const { validateRequest } = await import('twilio/lib/webhooks/webhooks.js');
  return async (request) => {
    const fields = new URLSearchParams(request.body.toString('utf8'));
    const signed = Object.fromEntries([...fields.keys()].map((name) => [name, fields.getAll(name)]));
    const signature = request.headers['x-twilio-signature'] ?? '';
    if (!usable.some((token) => validateRequest(token, signature, request.url.href, signed))) {
      return { kind: 'refused', status: 401, why: 'no valid signature' };
    }
    return { kind: 'genuine', receipts: receiptsOf(fields, request) };
  };
}

function receiptsOf(fields: URLSearchParams, { url, now }: CallbackRequest): ProviderReceipt[] {
  const sid = fields.get('MessageSid');
  const status = fields.get('MessageStatus');
  const notificationId = url.searchParams.get('id');
  const said = KINDS.get(status ?? '');
  if (!sid || !status || !notificationId || said === undefined) return [];
  const code = fields.get('ErrorCode') ?? undefined;
  const hasFailed = said === 'bounced' || said === 'failed';
  const hard = hasFailed && HARD.includes(code);
  const address = fields.get('To');
  const about = { notificationId, at: now, ...(address ? { address } : {}), ...(code ? { code } : {}) };
  const eventId = `${sid}.${status}`;
  const receipt = { eventId, kind: hard ? 'bounced' : said, ...about, ...(hard ? { hard } : {}) };
  if (!hasFailed || code !== SAID_STOP) return [receipt];
  // The opt-out alone would look like one of a message that had arrived.
  return [
    { ...receipt, kind: 'bounced' },
    { eventId: `${eventId}.unsubscribed`, kind: 'unsubscribed', wholeChannel: true, ...about },
  ];
}
