/** SendGrid's Event Webhook, signed by ECDSA over its timestamp and the raw body. */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { DAY, SECOND } from '../../domain/clock.ts';
import type { ProviderReceipt, ReceiptKind } from '../../domain/receipt.ts';
import { CLOCK_SKEW, happenedAt, isFresh } from '../callback.ts';
import { field, numberOf, textOf } from '../json.ts';
import { parseJson } from '../parse-json.ts';
import type { CallbackRequest, CallbackResult } from '../provider.ts';
import { ID_FIELD } from './sendgrid-mail.ts';

/** Milliseconds. The scheme has no rule for it; SendGrid repeats a callback that was not taken for a day. */
const MAX_AGE = DAY + CLOCK_SKEW;

/** Undefined where it is not the base64 of a public EC key (SPKI, DER). */
export function webhookKey(base64: string): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(base64, 'base64'), format: 'der', type: 'spki' });
    return key.asymmetricKeyType === 'ec' ? key : undefined;
  } catch {
    // Node says no more than that it cannot be read.
    return undefined;
  }
}

export function receiveEvents(request: CallbackRequest, keys: readonly KeyObject[]): CallbackResult {
  const { headers, body, now } = request;
  const timestamp = headers['x-twilio-email-event-webhook-timestamp'] ?? '';
  const signature = Buffer.from(headers['x-twilio-email-event-webhook-signature'] ?? '', 'base64');
  const signed = Buffer.concat([Buffer.from(timestamp), body]);
  // Of public things there is nothing to learn from how long this takes. A signature that is no DER is just not good.
  if (!keys.some((key) => verify('sha256', signed, { key, dsaEncoding: 'der' }, signature))) {
    return { kind: 'refused', status: 401, why: 'no valid signature' };
  }
  const age = /^\d{1,11}$/.test(timestamp) ? now - Number(timestamp) * SECOND : Number.NaN;
  if (!isFresh(age, MAX_AGE)) return { kind: 'refused', status: 401, why: 'not of the last day' };
  const events = parseJson(body.toString('utf8'));
  if (!Array.isArray(events)) return { kind: 'refused', status: 400, why: 'not a list of events' };
  return { kind: 'genuine', receipts: events.flatMap((event: unknown) => receiptOf(event, now)) };
}

function receiptOf(event: unknown, now: number): ProviderReceipt[] {
  const eventId = textOf(event, 'sg_event_id');
  // What was given on sending stands in each event, beside its own fields.
  const notificationId = textOf(event, ID_FIELD);
  if (eventId === undefined || notificationId === undefined) return [];
  const seconds = numberOf(event, 'timestamp');
  const address = textOf(event, 'email');
  return meaningsOf(event).map((what, index) => ({
    eventId: index === 0 ? eventId : `${eventId}.${what.kind}`,
    notificationId,
    at: happenedAt(seconds === undefined ? undefined : seconds * SECOND, now),
    ...(address === undefined ? {} : { address }),
    ...what,
  }));
}

type Meaning = Pick<ProviderReceipt, 'kind' | 'hard' | 'machine' | 'code' | 'detail'>;

/** Those that mean the same whatever else they say. `deferred` is not among them: SendGrid goes on trying. */
const KINDS: Readonly<Record<string, ReceiptKind>> = {
  processed: 'sent',
  delivered: 'delivered',
  click: 'clicked',
  spamreport: 'complained',
  unsubscribe: 'unsubscribed',
  group_unsubscribe: 'unsubscribed',
  group_resubscribe: 'resubscribed',
};

function meaningsOf(event: unknown): readonly Meaning[] {
  const name = textOf(event, 'event') ?? '';
  switch (name) {
    case 'open':
      return [{ kind: 'opened', ...(field(event, 'sg_machine_open') === true ? { machine: true } : {}) }];
    case 'bounce':
      return [bounce(event)];
    case 'dropped':
      return dropped(event);
    default: {
      const kind = Object.hasOwn(KINDS, name) ? KINDS[name] : undefined;
      return kind === undefined ? [] : [{ kind }];
    }
  }
}

/** Type `blocked` is a refusal for now or of us; the address may well be good. */
function bounce(event: unknown): Meaning {
  // Its class, not its reason: that quotes the other server, and with it the address.
  const told = toldOf(textOf(event, 'status'), textOf(event, 'bounce_classification'));
  return { kind: 'bounced', ...(textOf(event, 'type') === 'bounce' ? { hard: true } : {}), ...told };
}

/** Not even tried. SendGrid has no code for why, only one of a few fixed words. */
function dropped(event: unknown): readonly Meaning[] {
  const reason = textOf(event, 'reason');
  const told = toldOf(textOf(event, 'status'), reason);
  switch (reason) {
    case 'Bounced Address':
    case 'Invalid':
      return [{ kind: 'bounced', hard: true, ...told }];
    // It was not even tried: the opt-out alone would look like one of a mail that had arrived.
    case 'Unsubscribed Address':
      return [
        { kind: 'bounced', ...told },
        { kind: 'unsubscribed', ...told },
      ];
    case 'Spam Reporting Address':
      return [
        { kind: 'bounced', ...told },
        { kind: 'complained', ...told },
      ];
    default:
      return [{ kind: 'failed', ...told }];
  }
}

function toldOf(code: string | undefined, detail: string | undefined): Pick<Meaning, 'code' | 'detail'> {
  return { ...(code ? { code } : {}), ...(detail ? { detail } : {}) };
}
