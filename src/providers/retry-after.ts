import { singleValue, type ResponseHeaders } from './http-call.ts';

/** How long a service asks to wait, milliseconds; not given where it does not say. */
export interface Wait {
  readonly retryAfterMs?: number;
}

/** By `Retry-After` (RFC 9110 §10.2.3: seconds or an HTTP date). A date in the past is 0. */
export function waitOf(headers: ResponseHeaders, now: number): Wait {
  const text = singleValue(headers['retry-after'])?.trim() ?? '';
  // More digits than decades need are not a time.
  if (/^\d{1,9}$/.test(text)) return { retryAfterMs: Number(text) * 1_000 };
  const date = /[a-z]/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? {} : { retryAfterMs: Math.max(0, date - now) };
}
