import { expect } from 'chai';
import { CHANNELS, type Channel } from '../../src/domain/notification.ts';
import { CarillonError } from '../../src/errors.ts';
import { openProviders, providersFor, type RouteEntry } from '../../src/providers/registry.ts';
import { startSmtp } from '../support/start-smtp.ts';
import { KEY } from './conformance.ts';
import { email, webhook } from './messages.ts';

type Given = Readonly<Record<Channel, readonly RouteEntry[]>>;

const NONE: Given = { email: [], sms: [], push: [], webhook: [], in_app: [], slack: [], discord: [] };
const smtpAt = (port: number, name: string): RouteEntry => ({
  provider: 'smtp',
  options: { name, host: '127.0.0.1', port, from: { email: 'shop@example.org' } },
});
const call = { key: KEY, signal: new AbortController().signal };

async function failure(routes: Given): Promise<unknown> {
  return await openProviders(routes).catch((error: unknown) => error);
}

describe('the providers of a configuration', () => {
  it('are opened in the order of each route, with their own options', async () => {
    await using routes = await openProviders({
      ...NONE,
      email: [smtpAt(1, 'first'), smtpAt(2, 'second'), { provider: 'capture', options: {} }],
      webhook: [{ provider: 'http', options: {} }],
    });
    expect(routes.for('email').map(({ name }) => name)).to.deep.equal(['first', 'second', 'capture']);
    expect(routes.for('webhook').map(({ name }) => name)).to.deep.equal(['http']);
    expect(routes.for('sms')).to.be.empty;
  });

  it('capture on every channel', async () => {
    const captured = CHANNELS.map((channel) => [channel, [{ provider: 'capture', options: {} }]]);
    await using routes = await openProviders(Object.fromEntries(captured) as Given);
    for (const channel of CHANNELS) {
      expect(routes.for(channel).map((provider) => provider.channel)).to.deep.equal([channel]);
    }
  });

  it('are disposed together', async () => {
    await using server = await startSmtp();
    const routes = await openProviders({ ...NONE, email: [smtpAt(server.port, 'smtp')] });
    const [smtp] = routes.for('email');
    await routes[Symbol.asyncDispose]();
    expect((await smtp?.send(email(), call))?.outcome).to.equal('temporary_failure');
    expect(server.connections).to.equal(0);
  });

  for (const [what, routes] of [
    ['that does not exist', { ...NONE, sms: [{ provider: 'carrier-pigeon', options: {} }] }],
    ['of another channel', { ...NONE, sms: [smtpAt(1, 'smtp')] }],
    ['named like something every object has', { ...NONE, sms: [{ provider: 'constructor', options: {} }] }],
  ] as const) {
    it(`are refused with one ${what}`, async () => {
      const thrown = await failure(routes);
      expect(thrown).to.be.instanceOf(CarillonError).that.includes({ reason: 'INVALID_FIELD' });
    });
  }

  it('can be listed for a channel', () => {
    expect(providersFor('email')).to.have.members(['smtp', 'capture']);
    expect(providersFor('in_app')).to.have.members(['store', 'capture']);
  });
});

describe('capture', () => {
  it('takes any message under its key', async () => {
    await using routes = await openProviders({ ...NONE, webhook: [{ provider: 'capture', options: {} }] });
    const [capture] = routes.for('webhook');
    expect(await capture?.send(webhook('http://127.0.0.1:1/'), call)).to.deep.equal({
      outcome: 'sent',
      messageId: KEY,
    });
  });
});

describe('the in-app store', () => {
  it('is sent as soon as the row is there', async () => {
    await using routes = await openProviders({ ...NONE, in_app: [{ provider: 'store', options: {} }] });
    const [store] = routes.for('in_app');
    const { notificationId, type, tenant, priority } = email();
    const message = { notificationId, type, tenant, priority, channel: 'in_app', to: 'user-1', text: 'Hello' } as const;
    expect((await store?.send(message, call))?.outcome).to.equal('sent');
  });
});
