import { SECOND } from '../../domain/clock.ts';
import { defineProvider, type OpenContext } from '../definition.ts';
import { checkedUrl, refusedAddress } from '../endpoint.ts';
import { excerpt } from '../excerpt.ts';
import { faultOf } from '../fault.ts';
import { USER_AGENT } from '../http-api.ts';
import { isGatewayFailure, type HttpResult } from '../http-call.ts';
import { HttpPool } from '../http-pool.ts';
import type { Call, Provider, SendResult, WebhookMessage } from '../provider.ts';
import { capabilitiesOf, redactor } from '../redact.ts';
import { isHeaderName, isReservedWebhookHeader } from '../reserved-headers.ts';
import { waitOf, type Wait } from '../retry-after.ts';
import { HTTP_SETTINGS, seconds, texts, type SettingsOf } from '../settings.ts';
import { Slots } from '../slots.ts';
import { AddressRefused, createAddressGuard } from '../ssrf.ts';
import { signatureHeaders, signingKey } from './signature.ts';

const SETTINGS = {
  timeout: seconds('One call ends within this time.', 30, [0.1, 300]),
  maxConcurrent: HTTP_SETTINGS.maxConcurrent,
  secrets: texts(
    'Keys that sign each call (Standard Webhooks), such as whsec_ and base64; one signature for each, so that a key can ' +
      'be changed without a gap. None: calls are not signed.',
    { secret: true, format: 'webhook-secret' },
  ),
  allowPrivate: texts(
    'Private, loopback and link-local targets that may be called all the same: host names, addresses or ranges such as ' +
      '10.1.0.0/16.',
    { format: 'host-or-range' },
  ),
};

/**
 * Calls the recipient's own endpoint over HTTP, signed by Standard Webhooks.
 * There is only one such endpoint, so no failure is ever the provider's own: another provider could do no better.
 */
export const http = defineProvider({
  name: 'http',
  channels: ['webhook'],
  // It stands for the whole channel, whose own keys are there, too.
  section: 'notifications.webhooks',
  doc: 'The provider http calls the endpoint of the recipient.',
  settings: SETTINGS,
  open: openHttp,
});

/** A kept connection serves a burst; kept longer, a server's own limit could close it under a request. Milliseconds. */
const KEEP_ALIVE = 1_000;

/** How long a call waits for those before it at the same endpoint, milliseconds; then its row waits, at no cost. */
const ENDPOINT_WAIT = SECOND;

interface Endpoint {
  readonly slots: Slots;
  /** Those that have a slot or wait for one. */
  users: number;
  /** One has waited in vain, and no call has ended since. */
  stuck: boolean;
}

/**
 * Calls at a time for each endpoint: one that is silent keeps no more of the places. Who waits for it keeps a place of the
 * worker, so that only the first one does.
 */
class EndpointSlots {
  readonly #count: number;
  readonly #endpoints = new Map<string, Endpoint>();

  constructor(count: number) {
    this.#count = count;
  }

  /** True when a slot was taken, which must then be given back. */
  async take(host: string, signal: AbortSignal): Promise<boolean> {
    const endpoint = this.#endpoints.get(host) ?? { slots: new Slots(this.#count), users: 0, stuck: false };
    this.#endpoints.set(host, endpoint);
    const isBusy = endpoint.users >= this.#count;
    if (isBusy && endpoint.stuck) return false;
    endpoint.users += 1;
    const until = isBusy ? AbortSignal.any([signal, AbortSignal.timeout(ENDPOINT_WAIT)]) : signal;
    if (await endpoint.slots.take(until)) return true;
    endpoint.stuck = !signal.aborted;
    this.#leave(host, endpoint);
    return false;
  }

  give(host: string): void {
    const endpoint = this.#endpoints.get(host);
    if (!endpoint) return;
    endpoint.stuck = false;
    endpoint.slots.give();
    this.#leave(host, endpoint);
  }

  #leave(host: string, endpoint: Endpoint): void {
    endpoint.users -= 1;
    if (endpoint.users === 0) this.#endpoints.delete(host);
  }
}

/** @throws CarillonError INVALID_FIELD for a secret or a range that cannot be read */
function openHttp(settings: SettingsOf<typeof SETTINGS>, { name, clock }: OpenContext): Provider<WebhookMessage> {
  const { timeout, maxConcurrent, secrets, allowPrivate } = settings;
  const keys = secrets.map(signingKey);
  const guard = createAddressGuard(allowPrivate);
  const pool = new HttpPool({ timeout, maxConcurrent, lookup: guard.lookup, keepAlive: KEEP_ALIVE });
  const endpoints = new EndpointSlots(Math.ceil(maxConcurrent / 2));

  return {
    name,
    channel: 'webhook',
    perRecipient: true,
    async send(message: WebhookMessage, call: Call): Promise<SendResult> {
      const url = checkedUrl(message.to, guard);
      if (!(url instanceof URL)) return url;
      const redact = redactor([...secrets, ...credentialsOf(message.headers), ...capabilitiesOf(url)]);
      const body = message.method === 'GET' ? '' : JSON.stringify(message.body);
      const headers = {
        ...callerHeaders(message),
        ...signatureHeaders(keys, message.notificationId, clock.now(), body),
      };
      const request = { url, method: message.method, headers, ...(body === '' ? {} : { body }) };
      if (!(await endpoints.take(url.host, call.signal))) return busy(call.signal);
      try {
        return outcomeOf(await pool.call(request, call.signal), clock.now(), redact);
      } finally {
        endpoints.give(url.host);
      }
    },
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  };
}

function busy({ aborted }: AbortSignal): SendResult {
  const code = 'endpoint_busy';
  return aborted ? { outcome: 'temporary_failure', code, providerDown: false } : { outcome: 'rate_limited', code };
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
    return outcomeOfStatus(status, told, waitOf(headers, now));
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
  wait: Wait,
): SendResult {
  if (status < 300) return { outcome: 'sent', ...told };
  // A redirect is not followed: its target was never checked, and it is for the endpoint's owner to give the new URL.
  if (status < 400 || status === 410) return { outcome: 'permanent_failure', ...told };
  if (status === 429 || (status === 503 && wait.retryAfterMs !== undefined))
    return { outcome: 'rate_limited', ...told, ...wait };
  if (isGatewayFailure(status)) return { outcome: 'unknown', ...told };
  return { outcome: 'temporary_failure', ...told, providerDown: false };
}
