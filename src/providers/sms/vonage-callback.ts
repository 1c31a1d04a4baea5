/**
 * Status callbacks of Vonage's Messages API: a JSON document with a token (JWT, HS256) in `Authorization` that holds the
 * hash of the body (developer.vonage.com, signed webhooks). The vendor's own check looks at neither hash nor age.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { SECOND } from '../../domain/clock.ts';
import type { ProviderReceipt, ReceiptKind } from '../../domain/receipt.ts';
import { CLOCK_SKEW, happenedAt } from '../callback.ts';
import { faultOf } from '../fault.ts';
import { field, textOf } from '../json.ts';
import { parseJson } from '../parse-json.ts';
import type { CallbackResult, Receive } from '../provider.ts';
import { codeOf } from './vonage-outcome.ts';

/** Vonage repeats a callback for a day, and does not say whether with a new token. */
const MAX_AGE = '24h';

const KINDS: ReadonlyMap<string, ReceiptKind> = new Map([
  ['submitted', 'sent'],
  ['delivered', 'delivered'],
  ['read', 'opened'],
  ['undeliverable', 'bounced'],
  ['rejected', 'failed'],
]);

/**
 * Reasons of a rejection that are the number's own: barred, none, gone, opted out, unreachable, blocked by its carrier
 * (developer.vonage.com/api-errors/messages). The others are the message's, the sender's or the account's.
 */
const HARD: readonly (string | undefined)[] = ['1050', '1170', '1190', '1240', '1260', '1280', '1430'];

/** @param secrets any of them may have signed */
export async function openCallbacks(secrets: readonly string[]): Promise<Receive> {
  const { jwtVerify } = await import('jose');
  // With an empty secret anybody could sign.
  const keys = secrets.filter((secret) => secret !== '').map((secret) => new TextEncoder().encode(secret));

  /** The claims of a token that one of the keys has signed, or why there are none. */
  async function claimsOf(token: string, now: number): Promise<{ readonly claims?: unknown; readonly why: string }> {
    let why = 'no key to check it with';
    for (const key of keys) {
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: ['HS256'],
          issuer: 'Vonage',
          requiredClaims: ['jti', 'payload_hash'],
          maxTokenAge: MAX_AGE,
          clockTolerance: CLOCK_SKEW / SECOND,
          currentDate: new Date(now),
        });
        return { claims: payload, why: '' };
      } catch (thrown) {
        why = faultOf(thrown).detail;
      }
    }
    return { why };
  }

  return async ({ headers, body, now }) => {
    const { authorization } = headers;
    // Vonage may send one unsigned after a fault of its own; told of a failure it repeats it, signed.
    if (authorization === undefined) return { kind: 'refused', status: 503, why: 'not signed' };
    const token = /^bearer +(\S+)$/i.exec(authorization)?.[1];
    if (token === undefined) return refused('no bearer token');
    const { claims, why } = await claimsOf(token, now);
    if (claims === undefined) return refused(why);
    const nonce = textOf(claims, 'jti');
    if (nonce === undefined) return refused('a token without a name');
    if (!isHashOf(textOf(claims, 'payload_hash') ?? '', body)) return refused('not the body that was signed');
    return read(body, nonce, now);
  };
}

const refused = (why: string): CallbackResult => ({ kind: 'refused', status: 401, why });

function isHashOf(hash: string, body: Buffer): boolean {
  const wanted = createHash('sha256').update(body).digest();
  const given = Buffer.from(hash, 'hex');
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function read(body: Buffer, nonce: string, now: number): CallbackResult {
  const event = parseJson(body.toString('utf8'));
  if (event === undefined) return { kind: 'refused', status: 400, why: 'not JSON' };
  return { kind: 'genuine', receipts: receiptsOf(event, now), nonce };
}

function receiptsOf(event: unknown, now: number): ProviderReceipt[] {
  const uuid = textOf(event, 'message_uuid');
  const status = textOf(event, 'status');
  const notificationId = textOf(event, 'client_ref');
  const said = KINDS.get(status ?? '');
  if (uuid === undefined || status === undefined || notificationId === undefined || said === undefined) return [];
  const to = textOf(event, 'to');
  const error = field(event, 'error');
  const code = codeOf(error);
  const detail = textOf(error, 'detail');
  // A rejection is also what a message ends with that took too long or goes where the account must not send.
  const hard = status === 'rejected' && HARD.includes(code);
  return [
    {
      eventId: `${uuid}.${status}`,
      kind: hard ? 'bounced' : said,
      notificationId,
      at: happenedAt(Date.parse(textOf(event, 'timestamp') ?? ''), now),
      ...(hard ? { hard } : {}),
      ...(to === undefined ? {} : { address: `+${to.replace(/^\+/, '')}` }),
      ...(code === undefined ? {} : { code }),
      ...(detail === undefined ? {} : { detail }),
    },
  ];
}
