/**
 * apns2 writes each request and keeps the provider token; the request goes out through HttpApi. The connection of apns2
 * has no time limit, cannot be aborted, hides whether a request has left, and always goes to port 443.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ApnsClient, Notification } from 'apns2';
import { withoutSecrets, type Answered, type HttpApi, type Unanswered } from '../http-api.ts';
import { textOf } from '../json.ts';
import type { Call } from '../provider.ts';

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
export async function connectThrough(api: HttpApi, client: ApnsClient): Promise<Post> {
  // apns2 hands its connection a request, without what was handed to itself.
  const exchanges = new AsyncLocalStorage<Exchange>();
  let newest: string | undefined;

  const request = async ({ path, headers, body }: BuiltRequest): Promise<ToldAnswer> => {
    const exchange = exchanges.getStore();
    if (exchange === undefined) throw new Error('a request that nobody has asked for');
    const { authorization = '' } = headers;
    newest = authorization;
    const { key, signal } = exchange.call;
    const given = await api.call({ method: 'POST', path, headers: { ...headers, 'apns-id': key }, body }, signal);
    // The token goes with the request, and must not stand in what is told of the answer.
    const secrets = [authorization, authorization.replace(/^bearer /, '')];
    const answer = given.kind === 'answered' ? withoutSecrets(given, secrets) : given;
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
