/**
 * What SES and SNS have in common. AWS's library signs, writes and reads; beneath it every exchange goes through HttpApi,
 * whose result is kept beside the library's own error: that error cannot tell whether a request went out.
 */
import type { Clock } from '../domain/clock.ts';
import { faultOf } from './fault.ts';
import { HttpApi, withoutSecrets, type Answered, type Unanswered } from './http-api.ts';
import { singleValue, type HttpRequest } from './http-call.ts';
import type { Check, SendResult } from './provider.ts';
import { HTTP_SETTINGS, neededText, text, type SettingsOf } from './settings.ts';

export const AWS_SETTINGS = {
  region: neededText('Region, such as eu-west-1.'),
  accessKeyId: text(
    'Access key. Empty: the AWS library looks for credentials itself, in the environment, the files of the AWS command line and what the machine offers.',
  ),
  secretAccessKey: text('Secret of the access key.', { secret: true }),
  sessionToken: text('Session token, where the access key is a temporary one.', { secret: true }),
  baseUrl: text("Where its API is; a path is kept in front of every call. Empty: the region's own.", {
    format: 'http-url',
  }),
  ...HTTP_SETTINGS,
};
type AwsSettings = SettingsOf<typeof AWS_SETTINGS>;

/** @param section of these settings in the configuration */
export function awsFaults(section: string, settings: AwsSettings): string[] {
  const { region, accessKeyId, secretAccessKey, sessionToken } = settings;
  const faults: string[] = [];
  // It becomes part of a host name. That it must be given is said of every such setting.
  if (region !== '' && !/^[a-z]{2,}(-[a-z]+)+-\d+$/.test(region)) {
    faults.push(`${section}.region must be a region such as eu-west-1`);
  }
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    faults.push(`${section}.access_key_id and ${section}.secret_access_key must be given together`);
  }
  if (sessionToken !== undefined && accessKeyId === undefined) {
    faults.push(`${section}.session_token must stand beside an access_key_id`);
  }
  return faults;
}

/** An answer that the library did not take for a success. */
export interface Refused {
  readonly kind: 'refused';
  readonly answer: Answered;
  /** The service's name and words for the error; not given where the answer is none of AWS's. */
  readonly name?: string;
  readonly message?: string;
}

export type AwsResult<Output> =
  | { readonly kind: 'answered'; readonly answer: Answered; readonly output: Output }
  | Refused
  /** No answer, or no request. */
  | { readonly kind: 'none'; readonly result: SendResult };

/** What the library hands to its transport. */
interface LibraryRequest {
  readonly method: HttpRequest['method'];
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly query: Readonly<Record<string, string | readonly string[] | null>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

interface LibraryAnswer {
  readonly response: { readonly statusCode: number; readonly headers: Record<string, string>; readonly body: Buffer };
}

interface CallOptions {
  readonly abortSignal: AbortSignal;
}

/** Each may come with a 400, whose status alone would blame the message. */
const THROTTLED = new Set(['RequestLimitExceeded', 'ThrottledException', 'Throttling', 'ThrottlingException']);
const DENIED = new Set([
  'AccessDenied',
  'AccessDeniedException',
  'ExpiredToken',
  'ExpiredTokenException',
  'IncompleteSignature',
  'IncompleteSignatureException',
  'InvalidClientTokenId',
  'InvalidSignatureException',
  'MissingAuthenticationToken',
  'MissingAuthenticationTokenException',
  'NotAuthorized',
  'OptInRequired',
  'RequestExpired',
  'SignatureDoesNotMatch',
  'UnrecognizedClientException',
]);

export class AwsApi implements AsyncDisposable {
  readonly http: HttpApi;
  readonly #settings: AwsSettings;
  readonly #endpoint: string;
  /** By the signal of the call, which is the one thing of it that the library hands down as it is. */
  readonly #exchanges = new WeakMap<AbortSignal, Promise<Answered | Unanswered>>();

  /** @param host what stands before the region in the service's host name */
  constructor(host: string, settings: AwsSettings, clock: Clock) {
    const { region, secretAccessKey, sessionToken } = settings;
    const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
    this.#settings = settings;
    this.#endpoint = settings.baseUrl ?? `https://${host}.${region}.${domain}`;
    this.http = new HttpApi({ ...settings, baseUrl: this.#endpoint, secrets: [secretAccessKey, sessionToken], clock });
  }

  /** For the client of a service. */
  get clientConfig() {
    const { region, accessKeyId, secretAccessKey, sessionToken } = this.#settings;
    const given =
      accessKeyId === undefined || secretAccessKey === undefined
        ? {}
        : { credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) } };
    return {
      region,
      endpoint: this.#endpoint,
      ...given,
      maxAttempts: 1,
      // The library would take these from the environment, and refuses them beside an endpoint.
      useFipsEndpoint: false,
      useDualstackEndpoint: false,
      requestHandler: {
        handle: (request: LibraryRequest, options: CallOptions) => this.#exchange(request, options.abortSignal),
      },
    };
  }

