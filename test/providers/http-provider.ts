import { expect } from 'chai';
import type { OpenContext, ProviderDefinition } from '../../src/providers/definition.ts';
import type { Message, Provider, SendResult } from '../../src/providers/provider.ts';
import { startHttp, type HttpAnswer, type HttpReaction, type ReceivedRequest } from '../support/start-http.ts';
import { describeProvider, KEY, timeouts, type Behaviour, type Limits, type Rig } from './conformance.ts';
import { openProvider, type GivenSettings } from './open-provider.ts';
import { silentRig } from './rigs.ts';

/** A provider that speaks HTTP, and what its service looks like. */
export interface HttpSubject {
  readonly definition: ProviderDefinition;
  /** Its settings for a service whose API stands at `baseUrl`, which has a path. */
  settings(baseUrl: string): GivenSettings;
  readonly message: Message;
  /** What the service answers when it took the message. */
  readonly accepted: HttpAnswer;
  /** Throws where the request is not as the service wants it: address, credentials, body. Asked for every request. */
  check(request: ReceivedRequest): void;
  /** Stand in the settings, and must not stand in what is told of an answer. */
  readonly credentials: readonly string[];
  /** Each answer of the service with what it means. Beside those that mean the same for everyone. */
  readonly answers: readonly (readonly [string, HttpAnswer, SendResult | ((result: SendResult) => void)])[];
  /** Answers calls that do not send, such as for a token; they are not counted. */
  aside?(request: ReceivedRequest): HttpReaction | undefined;
  readonly context?: Partial<OpenContext>;
  /** Where a 2xx without a readable body still means sent. */
  readonly anyBodyIsSent?: boolean;
  /** What is not there is then no fault of the base URL. */
  readonly pathIsOfRecipient?: boolean;
}

/** In front of every path, as a double such as Prism or a gateway has it. */
const PREFIX = '/double/api';

/** The promises of every provider, and what every HTTP service may do to one. */
export function describeHttpProvider(subject: HttpSubject): void {
  const { definition, message } = subject;
  describeProvider({ name: definition.name, open: (behaviour, limits) => openRig(subject, behaviour, limits) });

  describe(`${definition.name} reads the answers of its service`, () => {
    const notThere = outcome(subject.pathIsOfRecipient ? 'invalid_recipient' : 'provider_error');
    const cases: HttpSubject['answers'] = [
      ['401', { status: 401, body: '{}' }, outcome('provider_error')],
      ['403', { status: 403, body: '{}' }, outcome('provider_error')],
      ['a path that is not there', { status: 404, body: '<html>' }, notThere],
      ['a redirect', { status: 307, headers: { location: '/elsewhere' } }, notThere],
      ['429 without a time', { status: 429, body: '{}' }, outcome('rate_limited')],
      ['429 with seconds', { status: 429, headers: { 'retry-after': '7' }, body: '{}' }, waits(7_000)],
      ['500', { status: 500, body: '{}' }, providerDown],
      ['503', { status: 503, body: '{}' }, providerDown],
      ['503 with seconds', { status: 503, headers: { 'retry-after': '7' }, body: '{}' }, downFor(7_000)],
      ['502', { status: 502, body: '<html>' }, outcome('unknown')],
      ['504', { status: 504, body: '' }, outcome('unknown')],
      ['520, of Cloudflare', { status: 520, body: 'error code: 520' }, outcome('unknown')],
      ['524, of Cloudflare', { status: 524, body: 'error code: 524' }, outcome('unknown')],
      ['413', { status: 413, body: '{}' }, outcome('permanent_failure')],
      ...(subject.anyBodyIsSent
        ? []
        : [['a 200 that is not JSON', { status: 200, body: '<html>hello</html>' }, outcome('unknown')] as const]),
      ...subject.answers,
    ];
    for (const [name, answer, expected] of cases) {
      it(name, async () => {
        const result = await answered(subject, answer);
        if (typeof expected === 'function') expected(result);
        else expect(result).to.deep.include(expected);
      });
    }

    it('an answer that never ends', async () => {
      const answer = { ...subject.accepted, unfinished: true };
      for (const timeoutMs of timeouts()) {
        const { result, taken } = await exchanged(subject, answer, timeoutMs);
        if (!taken) continue;
        notLostOrSent(subject)(result);
        return;
      }
      expect.fail('no request went out');
    });

    it('asks its service in the way it wants to be asked, below the path of the base URL', async () => {
      await using server = await startHttp((request) => subject.aside?.(request) ?? subject.accepted);
      await using provider = await openProvider(definition, subject.settings(server.url + PREFIX), subject.context);
      const result = await provider.send(message, { key: KEY, signal: new AbortController().signal });
      expect(result.outcome).to.equal('sent');
      const [request] = server.requests.filter((one) => subject.aside?.(one) === undefined);
      if (request === undefined) throw new Error('no request arrived');
      expect(request.path).to.match(new RegExp(`^${PREFIX}/`));
      subject.check({ ...request, path: request.path.slice(PREFIX.length) });
    });
  });
}

