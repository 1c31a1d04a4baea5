/** Standard Webhooks signatures (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body. */
import { createHmac } from 'node:crypto';
import { invalidField } from '../../errors.ts';

/** Bytes, by the specification. */
const SHORTEST_KEY = 24;
const LONGEST_KEY = 64;

/** @throws CarillonError INVALID_FIELD unless it is `whsec_` and the base64 of 24 to 64 bytes. */
export function signingKey(secret: string): Buffer {
  const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1] ?? '';
  const key = Buffer.from(base64, 'base64');
  if (key.length < SHORTEST_KEY || key.length > LONGEST_KEY) {
    throw invalidField(
      'secrets',
      `a webhook secret is whsec_ and the base64 of ${SHORTEST_KEY} to ${LONGEST_KEY} bytes`,
    );
  }
  return key;
}

/**
 * The headers of a signed call; only id and time without keys. One signature for each key, so that a receiver may hold
 * either while a key is changed.
 * @param now milliseconds
 */
export function signatureHeaders(
  keys: readonly Buffer[],
  id: string,
  now: number,
  body: string,
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(now / 1_000));
  const headers = { 'webhook-id': id, 'webhook-timestamp': timestamp };
  if (keys.length === 0) return headers;
  const signatures = keys.map(
    (key) => `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`,
  );
  return { ...headers, 'webhook-signature': signatures.join(' ') };
}
