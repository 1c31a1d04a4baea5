import { expect } from 'chai';
import type { Message } from '../../../src/providers/provider.ts';
import { startApns, type ApnsReaction } from '../../support/start-apns.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';
import { describeProvider, KEY, type Behaviour, type Limits, type Rig } from '../conformance.ts';
import { push } from '../messages.ts';
import { servedRig } from '../rigs.ts';
import { ACCEPTED, bearer, call, KEY_FILE, MESSAGE, open, reason, sent, TOKEN, verify } from './apns-rig.ts';

async function openRig(behaviour: Behaviour, { timeoutMs, maxConcurrent }: Limits): Promise<Rig<Message>> {
  const reactions: Readonly<Record<Behaviour, ApnsReaction>> = {
    accept: ACCEPTED,
    absent: 'hang',
    silent_before: 'hang',
    silent_after: 'hang',
    reset_after: 'reset',
    echo_credentials: { status: 400, body: `${KEY_FILE} is wrong` },
  };
  const server = await startApns(() => reactions[behaviour]);
  if (behaviour === 'silent_before') server.deaf = true;
  const provider = await open(server, { timeout: timeoutMs / 1_000, maxConcurrent });
  return await servedRig(server, behaviour, { provider, message: MESSAGE, credentials: [KEY_FILE] });
}

describeProvider({ name: 'apns over HTTP/2', open: openRig });

describe('apns over HTTP/2', () => {
  it('is sent with a token that the public key proves, for the whole notification', async () => {
    const { result, server } = await sent(() => ACCEPTED);
    expect(result).to.include({ outcome: 'sent', messageId: KEY });
    const [request] = server.requests;
    expect(request?.path).to.equal(`/3/device/${TOKEN}`);
    expect(request?.headers).to.include({ ':method': 'POST', 'apns-topic': 'org.example.shop', 'apns-id': KEY });
    await verify(request?.headers.authorization);
  });

  it('uses one connection and one token for many notifications', async () => {
    await using server = await startApns(() => ACCEPTED);
    await using provider = await open(server);
    const results = await Promise.all(Array.from({ length: 60 }, () => provider.send(MESSAGE, call())));
    expect(new Set(results.map((result) => result.outcome))).to.deep.equal(new Set(['sent']));
    expect(new Set(server.requests.map((request) => request.connection)).size).to.equal(1);
    expect(new Set(server.requests.map((request) => request.headers.authorization)).size).to.equal(1);
  });

  it('leaves the other notifications of a connection alone when one is aborted', async () => {
    await using server = await startApns((request) => (request.path.endsWith('510') ? 'hang' : ACCEPTED));
    await using provider = await open(server);
    const controller = new AbortController();
    const slow = push({ kind: 'apns', token: '510' });
    const aborted = provider.send(slow, { key: KEY, signal: controller.signal });
    const other = provider.send(slow, call());
    await server.arrived(2);
    controller.abort();
    expect((await aborted).outcome).to.equal('unknown');
    expect((await provider.send(MESSAGE, call())).outcome).to.equal('sent');
    expect(new Set(server.requests.map((request) => request.connection)).size).to.equal(1);
    await provider[Symbol.asyncDispose]();
    expect((await other).outcome).to.equal('unknown');
  });

  it('leaves a connection behind whose path is gone without a word', async () => {
    await using server = await startApns(() => ACCEPTED);
    await using proxy = await startTcpProxy(Number(new URL(server.url).port));
    await using provider = await open(server, { baseUrl: `https://127.0.0.1:${proxy.port}`, timeout: 0.5 });
    expect((await provider.send(MESSAGE, call())).outcome).to.equal('sent');
    proxy.mode('forget');
    expect((await provider.send(MESSAGE, call())).outcome).to.equal('unknown');
    expect((await provider.send(MESSAGE, call())).outcome).to.equal('sent');
  });

  it('is a temporary failure when the stream is refused, as nothing was processed', async () => {
    const { result } = await sent(() => 'refuse');
    expect(result).to.include({ outcome: 'temporary_failure', providerDown: true });
  });

  it('goes out over a new connection when the old one goes away without having processed it', async () => {
    await using server = await startApns(() => (server.requests.length === 2 ? 'go_away' : ACCEPTED));
    await using provider = await open(server);
    await provider.send(MESSAGE, call());
    expect((await provider.send(MESSAGE, call())).outcome).to.equal('sent');
    expect(server.requests.map((request) => request.connection)).to.deep.equal([1, 1, 2]);
  });

  it('is a temporary failure when the connection goes away so and there is no other', async () => {
    await using server = await startApns(() => (server.requests.length === 2 ? 'go_for_good' : ACCEPTED));
    await using provider = await open(server);
    await provider.send(MESSAGE, call());
    expect(await provider.send(MESSAGE, call())).to.include({ outcome: 'temporary_failure', providerDown: true });
    expect(server.requests).to.have.length(2);
  });

  it('does not trust a certificate of its own making', async () => {
    await using server = await startApns(() => ACCEPTED);
    await using provider = await open(server, { caFile: '' });
    expect(await provider.send(MESSAGE, call())).to.include({ outcome: 'temporary_failure', providerDown: true });
  });
});

describe('the provider token of apns', () => {
  const expired = reason(403, 'ExpiredProviderToken');

  it('is made anew once when APNs calls it expired', async () => {
    const answers = [expired, ACCEPTED];
    const { result, server } = await sent(() => answers.shift() ?? 'reset');
    expect(result.outcome).to.equal('sent');
    const [first, second, ...more] = server.requests.map((request) => request.headers.authorization);
    expect(more).to.be.empty;
    expect(second).not.to.equal(first);
    await verify(second);
  });

  it('is not made anew twice for one notification', async () => {
    const { result, server } = await sent(() => expired);
    expect(result).to.include({ outcome: 'provider_error', code: 'ExpiredProviderToken' });
    expect(server.requests).to.have.length(2);
  });

  it('is made anew once for all that were refused with it', async () => {
    let first: string | undefined;
    await using server = await startApns(({ headers }) => {
      first ??= headers.authorization;
      return headers.authorization === first ? expired : ACCEPTED;
    });
    await using provider = await open(server);
    const results = await Promise.all(Array.from({ length: 20 }, () => provider.send(MESSAGE, call())));
    expect(new Set(results.map((result) => result.outcome))).to.deep.equal(new Set(['sent']));
    expect(new Set(server.requests.map((request) => request.headers.authorization)).size).to.equal(2);
  });

  it('is not shown when an answer repeats it', async () => {
    const { result, server } = await sent(({ headers }) => ({
      status: 400,
      body: `what is ${headers.authorization}?`,
    }));
    expect(result.detail).to.be.a('string').that.is.not.empty;
    expect(result.detail).not.to.contain(bearer(server.requests[0]?.headers.authorization));
  });
});
