import { Agent } from 'undici';
import packageJson from '../../../package.json' with { type: 'json' };
import { systemClock, type Clock } from '../../domain/clock.ts';
import { faultOf } from '../fault.ts';
import { callHttp, type HttpRequest, type HttpResult } from '../http-call.ts';
import type { Call, Provider, SendResult, WebhookMessage } from '../provider.ts';
import { redactor } from '../redact.ts';
import { isHeaderName, isReservedWebhookHeader } from '../reserved-headers.ts';
import { retryAfterMs } from '../retry-after.ts';
import { Slots } from '../slots.ts';
import { AddressRefused, createAddressGuard, type AddressGuard } from '../ssrf.ts';
import { signatureHeaders, signingKey } from './signature.ts';

export interface WebhookOptions {
  /** Its name in the configuration; `http` unless given. */
  readonly name?: string;
  /** Milliseconds for one call, from the connection to the end of the answer; 30 s unless given. */
  readonly timeoutMs?: number;
  /** Calls at the same time; 50 unless given. Further ones wait, and the wait ends with the call's signal. */
  readonly maxConcurrent?: number;
  /** `whsec_…`, one signature for each; none: calls are not signed. */
  readonly secrets?: readonly string[];
  /** Host names, addresses and ranges that may be called although they are not public; none unless given. */
  readonly allowPrivate?: readonly string[];
}

const USER_AGENT = `Carillon/${packageJson.version}`;

/** Characters of an endpoint's answer that are kept. */
const MAX_DETAIL = 500;

/** Milliseconds after which an address that does not answer is given up. */
const CONNECT_TIMEOUT = 10_000;

/** A kept connection serves a burst; kept longer, a server's own limit could close it under a request. Milliseconds. */
const KEEP_ALIVE = 1_000;

/**
 * Calls the recipient's own endpoint over HTTP, signed by Standard Webhooks.
 * There is only one such endpoint, so no failure is ever the provider's own: another provider could do no better.
 * @throws CarillonError INVALID_FIELD for a secret or a range that cannot be read
 */
export function createWebhook(options: WebhookOptions, clock: Clock = systemClock): Provider<WebhookMessage> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const secrets = options.secrets ?? [];
  const keys = secrets.map(signingKey);
  const guard = createAddressGuard(options.allowPrivate ?? []);
  const slots = new Slots(options.maxConcurrent ?? 50);
  const closing = new AbortController();
  const agent = new Agent({
    // A connection that is still being made does not end with the agent; the signal ends it.
    connect: { lookup: guard.lookup, timeout: Math.min(timeoutMs, CONNECT_TIMEOUT), signal: closing.signal },
    allowH2: false,
    keepAliveTimeout: KEEP_ALIVE,
    keepAliveMaxTimeout: KEEP_ALIVE,
  });

  const post = async (request: HttpRequest, signal: AbortSignal): Promise<HttpResult> => {
    if (!(await slots.take(signal))) return { kind: 'not_sent', error: signal.reason };
    try {
      return await callHttp(agent, request, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
    } finally {
      slots.give();
    }
  };

  return {
    name: options.name ?? 'http',
    channel: 'webhook',
    async send(message: WebhookMessage, call: Call): Promise<SendResult> {
      const url = checkedUrl(message.to, guard);
      if (!(url instanceof URL)) return url;
      const redact = redactor([...secrets, ...credentialsOf(message.headers), ...url.searchParams.values()]);
      const body = message.method === 'GET' ? '' : JSON.stringify(message.body);
      const headers = {
        ...callerHeaders(message),
        ...signatureHeaders(keys, message.notificationId, clock.now(), body),
      };
      const request = { url, method: message.method, headers, ...(body === '' ? {} : { body }) };
      return outcomeOf(await post(request, call.signal), clock.now(), redact);
    },
    async [Symbol.asyncDispose]() {
      // The pipeline has finished by now; a call still under way ends without its answer.
      closing.abort();
      await agent.destroy();
    },
  };
}

function checkedUrl(address: string, guard: AddressGuard): URL | SendResult {
  const url = URL.parse(address);
  if (url === null) return { outcome: 'invalid_recipient', code: 'url_invalid', detail: 'not a URL' };
  try {
    guard.check(url);
    return url;
  } catch (thrown) {
    if (thrown instanceof AddressRefused) return refusedAddress(thrown);
    throw thrown;
  }
}

function refusedAddress(refused: AddressRefused): SendResult {
  return { outcome: 'permanent_failure', code: refused.code, detail: refused.message };
}

/** In lower case, so that a caller's header replaces ours of the same name instead of standing beside it. */
function callerHeaders(message: WebhookMessage): Record<string, string> {
  const headers: Record<string, string> = { accept: '*/*', 'user-agent': USER_AGENT };
  if (message.method !== 'GET') headers['content-type'] = 'application/json';
  for (const [name, value] of Object.entries(message.headers)) {
    if (isHeaderName(name) && !isReservedWebhookHeader(name)) headers[name.toLowerCase()] = value;
  }
  return headers;
}

/** Any header may carry a credential, alone or behind a scheme's name such as `Bearer`. */
function credentialsOf(headers: Readonly<Record<string, string>>): string[] {
  return Object.values(headers).flatMap((value) => [value, value.slice(value.indexOf(' ') + 1)]);
}

function outcomeOf(result: HttpResult, now: number, redact: (text: string) => string): SendResult {
  if (result.kind === 'answered') {
    const { status, headers } = result;
    const detail = excerpt(redact(result.body));
    const told = { code: String(status), ...(detail === '' ? {} : { detail }) };
    return outcomeOfStatus(status, told, retryAfterMs(singleValue(headers['retry-after']), now));
  }
  if (result.error instanceof AddressRefused) return refusedAddress(result.error);
  const { code, detail } = faultOf(result.error);
  const told = { ...(code === undefined ? {} : { code }), detail: excerpt(redact(detail)) };
  if (result.kind === 'no_answer') return { outcome: 'unknown', ...told };
  // The request itself cannot be written, for example for a character in a header.
  if (code === 'UND_ERR_INVALID_ARG') return { outcome: 'permanent_failure', ...told };
  return { outcome: 'temporary_failure', ...told, providerDown: false };
}

/** Statuses by Standard Webhooks, "Webhook delivery": anything but 2xx is tried again, except what says "never". */
function outcomeOfStatus(
  status: number,
  told: { readonly code: string; readonly detail?: string },
  retryAfter: number | undefined,
): SendResult {
  if (status < 300) return { outcome: 'sent', ...told };
  // A redirect is not followed: its target was never checked, and it is for the endpoint's owner to give the new URL.
  if (status < 400 || status === 410) return { outcome: 'permanent_failure', ...told };
  if (status === 429 || (status === 503 && retryAfter !== undefined)) {
    return { outcome: 'rate_limited', ...told, ...(retryAfter === undefined ? {} : { retryAfterMs: retryAfter }) };
  }
  // A gateway speaks: it cannot say whether the endpoint behind it has worked.
  if (status === 502 || status === 504) return { outcome: 'unknown', ...told };
  return { outcome: 'temporary_failure', ...told, providerDown: false };
}

function singleValue(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

/** Readable text only: an answer may be anything, a picture included. */
function excerpt(text: string): string {
  return text
    .replaceAll(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, MAX_DETAIL);
}