/** Sends the subject's message to a service that answers so. */
export async function answered(subject: HttpSubject, answer: HttpReaction): Promise<SendResult> {
  return (await exchanged(subject, answer, 20_000)).result;
}

/** The same within a time; and whether the service has got the whole message. */
async function exchanged(
  subject: HttpSubject,
  answer: HttpReaction,
  timeoutMs: number,
): Promise<{ readonly result: SendResult; readonly taken: boolean }> {
  await using server = await startHttp((request) => subject.aside?.(request) ?? answer);
  const settings = { ...subject.settings(server.url + PREFIX), timeout: timeoutMs / 1_000 };
  await using provider = await openProvider(subject.definition, settings, subject.context);
  const result = await provider.send(subject.message, { key: KEY, signal: new AbortController().signal });
  return { result, taken: server.requests.some((request) => subject.aside?.(request) === undefined) };
}

export const outcome =
  (wanted: SendResult['outcome']) =>
  (result: SendResult): void => {
    expect(result.outcome, JSON.stringify(result)).to.equal(wanted);
  };

export const waits =
  (ms: number) =>
  (result: SendResult): void => {
    expect(result).to.include({ outcome: 'rate_limited', retryAfterMs: ms });
  };

/** The provider's own fault: the next one may be asked at once, this one not before its time. */
export const downFor =
  (ms: number) =>
  (result: SendResult): void => {
    expect(result).to.include({ outcome: 'temporary_failure', providerDown: true, retryAfterMs: ms });
  };

export const providerDown = (result: SendResult): void => {
  expect(result).to.include({ outcome: 'temporary_failure', providerDown: true });
};

/** The head said yes and the rest never came: sent where the head is all there is to say, else nobody knows. */
const notLostOrSent =
  ({ anyBodyIsSent }: HttpSubject) =>
  (result: SendResult): void => {
    expect(result.outcome).to.be.oneOf(anyBodyIsSent ? ['sent', 'unknown'] : ['unknown', 'sent']);
  };

async function openRig(subject: HttpSubject, behaviour: Behaviour, limits: Limits): Promise<Rig<Message>> {
  const open = (url: string): Promise<Provider> =>
    openProvider(subject.definition, limited(subject, url, limits), subject.context);
  if (behaviour === 'silent_before')
    return await silentRig(async (url) => ({ provider: await open(url), message: subject.message }));
  const credentials = subject.credentials.join(' and ');
  const reactions: Readonly<Record<Exclude<Behaviour, 'silent_before'>, HttpReaction>> = {
    accept: subject.accepted,
    absent: 'hang',
    silent_after: 'hang',
    reset_after: 'reset',
    echo_credentials: { status: 400, body: `${credentials} are wrong` },
  };
  const server = await startHttp((request) => subject.aside?.(request) ?? reactions[behaviour]);
  const sends = (): number => server.requests.filter((request) => subject.aside?.(request) === undefined).length;
  const provider = await open(server.url);
  if (behaviour === 'absent') await server[Symbol.asyncDispose]();
  const arrived = async (): Promise<void> => {
    for (let count = 1; sends() === 0; count = server.requests.length + 1) await server.arrived(count);
  };
  return {
    provider,
    message: subject.message,
    credentials: subject.credentials,
    connected: arrived,
    arrived,
    get taken() {
      return sends();
    },
    async [Symbol.asyncDispose]() {
      await provider[Symbol.asyncDispose]();
      if (behaviour !== 'absent') await server[Symbol.asyncDispose]();
    },
  };
}

const limited = (subject: HttpSubject, url: string, { timeoutMs, maxConcurrent }: Limits): GivenSettings => ({
  ...subject.settings(url + PREFIX),
  timeout: timeoutMs / 1_000,
  maxConcurrent,
});
