import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import type { OpenContext } from '../../../src/providers/definition.ts';
import { fcm } from '../../../src/providers/push/fcm.ts';
import type { Provider, SendResult } from '../../../src/providers/provider.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { startHttp, type HttpReaction, type ReceivedRequest, type StartedHttp } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { push } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';
import {
  ACCESS_TOKEN,
  accountFile,
  claimsOf,
  CLIENT_EMAIL,
  fcmError,
  grant,
  isTokenRequest,
  settingsAt,
} from './fcm-service.ts';

const MESSAGE = push({ kind: 'fcm_token', token: 'device-token-1' });
const ACCEPTED = { status: 200, body: '{"name":"projects/shop-1/messages/1"}' };
const UNAUTHENTICATED = fcmError({ status: 401, code: 'UNAUTHENTICATED' });
const never = (): AbortSignal => new AbortController().signal;

const send = (provider: Provider, signal: AbortSignal = never()): Promise<SendResult> =>
  provider.send(MESSAGE, { key: KEY, signal });

interface Rig extends AsyncDisposable {
  readonly server: StartedHttp;
  readonly provider: Provider;
  readonly tokenRequests: readonly ReceivedRequest[];
  /** The authorization of each message. */
  readonly bearers: readonly (string | undefined)[];
}