  /** Never rejects. @param send gives one command to the client, with these options */
  async call<Output>(send: (options: CallOptions) => Promise<Output>, signal: AbortSignal): Promise<AwsResult<Output>> {
    const own = AbortSignal.any([signal]);
    try {
      const output = await this.#unlessAborted(() => send({ abortSignal: own }), own);
      const answer = await this.#exchanges.get(own);
      if (answer?.kind !== 'answered') throw new Error('the library answered without its service');
      return { kind: 'answered', answer, output };
    } catch (thrown) {
      return await this.#failure(thrown, own);
    }
  }

  /** What a refusal means wherever in AWS it comes from. */
  outcomeOf({ answer, name, message }: Refused): SendResult {
    const { status, wait } = answer;
    if (status >= 200 && status < 300) return this.http.unreadable(answer);
    const told = this.http.told(name ?? status, message);
    if (name !== undefined && THROTTLED.has(name)) return { outcome: 'rate_limited', ...told, ...wait };
    if (name !== undefined && DENIED.has(name)) return { outcome: 'provider_error', ...told };
    return this.http.outcomeOf(answer, name, message);
  }

  /** For `Provider.check`. */
  checkOf(result: AwsResult<unknown>): Check {
    if (result.kind === 'answered') return { ok: true, detail: 'the credentials are good' };
    const { code, detail } = result.kind === 'none' ? result.result : this.outcomeOf(result);
    return { ok: false, detail: [code, detail].filter((part) => part !== undefined).join(' ') || 'no answer' };
  }

  async #exchange(request: LibraryRequest, signal: AbortSignal): Promise<LibraryAnswer> {
    const exchange = this.#cleanAnswer(request, signal);
    this.#exchanges.set(signal, exchange);
    const answer = await exchange;
    if (answer.kind === 'unanswered') throw new Error('no answer');
    const headers = Object.entries(answer.headers).map(([name, value]) => [name, singleValue(value) ?? ''] as const);
    const body = Buffer.from(answer.body);
    return { response: { statusCode: answer.status, headers: Object.fromEntries(headers), body } };
  }

  /** The one credential that travels is cut out: AWS repeats the headers that it finds signed wrongly. */
  async #cleanAnswer(request: LibraryRequest, signal: AbortSignal): Promise<Answered | Unanswered> {
    const { method, headers, body } = request;
    const answer = await this.http.call({ method, path: urlOf(request), headers, ...bodyOf(body) }, signal);
    return answer.kind === 'unanswered' ? answer : withoutSecrets(answer, [headers['x-amz-security-token']]);
  }

  /** The library looks for credentials without regard to the signal. From the request on the exchange ends with it. */
  async #unlessAborted<T>(start: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = (): void => {
      if (!this.#exchanges.has(signal)) reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await Promise.race([start(), aborted]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  async #failure(thrown: unknown, own: AbortSignal): Promise<AwsResult<never>> {
    const exchange = await this.#exchanges.get(own);
    if (exchange?.kind === 'unanswered') return { kind: 'none', result: exchange.result };
    if (exchange !== undefined) return { kind: 'refused', answer: exchange, ...errorOf(thrown) };
    // Aborted while the library still looked for credentials. Should it find them, the call is refused by its signal.
    if (own.aborted) return { kind: 'none', result: this.http.unanswered({ kind: 'not_sent', error: own.reason }) };
    // Without a request it is the settings: no credentials are found, or the library can do nothing with them.
    const name = thrown instanceof Error ? thrown.name : undefined;
    const result = { outcome: 'provider_error', ...this.http.told(name, faultOf(thrown).detail) } as const;
    return { kind: 'none', result };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.http[Symbol.asyncDispose]();
  }
}

function urlOf({ protocol, hostname, port, path, query }: LibraryRequest): URL {
  const url = new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value ?? ''].flat()) url.searchParams.append(name, one);
  }
  return url;
}

function bodyOf(body: LibraryRequest['body']): { readonly body?: string | Buffer } {
  if (body === undefined) return {};
  // A view of the bytes: the library's own array warns on the console when it is read as a text.
  return { body: typeof body === 'string' ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength) };
}

/** What is no error of the service's, such as one about its syntax, says nothing that the answer does not. */
function errorOf(thrown: unknown): Pick<Refused, 'name' | 'message'> {
  if (!(thrown instanceof Error) || !('$fault' in thrown) || thrown.name === 'Unknown') return {};
  return { name: thrown.name, message: thrown.message };
}
