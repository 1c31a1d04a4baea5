/**
 * Reads a `Retry-After` header (RFC 9110 §10.2.3: seconds or an HTTP date) as milliseconds from `now`.
 * Undefined when there is none or it cannot be read; a date in the past is 0.
 */
export function retryAfterMs(header: string | undefined, now: number): number | undefined {
  const text = header?.trim();
  if (!text) return undefined;
  // More digits than decades need are not a time.
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  const date = /[a-z]/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