async function open(
  onToken: (request: ReceivedRequest) => HttpReaction,
  onSend: (request: ReceivedRequest) => HttpReaction = () => ACCEPTED,
  given: { readonly settings?: GivenSettings; readonly context?: Partial<OpenContext> } = {},
): Promise<Rig> {
  const server = await startHttp((request) => (isTokenRequest(request) ? onToken(request) : onSend(request)));
  const provider = await openProvider(fcm, { ...settingsAt(server.url), ...given.settings }, given.context);
  return {
    server,
    provider,
    get tokenRequests() {
      return server.requests.filter(isTokenRequest);
    },
    get bearers() {
      return server.requests.filter((one) => !isTokenRequest(one)).map(({ headers }) => headers.authorization);
    },
    async [Symbol.asyncDispose]() {
      await provider[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A different token each time. */
function countedGrants(): (request: ReceivedRequest) => HttpReaction {
  let count = 0;
  return (request) => {
    count += 1;
    return grant(request, `token-${count}-0123456789`);
  };
}

describe('fcm gets its access token', () => {
  it('for the account, the scope of messaging and at most an hour', async () => {
    const clock = new ManualClock();
    await using rig = await open((request) => grant(request), undefined, { context: { clock } });
    expect((await send(rig.provider)).outcome).to.equal('sent');
    const [request] = rig.tokenRequests;
    if (request === undefined) throw new Error('no request for a token');
    const iat = Math.floor(clock.now() / 1_000);
    expect(request.headers['content-type']).to.equal('application/x-www-form-urlencoded');
    expect(claimsOf(request)).to.deep.equal({
      iss: CLIENT_EMAIL,
      scope: 'https://www.googleapis.com/auth/firebase.messaging',
      aud: `${rig.server.url}/token`,
      iat,
      exp: iat + 3_600,
    });
  });

  it('once for calls at the same time and after', async () => {
    await using rig = await open(countedGrants());
    const results = await Promise.all(Array.from({ length: 10 }, () => send(rig.provider)));
    results.push(await send(rig.provider));
    expect(results.map(({ outcome }) => outcome)).to.deep.equal(Array.from({ length: 11 }, () => 'sent'));
    expect(rig.tokenRequests).to.have.lengthOf(1);
  });

  it('anew before the old one ends', async () => {
    const clock = new ManualClock();
    await using rig = await open(countedGrants(), undefined, { context: { clock } });
    await send(rig.provider);
    await clock.advance(3_200_000);
    await send(rig.provider);
    await clock.advance(100_000);
    await send(rig.provider);
    const [first, second] = ['Bearer token-1-0123456789', 'Bearer token-2-0123456789'];
    expect(rig.bearers).to.deep.equal([first, first, second]);
  });

  it('anew when the service refuses it, and sends the message with the new one', async () => {
    await using rig = await open(countedGrants(), ({ headers }) =>
      headers.authorization === 'Bearer token-2-0123456789' ? ACCEPTED : UNAUTHENTICATED,
    );
    expect((await send(rig.provider)).outcome).to.equal('sent');
    expect((await send(rig.provider)).outcome).to.equal('sent');
    expect(rig.tokenRequests).to.have.lengthOf(2);
  });

  it('anew only once for a message', async () => {
    await using rig = await open(countedGrants(), () => UNAUTHENTICATED);
    expect((await send(rig.provider)).outcome).to.equal('provider_error');
    expect(rig.bearers).to.have.lengthOf(2);
  });

  it('not anew when it is APNs that refuses FCM', async () => {
    await using rig = await open(countedGrants(), () =>
      fcmError({ status: 401, code: 'UNAUTHENTICATED', errorCode: 'THIRD_PARTY_AUTH_ERROR' }),
    );
    expect((await send(rig.provider)).outcome).to.equal('provider_error');
    expect(rig.bearers).to.have.lengthOf(1);
  });
});

describe('fcm without an access token has sent nothing', () => {
  const rows: readonly (readonly [string, HttpReaction, SendResult['outcome'], boolean?])[] = [
    ['invalid_grant', { status: 400, body: '{"error":"invalid_grant"}' }, 'provider_error'],
    ['a 401', { status: 401, body: '{"error":"invalid_client"}' }, 'provider_error'],
    ['a 403', { status: 403, body: '{}' }, 'provider_error'],
    ['a redirect', { status: 302, headers: { location: '/' } }, 'provider_error'],
    ['a 429', { status: 429, body: '{}' }, 'rate_limited'],
    ['a 500', { status: 500, body: '{}' }, 'temporary_failure', true],
    ['a 502', { status: 502, body: '{}' }, 'temporary_failure', true],
    ['a 200 that is no token', { status: 200, body: '<html>' }, 'temporary_failure', true],
    ['a token without a lifetime', { status: 200, body: '{"access_token":"abcdef"}' }, 'temporary_failure', true],
    ['a broken connection', 'reset', 'temporary_failure', true],
    ['no answer in time', 'hang', 'temporary_failure', true],
  ];
  for (const [what, reaction, wanted, down] of rows) {
    it(`after ${what}`, async () => {
      await using rig = await open(
        () => reaction,
        () => ACCEPTED,
        { settings: { timeout: reaction === 'hang' ? 0.3 : 20 } },
      );
      const result = await send(rig.provider);
      expect(result, JSON.stringify(result)).to.include({
        outcome: wanted,
        ...(down === undefined ? {} : { providerDown: down }),
      });
      expect(rig.bearers).to.be.empty;
    });
  }

  it('and asks again with the next message', async () => {
    let up = false;
    await using rig = await open((request) => (up ? grant(request) : { status: 500 }));
    expect((await send(rig.provider)).outcome).to.equal('temporary_failure');
    up = true;
    expect((await send(rig.provider)).outcome).to.equal('sent');
  });

  it('when it is aborted while it waits, and leaves the request to the others', async () => {
    const asked = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const server = createServer((request, response) => {
      const answer = async (): Promise<void> => {
        if (request.url !== '/token') return void response.end(ACCEPTED.body);
        asked.resolve();
        await release.promise;
        response.end(JSON.stringify({ access_token: ACCESS_TOKEN, expires_in: 3_599 }));
      };
      answer().catch(() => response.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const provider = await openProvider(fcm, settingsAt(`http://127.0.0.1:${port}`));
    const aborted = new AbortController();
    const first = send(provider, aborted.signal);
    const second = send(provider);
    await asked.promise;
    aborted.abort();
    expect((await first).outcome).to.equal('temporary_failure');
    release.resolve();
    expect((await second).outcome).to.equal('sent');
    await provider[Symbol.asyncDispose]();
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  it('when the provider is disposed meanwhile', async () => {
    await using rig = await open(() => 'hang', undefined, { settings: { timeout: 20 } });
    const running = send(rig.provider);
    await rig.server.arrived(1);
    await rig.provider[Symbol.asyncDispose]();
    expect((await running).outcome).to.equal('temporary_failure');
  });

  it('and tells no assertion and no token', async () => {
    await using rig = await open(({ body }) => ({
      status: 400,
      body: `${new URLSearchParams(body).get('assertion')} is bad`,
    }));
    const refusal = await send(rig.provider);
    const [request] = rig.tokenRequests;
    const assertion = new URLSearchParams(request?.body).get('assertion') ?? '';
    expect(assertion).not.to.equal('');
    expect(refusal.detail).to.be.a('string').that.does.not.contain(assertion.slice(0, 100));
    rig.server.react = () => ({ status: 200, body: `{"access_token":"${ACCESS_TOKEN}"}` });
    expect((await send(rig.provider)).detail)
      .to.be.a('string')
      .that.does.not.contain(ACCESS_TOKEN);
  });
});

describe('fcm checks its credentials', () => {
  it('by an access token, and sends nothing', async () => {
    await using rig = await open((request) => grant(request));
    const check = await rig.provider.check?.(never());
    expect(check?.ok).to.be.true;
    expect(check?.detail).to.contain(CLIENT_EMAIL).and.not.to.contain(ACCESS_TOKEN);
    expect(rig.tokenRequests).to.have.lengthOf(1);
    expect(rig.bearers).to.be.empty;
  });

  it('anew each time', async () => {
    await using rig = await open((request) => grant(request));
    await rig.provider.check?.(never());
    rig.server.react = () => ({ status: 400, body: '{"error":"invalid_grant"}' });
    const check = await rig.provider.check?.(never());
    expect(check?.ok).to.be.false;
    expect(check?.detail).to.contain('invalid_grant');
  });
});

describe('fcm finds the faults of its configuration', () => {
  const faults = (given: GivenSettings): readonly string[] =>
    fcm.configure((name) => given[name] ?? fcm.settings[name]?.fallback ?? '').faults({});
  const ecKey = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  }).privateKey;
  const shortKey = generateKeyPairSync('rsa', {
    modulusLength: 1_024,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  }).privateKey;

  it('none in the file of a service account', () => {
    expect(faults({ serviceAccountFile: accountFile() })).to.be.empty;
  });

  it('none in a file without a project when the project is given', () => {
    const serviceAccountFile = accountFile({ project_id: undefined });
    expect(faults({ serviceAccountFile, projectId: 'shop-2' })).to.be.empty;
  });

  for (const [what, file] of [
    ['a file that is not JSON', '-----BEGIN PRIVATE KEY-----'],
    ['JSON of something else', '[]'],
    ['no client_email', accountFile({ client_email: undefined })],
    ['no private_key', accountFile({ private_key: undefined })],
    ['a key that cannot be read', accountFile({ private_key: 'secret-of-the-shop' })],
    ['a key that is not RSA', accountFile({ private_key: ecKey })],
    ['a key that is too short', accountFile({ private_key: shortKey })],
    ['no project anywhere', accountFile({ project_id: undefined })],
  ] as const) {
    it(what, () => {
      const found = faults({ serviceAccountFile: file });
      expect(found).to.have.lengthOf(1);
      expect(found[0]).not.to.contain('BEGIN').and.not.to.contain('secret-of-the-shop');
    });
  }

  it('uses the project that is given before that of the account', async () => {
    await using rig = await open((request) => grant(request), undefined, { settings: { projectId: 'shop-2' } });
    await send(rig.provider);
    expect(rig.server.requests.at(-1)?.path).to.equal('/v1/projects/shop-2/messages:send');
  });
});
