/**
 * Access tokens for a service account, by the JWT bearer grant (RFC 7523). Google's own library would do this as well,
 * but it retries, ignores where its token endpoint is, and hides whether a request went out.
 */
import { SignJWT } from 'jose';
import type { Clock } from '../../domain/clock.ts';
import type { Answered, HttpApi } from '../http-api.ts';
import { numberOf, textOf } from '../json.ts';
import type { SendResult } from '../provider.ts';
import { redactor } from '../redact.ts';
import type { ServiceAccount } from './fcm-account.ts';

export interface AccessToken {
  readonly kind: 'token';
  readonly token: string;
  /** Milliseconds; it is replaced from then on. */
  readonly freshUntil: number;
}

/** No token, and so nothing was sent: `result` says so. */
export interface NoToken {
  readonly kind: 'none';
  readonly result: SendResult;
}

export interface AccessTokensOptions {
  readonly api: HttpApi;
  readonly account: ServiceAccount;
  readonly tokenUrl: string;
  readonly clock: Clock;
}

const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging';
const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
/** Google's longest, in seconds. */
const ASSERTION_LIFE = 3_600;
/** Of each second of a token's life, in milliseconds; the rest is for calls under way and for clocks apart. */
const USED_OF_SECOND = 900;

export class AccessTokens {
  readonly #options: AccessTokensOptions;
  #current: AccessToken | undefined;
  #pending: Promise<AccessToken | NoToken> | undefined;

  constructor(options: AccessTokensOptions) {
    this.#options = options;
  }

  /** The current one, or a new one. Calls share a request for one; a call that is aborted leaves it to the others. */
  async get(signal: AbortSignal): Promise<AccessToken | NoToken> {
    if (signal.aborted) return this.#aborted(signal);
    if (this.#current !== undefined && this.#options.clock.now() < this.#current.freshUntil) return this.#current;
    this.#pending ??= this.#replace();
    return (await unlessAborted(this.#pending, signal)) ?? this.#aborted(signal);
  }

  /** The service refuses it: the next call asks for another. A newer one stays. */
  drop(token: AccessToken): void {
    if (this.#current === token) this.#current = undefined;
  }

  /** Asks for a new one, which proves the credentials. Never rejects. */
  async request(signal: AbortSignal): Promise<AccessToken | NoToken> {
    const { api, tokenUrl, clock } = this.#options;
    const assertion = await this.#assertion();
    const answer = await api.call(
      {
        method: 'POST',
        path: new URL(tokenUrl),
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ grant_type: GRANT, assertion }).toString(),
      },
      signal,
    );
    if (answer.kind === 'unanswered') return { kind: 'none', result: notSent(answer.result) };
    const token = textOf(answer.json, 'access_token');
    const seconds = numberOf(answer.json, 'expires_in');
    const granted = answer.status >= 200 && answer.status < 300;
    if (!granted) return { kind: 'none', result: notSent(refusal(api, answer, assertion)) };
    if (token === undefined || seconds === undefined) {
      // What it says is not repeated: it may hold a token that is good.
      const told = api.told(answer.status, 'the answer has no access token or no lifetime');
      return { kind: 'none', result: { outcome: 'temporary_failure', ...told, providerDown: true } };
    }
    return { kind: 'token', token, freshUntil: clock.now() + seconds * USED_OF_SECOND };
  }

  async #replace(): Promise<AccessToken | NoToken> {
    try {
      // It belongs to no single call; its time limit and the end of the provider end it.
      const got = await this.request(new AbortController().signal);
      if (got.kind === 'token') this.#current = got;
      return got;
    } finally {
      this.#pending = undefined;
    }
  }

  #assertion(): Promise<string> {
    const { account, clock } = this.#options;
    const at = Math.floor(clock.now() / 1_000);
    return new SignJWT({ scope: SCOPE })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT' })
      .setIssuer(account.clientEmail)
      .setAudience(this.#options.tokenUrl)
      .setIssuedAt(at)
      .setExpirationTime(at + ASSERTION_LIFE)
      .sign(account.privateKey);
  }

  #aborted(signal: AbortSignal): NoToken {
    return { kind: 'none', result: this.#options.api.unanswered({ kind: 'not_sent', error: signal.reason }) };
  }
}

function refusal(api: HttpApi, answer: Answered, assertion: string): SendResult {
  return api.outcomeOf(answer, textOf(answer.json, 'error'), redactor([assertion])(answer.body));
}

/** Whatever became of the request for a token: the message has not gone out. */
function notSent(result: SendResult): SendResult {
  const { outcome, ...told } = result;
  switch (outcome) {
    case 'provider_error':
    case 'rate_limited':
    case 'temporary_failure':
      return result;
    case 'permanent_failure':
      // Such as invalid_grant: the account, its key or this machine's time is wrong.
      return { ...told, outcome: 'provider_error' };
    default:
      return { ...told, outcome: 'temporary_failure', providerDown: true };
  }
}

/** Undefined when the signal was aborted first. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const aborted = (): void => resolve(undefined);
  signal.addEventListener('abort', aborted, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', aborted);
  }
}
