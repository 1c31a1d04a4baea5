/**
 * A service behind an HTTP API: a base URL, a time limit, a number of calls at a time, and answers told without
 * credentials. What the answer of one service means is for its provider to say; what all of them mean alike stands here.
 */
import packageJson from '../../package.json' with { type: 'json' };
import type { Clock } from '../domain/clock.ts';
import { excerpt } from './excerpt.ts';
import { faultOf } from './fault.ts';
import { isGatewayFailure, type HttpRequest, type HttpResult, type ResponseHeaders } from './http-call.ts';
import { HttpPool, NoFreeCall, type HttpPoolOptions } from './http-pool.ts';
import { parseJson } from './parse-json.ts';
import type { Check, SendResult } from './provider.ts';
import { redactor } from './redact.ts';
import { waitOf, type Wait } from './retry-after.ts';

export interface HttpApiOptions extends Omit<HttpPoolOptions, 'ca' | 'lookup'> {
  /** Its path stays in front of every call's. */
  readonly baseUrl: string;
  /** PEM. */
  readonly caFile?: string | undefined;
  /** Credentials that must not stand in what is told of an answer. */
  readonly secrets: readonly (string | undefined)[];
  readonly clock: Clock;
}

export interface ApiRequest {
  readonly method: HttpRequest['method'];
  /** Below the base URL, with the query, such as `/v3/mail/send`. Or a whole URL on another host. */
  readonly path: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** An answer, whatever it says. */
export interface Answered {
  readonly kind: 'answered';
  readonly status: number;
  readonly headers: ResponseHeaders;
  readonly body: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: unknown;
  readonly wait: Wait;
}

/** No answer: what that means is the same for all. */
export interface Unanswered {
  readonly kind: 'unanswered';
  readonly result: SendResult;
}

export const USER_AGENT = `Carillon/${packageJson.version}`;

export class HttpApi implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #base: URL;
  readonly #pool: HttpPool;
  readonly #redact: (text: string) => string;

  constructor(options: HttpApiOptions) {
    const { baseUrl, caFile, secrets, clock } = options;
    this.#clock = clock;
    this.#base = new URL(baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`);
    this.#pool = new HttpPool({ ...options, ca: caFile });
    this.#redact = redactor(secrets);
  }

  /** Never rejects. */
  async call(request: ApiRequest, signal: AbortSignal): Promise<Answered | Unanswered> {
    const sent = { 'user-agent': USER_AGENT, ...request.headers };
    const result = await this.#pool.call({ ...request, url: this.urlOf(request.path), headers: sent }, signal);
    if (result.kind !== 'answered') return { kind: 'unanswered', result: this.unanswered(result) };
    const { status, headers, body } = result;
    return {
      kind: 'answered',
      status,
      headers,
      body,
      json: parseJson(body),
      wait: waitOf(headers, this.#clock.now()),
    };
  }

  urlOf(path: string | URL): URL {
    return typeof path === 'string' ? new URL(path.replace(/^\//, ''), this.#base) : path;
  }

  /** What no answer means: nothing left, so nothing happened; or it left, and nobody knows. */
  unanswered(result: Exclude<HttpResult, { kind: 'answered' }>): SendResult {
    const { code, detail } = faultOf(result.error);
    const told = this.told(code, detail);
    if (result.kind === 'no_answer') return { outcome: 'unknown', ...told };
    // The request itself cannot be written, for a character in a header: those are made of settings, not of the message.
    if (code === 'UND_ERR_INVALID_ARG') return { outcome: 'provider_error', ...told };
    return result.error instanceof NoFreeCall
      ? { outcome: 'temporary_failure', ...told, providerDown: false, notAsked: true }
      : { outcome: 'temporary_failure', ...told, providerDown: true };
  }

  /** Code and detail without credentials, control characters and excess. */
  told(
    code: string | number | undefined,
    detail: string | undefined,
  ): { readonly code?: string; readonly detail?: string } {
    const words = excerpt(this.#redact(detail ?? ''));
    return {
      ...(code === undefined ? {} : { code: this.#redact(String(code)) }),
      ...(words === '' ? {} : { detail: words }),
    };
  }

  /**
   * What a status means where the service says nothing more precise.
   * @param code the service's own, in place of the status; @param detail its own words, in place of the body
   */
  outcomeOf(answer: Answered, code?: string | number, detail?: string): SendResult {
    const { status, wait } = answer;
    const told = this.told(code ?? status, detail ?? answer.body);
    if (status >= 200 && status < 300) return { outcome: 'sent', ...told };
    // A redirect is not followed, as credentials would go with it: the base URL is wrong.
    if (status < 400) return { outcome: 'provider_error', ...told };
    if (status === 401 || status === 403) return { outcome: 'provider_error', ...told };
    // Our own path is not there: the base URL is wrong, whatever the message.
    if (status === 404 || status === 405 || status === 410) return { outcome: 'provider_error', ...told };
    if (status === 429) return { outcome: 'rate_limited', ...told, ...wait };
    if (isGatewayFailure(status)) return { outcome: 'unknown', ...told };
    if (status === 408 || status >= 500) return { outcome: 'temporary_failure', ...told, ...wait, providerDown: true };
    return { outcome: 'permanent_failure', ...told };
  }

  /** A 2xx whose body is not what the service answers: something else spoke, and the service may have worked or not. */
  unreadable(answer: Answered): SendResult {
    return {
      outcome: 'unknown',
      // Cut only once nothing of a credential is left that the cut could go through.
      ...this.told(answer.status, `the answer cannot be read: ${answer.body}`),
    };
  }

  /** For `Provider.check`: a call that only asks who one is. */
  async check(request: ApiRequest, signal: AbortSignal): Promise<Check> {
    const answer = await this.call(request, signal);
    if (answer.kind === 'unanswered') return { ok: false, detail: answer.result.detail ?? 'no answer' };
    // What is no JSON is none of the services' answers: the base URL leads somewhere else.
    const ok = answer.status >= 200 && answer.status < 300 && answer.json !== undefined;
    const { detail = '' } = this.told(undefined, answer.body);
    return { ok, detail: ok ? 'the credentials are good' : `${answer.status} ${detail}`.trim() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }
}

/** An answer without the credentials of its one call, which are not known before, such as a token that a library makes. */
export function withoutSecrets(answer: Answered, secrets: readonly (string | undefined)[]): Answered {
  const body = redactor(secrets)(answer.body);
  return body === answer.body ? answer : { ...answer, body, json: parseJson(body) };
}
