/**
 * apns2 writes each request and keeps the provider token; the request goes out through HttpApi. The connection of apns2
 * has no time limit, cannot be aborted, hides whether a request has left, and always goes to port 443.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ApnsClient, Notification } from 'apns2';
import type { Clock } from '../../domain/clock.ts';
import { singleValue, type Answered, type HttpApi, type Unanswered } from '../http-api.ts';
import type { HttpResult } from '../http-call.ts';
import { textOf } from '../json.ts';
import { parseJson } from '../parse-json.ts';
import type { Call } from '../provider.ts';
import { redactor } from '../redact.ts';
import { retryAfterMs } from '../retry-after.ts';

/** Sends one notification, with the call's key as its `apns-id`. Never rejects while the key can sign. */
export type Post = (notification: Notification, call: Call) => Promise<Answered | Unanswered>;

/** What apns2 asks of its connection. */
interface BuiltRequest {
  /** `/3/device/<token>`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** As much of an answer as apns2 acts on. */
interface ToldAnswer {
  readonly statusCode: number;
  readonly body: { json(): Promise<unknown> };
}

interface Exchange {
  readonly call: Call;
  answer?: Answered | Unanswered;
  tokenExpired: boolean;
}

const EXPIRED = 'ExpiredProviderToken';
const told = (statusCode: number, body: unknown): ToldAnswer => ({
  statusCode,
  body: { json: () => Promise.resolve(body) },
});

/** Takes the place of the client's connection; from then on the client must not be used but through what is returned. */
export async function connectThrough(api: HttpApi, client: ApnsClient, clock: Clock): Promise<Post> {
  // apns2 hands its connection a request, without what was handed to itself.
  const exchanges = new AsyncLocalStorage<Exchange>();
  let newest: string | undefined;

  const request = async ({ path, headers, body }: BuiltRequest): Promise<ToldAnswer> => {
    const exchange = exchanges.getStore();
    if (exchange === undefined) throw new Error('a request that nobody has asked for');
    const { authorization = '' } = headers;
    newest = authorization;
    const built = {
      url: api.urlOf(path),
      method: 'POST',
      headers: { ...headers, 'apns-id': exchange.call.key },
      body,
    } as const;
    const answer = read(api, await api.raw(built, exchange.call.signal), authorization, clock);
    exchange.answer = answer;
    exchange.tokenExpired = answer.kind === 'answered' && textOf(answer.json, 'reason') === EXPIRED;
    // Being told so, apns2 drops its token. The calls under way with it would each drop the one after it as well, and APNs
    // refuses tokens that change more often than every 20 minutes (TooManyProviderTokenUpdates).
    return exchange.tokenExpired && authorization === newest ? told(403, { reason: EXPIRED }) : told(200, undefined);
  };

  await client.client.destroy();
  Object.assign(client, { client: { request } });

  const post = async (notification: Notification, call: Call): Promise<Exchange> => {
    const exchange: Exchange = { call, tokenExpired: false };
    try {
      await exchanges.run(exchange, () => client.send(notification));
    } catch (thrown) {
      // What apns2 makes of an expired token; the answer itself says more.
      if (!exchange.tokenExpired) throw thrown;
    }
    return exchange;
  };

  return async (notification, call) => {
    const first = await post(notification, call);
    const { answer } = first.tokenExpired ? await post(notification, call) : first;
    if (answer === undefined) throw new Error('apns2 has sent nothing');
    return answer;
  };
}

/** @param authorization goes with the request, and must not stand in what is told of the answer */
function read(api: HttpApi, result: HttpResult, authorization: string, clock: Clock): Answered | Unanswered {
  if (result.kind !== 'answered') return { kind: 'unanswered', result: api.unanswered(result) };
  const { status, headers } = result;
  const body = redactor([authorization, authorization.replace(/^bearer /, '')])(result.body);
  const retryAfter = retryAfterMs(singleValue(headers['retry-after']), clock.now());
  return { kind: 'answered', status, headers, body, json: parseJson(body), retryAfter };
}
