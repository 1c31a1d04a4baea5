/**
 * What an answer of a push service means. Every browser's maker has one, and the recipient's own browser says which: so no
 * failure is the provider's own, another provider could do no better, and a limit of one service is none of the others.
 */
import { refusedAddress } from '../endpoint.ts';
import { excerpt } from '../excerpt.ts';
import { faultOf } from '../fault.ts';
import { isGatewayFailure, type HttpResult } from '../http-call.ts';
import type { SendResult } from '../provider.ts';
import { AddressRefused } from '../ssrf.ts';
import { waitOf, type Wait } from '../retry-after.ts';

interface Told {
  readonly code?: string;
  readonly detail?: string;
}

/** @param redact takes out what must not be told */
export function outcomeOf(result: HttpResult, now: number, redact: (text: string) => string): SendResult {
  if (result.kind === 'answered') {
    const { status, headers, body } = result;
    return outcomeOfStatus(status, told(String(status), redact(body)), waitOf(headers, now));
  }
  if (result.error instanceof AddressRefused) return refusedAddress(result.error);
  const { code, detail } = faultOf(result.error);
  const words = told(code, redact(detail));
  if (result.kind === 'no_answer') return { outcome: 'unknown', ...words };
  return { outcome: 'temporary_failure', ...words, providerDown: false };
}

/** RFC 8030 §5 and §7.3, RFC 8292 §4.2 and what the services document. The body of a success says nothing. */
function outcomeOfStatus(status: number, words: Told, wait: Wait): SendResult {
  switch (status) {
    case 200:
    case 201:
    case 202:
      return { outcome: 'sent', ...words };
    case 401:
    case 403:
      // The subscription was made for other keys than ours; that the keys are a pair is checked when they are set.
      return { outcome: 'provider_error', ...words };
    case 404:
    case 410:
      return { outcome: 'invalid_recipient', ...words, suppress: 'invalid_token' };
    case 408:
      return { outcome: 'temporary_failure', ...words, providerDown: false };
    case 429:
      return { outcome: 'rate_limited', ...words, ...wait, recipientOnly: true };
  }
  if (isGatewayFailure(status)) return { outcome: 'unknown', ...words };
  // Another success than a push service gives: something else has answered.
  if (status < 300) return { outcome: 'unknown', ...words };
  if (status === 503 && wait.retryAfterMs !== undefined)
    return { outcome: 'rate_limited', ...words, ...wait, recipientOnly: true };
  if (status >= 500) return { outcome: 'temporary_failure', ...words, providerDown: false };
  // A redirect is not followed: its target was never checked.
  return { outcome: 'permanent_failure', ...words };
}

function told(code: string | undefined, text: string): Told {
  const detail = excerpt(text);
  return { ...(code === undefined ? {} : { code }), ...(detail === '' ? {} : { detail }) };
}
