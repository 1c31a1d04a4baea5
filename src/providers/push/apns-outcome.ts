/** What an answer of APNs means, by the `reason` it gives. */
import type { Error as Reason } from 'apns2';
import type { Answered, HttpApi } from '../http-api.ts';
import { singleValue } from '../http-call.ts';
import { numberOf, textOf } from '../json.ts';
import type { SendResult } from '../provider.ts';

/** Reasons that say something else than their status does. */
const MEANINGS = new Map<string | undefined, 'token_refused' | 'misconfigured' | 'too_many' | 'too_slow'>(
  Object.entries({
    BadDeviceToken: 'token_refused',
    DeviceTokenNotForTopic: 'token_refused',
    BadTopic: 'misconfigured',
    MissingTopic: 'misconfigured',
    TopicDisallowed: 'misconfigured',
    TooManyRequests: 'too_many',
    IdleTimeout: 'too_slow',
  } satisfies Partial<Record<Reason, 'token_refused' | 'misconfigured' | 'too_many' | 'too_slow'>>),
);

/** Refused tokens in a row, none taken before them, from which on the fault is looked for in the settings. */
const TOO_MANY_REFUSED = 10;

/**
 * Whether a refused token is the token's own fault. With the wrong environment (sandbox and production have different
 * tokens) or the wrong topic APNs refuses every one of them, and no device is to be given up for that. One token that APNs
 * knows shows that both are right, as they do not change while the provider is open.
 */
export class TokenTrust {
  #settingsAreRight = false;
  #refused = 0;

  known(): void {
    this.#settingsAreRight = true;
  }

  refused(): 'token_is_dead' | 'not_sure' | 'settings_are_wrong' {
    if (this.#settingsAreRight) return 'token_is_dead';
    this.#refused += 1;
    return this.#refused < TOO_MANY_REFUSED ? 'not_sure' : 'settings_are_wrong';
  }
}

export function outcomeOf(api: HttpApi, answer: Answered, trust: TokenTrust): SendResult {
  const { status, json, headers, body } = answer;
  const reason = textOf(json, 'reason');
  const told = api.told(reason ?? status, body);
  if (status === 200) {
    // A success has no body.
    if (body !== '') return api.unreadable(answer);
    trust.known();
    const messageId = singleValue(headers['apns-id']);
    return { outcome: 'sent', ...told, ...(messageId === undefined ? {} : { messageId }) };
  }
  // APNs says why; a 410 without a word is somebody else's.
  if (status === 410 && reason !== undefined) {
    trust.known();
    const since = numberOf(json, 'timestamp');
    return {
      outcome: 'invalid_recipient',
      ...told,
      suppress: 'invalid_token',
      ...(since === undefined ? {} : { since }),
    };
  }
  switch (MEANINGS.get(reason)) {
    case 'token_refused':
      return refusedToken(trust, told);
    case 'misconfigured':
      return { outcome: 'provider_error', ...told };
    case 'too_many':
      // The limit of one device; that of the provider token has a reason of its own.
      return { outcome: 'rate_limited', ...told, ...answer.wait, recipientOnly: true };
    case 'too_slow':
      return { outcome: 'temporary_failure', ...told, providerDown: true };
    case undefined:
      return status > 200 && status < 300 ? api.unreadable(answer) : api.outcomeOf(answer, reason);
  }
}

function refusedToken(trust: TokenTrust, told: { readonly code?: string; readonly detail?: string }): SendResult {
  switch (trust.refused()) {
    case 'token_is_dead':
      return { outcome: 'invalid_recipient', ...told, suppress: 'invalid_token' };
    case 'not_sure':
      return { outcome: 'invalid_recipient', ...told };
    case 'settings_are_wrong':
      return { outcome: 'provider_error', ...told };
  }
}
