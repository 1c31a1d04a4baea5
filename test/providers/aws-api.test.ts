import { expect } from 'chai';
import { systemClock } from '../../src/domain/clock.ts';
import { AwsApi } from '../../src/providers/aws-api.ts';
import { sns } from '../../src/providers/sms/sns.ts';
import { startHttp } from '../support/start-http.ts';
import { KEY } from './conformance.ts';
import { sms } from './messages.ts';
import { openProvider } from './open-provider.ts';

const SETTINGS = {
  region: 'eu-west-1',
  accessKeyId: undefined,
  secretAccessKey: undefined,
  sessionToken: undefined,
  baseUrl: undefined,
  timeout: 5_000,
  maxConcurrent: 5,
  caFile: undefined,
};

const never = (): AbortSignal => new AbortController().signal;

function openAws(given: Partial<{ region: string; baseUrl: string }> = {}): AwsApi {
  return new AwsApi('email', { ...SETTINGS, ...given }, systemClock);
}

describe('a call of AWS', () => {
  for (const [region, endpoint] of [
    ['eu-west-1', 'https://email.eu-west-1.amazonaws.com'],
    ['us-gov-west-1', 'https://email.us-gov-west-1.amazonaws.com'],
    ['cn-north-1', 'https://email.cn-north-1.amazonaws.com.cn'],
  ] as const) {
    it(`goes to the address of its region: ${region}`, async () => {
      await using aws = openAws({ region });
      expect(aws.clientConfig.endpoint).to.equal(endpoint);
    });
  }

  it('ends with its signal while the library still looks for credentials, and nothing leaves later', async () => {
    await using server = await startHttp();
    await using aws = openAws({ baseUrl: server.url });
    const found = Promise.withResolvers<void>();
    const controller = new AbortController();
    const { handle } = aws.clientConfig.requestHandler;
    const late = Promise.withResolvers<unknown>();
    const calling = aws.call(async (options) => {
      await found.promise;
      const url = new URL(server.url);
      const request = { protocol: url.protocol, hostname: url.hostname, port: Number(url.port), path: '/', query: {} };
      late.resolve(await handle({ ...request, method: 'GET', headers: {} }, options).catch((error: unknown) => error));
    }, controller.signal);
    controller.abort();
    const result = await calling;
    expect(result).to.have.nested.include({ kind: 'none', 'result.outcome': 'temporary_failure' });
    found.resolve();
    expect(await late.promise).to.be.instanceOf(Error);
    expect(server.requests).to.be.empty;
  });

  it('does not blame the message where the library finds no credentials', async () => {
    await using aws = openAws();
    const error = Object.assign(new Error('nowhere'), { name: 'CredentialsProviderError' });
    const result = await aws.call(() => Promise.reject(error), never());
    expect(result).to.deep.equal({
      kind: 'none',
      result: { outcome: 'provider_error', code: 'CredentialsProviderError', detail: 'nowhere' },
    });
  });

  describe('without a configured key', () => {
    const FOUND = {
      AWS_ACCESS_KEY_ID: 'AKIDFOUND',
      AWS_SECRET_ACCESS_KEY: 'found',
      AWS_SESSION_TOKEN: 'found-session',
    };
    const before = Object.keys(FOUND).map((name) => [name, process.env[name]] as const);

    beforeEach(() => {
      Object.assign(process.env, FOUND);
    });

    afterEach(() => {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    });

    it('is signed with what the library finds', async () => {
      await using server = await startHttp();
      await using provider = await openProvider(sns, { region: 'eu-west-1', baseUrl: server.url });
      await provider.send(sms(), { key: KEY, signal: never() });
      expect(server.requests[0]?.headers).to.include({ 'x-amz-security-token': 'found-session' });
      expect(server.requests[0]?.headers.authorization).to.contain('Credential=AKIDFOUND/');
    });

    it('shows nothing of what the library found', async () => {
      await using server = await startHttp(({ headers }) => ({
        status: 403,
        body: `<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>token ${String(headers['x-amz-security-token'])}</Message></Error></ErrorResponse>`,
      }));
      await using provider = await openProvider(sns, { region: 'eu-west-1', baseUrl: server.url });
      const result = await provider.send(sms(), { key: KEY, signal: never() });
      expect(result).to.include({ outcome: 'provider_error', detail: 'token [redacted]' });
    });
  });
});
