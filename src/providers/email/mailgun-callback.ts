/**
 * What Mailgun reports of a message, POSTed as JSON with a signature in the body:
 * https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
 *
 * The signature covers a time and a token, not the event. That an event is Mailgun's own is therefore known from TLS and
 * from the secret in the URL; the signature adds that the call is fresh, and its token that it comes once.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { DAY, SECOND } from '../../domain/clock.ts';
import type { ProviderReceipt, ReceiptKind } from '../../domain/receipt.ts';
import { CLOCK_SKEW, happenedAt, isFresh } from '../callback.ts';
import { excerpt } from '../excerpt.ts';
import { numberOf, textOf } from '../json.ts';
import { parseJson } from '../parse-json.ts';
import type { CallbackRequest, CallbackResult } from '../provider.ts';
import { ID_VARIABLE } from './mailgun-form.ts';

export interface CallbackSecrets {
  /** Any of them may have signed. */
  readonly signingKeys: readonly string[];
  /** The last part of the URL's path. */
  readonly callbackToken: string;
}

/**
 * Milliseconds. Mailgun repeats a call for 8 h, and with which time is not documented, so the first one must hold for as
 * long. From its time, which may be ahead of ours, to its end it is a day: used tokens are remembered for that at least.
 */
const MAX_AGE = DAY - CLOCK_SKEW;

const KINDS: ReadonlyMap<string, ReceiptKind> = new Map<string, ReceiptKind>([
  ['accepted', 'sent'],
  ['delivered', 'delivered'],
  ['opened', 'opened'],
  ['clicked', 'clicked'],
  ['complained', 'complained'],
  ['unsubscribed', 'unsubscribed'],
  ['rejected', 'failed'],
]);

/** Mailgun did not try, because of what the recipient had done before. */
const DONE_BEFORE: ReadonlyMap<string, ReceiptKind> = new Map<string, ReceiptKind>([
  ['suppress-unsubscribe', 'unsubscribed'],
  ['suppress-complaint', 'complained'],
]);

/** Reasons of a failure that say nothing about the address: tried for too long, blocked as a sender, any other. */
const NOT_THE_ADDRESS: ReadonlySet<string> = new Set(['old', 'espblock', 'generic']);

/** It stands in a URL as it is, and nobody can guess it. */
export function isCallbackToken(token: string): boolean {
  return /^[A-Za-z0-9_-]{20,}$/.test(token);
}

/** A refusal is always a 406, the only one that Mailgun does not repeat for hours. */
export function receiveMailgun(request: CallbackRequest, secrets: CallbackSecrets): CallbackResult {
  const inUrl = request.url.pathname.split('/').at(-1) ?? '';
  if (!isSame(inUrl, secrets.callbackToken)) return refused('the URL does not end with the callback token');
  // What is no JSON has no signature either.
  const body = parseJson(request.body.toString('utf8'));
  const timestamp = textOf(body, 'signature', 'timestamp') ?? '';
  const token = textOf(body, 'signature', 'token') ?? '';
  // Nothing stands between the two in what is signed: with other lengths a digit could move from one to the other.
  if (!/^\d{10}$/.test(timestamp) || !/^[A-Za-z0-9]{50}$/.test(token)) return refused('no signature');
  const signature = textOf(body, 'signature', 'signature') ?? '';
  if (!isSigned(`${timestamp}${token}`, signature, secrets.signingKeys)) return refused('no valid signature');
  const age = request.now - Number(timestamp) * SECOND;
  if (!isFresh(age, MAX_AGE)) return refused('the signature is not of today');
  return { kind: 'genuine', nonce: token, receipts: receiptsOf(body, request.now) };
}

const refused = (why: string): CallbackResult => ({ kind: 'refused', status: 406, why });

function isSigned(signed: string, signature: string, keys: readonly string[]): boolean {
  if (!/^[0-9a-f]{64}$/.test(signature)) return false;
  const given = Buffer.from(signature, 'hex');
  return keys.some((key) => timingSafeEqual(createHmac('sha256', key).update(signed).digest(), given));
}

/** Takes the same time whatever is given, also for texts that differ in length. */
function isSame(given: string, secret: string): boolean {
  const digest = (value: string): Buffer => createHash('sha256').update(value).digest();
  return timingSafeEqual(digest(given), digest(secret));
}

function receiptsOf(body: unknown, now: number): readonly ProviderReceipt[] {
  const event: Event = (...path) => textOf(body, 'event-data', ...path);
  const eventId = event('id');
  const notificationId = event('user-variables', ID_VARIABLE);
  if (eventId === undefined || notificationId === undefined) return [];
  const seconds = numberOf(body, 'event-data', 'timestamp');
  const address = event('recipient');
  const about = {
    notificationId,
    at: happenedAt(seconds === undefined ? undefined : seconds * SECOND, now),
    ...(address === undefined ? {} : { address }),
    ...wordsOf(event, address),
  };
  if (event('event') === 'failed') return failures(event, eventId, about);
  const kind = KINDS.get(event('event') ?? '');
  if (kind === undefined) return [];
  const machine = event('client-info', 'bot') === undefined ? {} : { machine: true };
  return [{ eventId, kind, ...about, ...machine }];
}

type Event = (...path: readonly string[]) => string | undefined;

function failures(
  event: Event,
  eventId: string,
  about: Omit<ProviderReceipt, 'eventId' | 'kind'>,
): readonly ProviderReceipt[] {
  const reason = event('reason') ?? '';
  // Mailgun goes on trying, except that the last try of all has this reason, at times still as temporary.
  if (event('severity') !== 'permanent' && reason !== 'old') return [];
  const before = DONE_BEFORE.get(reason);
  if (before !== undefined) {
    // Such a report alone would say that this message had arrived.
    return [
      { eventId, kind: 'bounced', ...about },
      { eventId: `${eventId}.${before}`, kind: before, ...about },
    ];
  }
  return [{ eventId, kind: 'bounced', ...(NOT_THE_ADDRESS.has(reason) ? {} : { hard: true }), ...about }];
}

/** The receiving server's code and words, or Mailgun's; without the address, which servers like to repeat. */
function wordsOf(event: Event, address: string | undefined): { readonly code?: string; readonly detail?: string } {
  const reason = event('reject', 'reason') ?? event('reason');
  const code = event('delivery-status', 'code') ?? reason;
  const said = event('delivery-status', 'message') ?? event('delivery-status', 'description') ?? reason ?? '';
  const words = address === undefined ? said : said.replaceAll(new RegExp(RegExp.escape(address), 'gi'), '[address]');
  const detail = excerpt(words);
  return { ...(code === undefined ? {} : { code }), ...(detail === '' ? {} : { detail }) };
}
