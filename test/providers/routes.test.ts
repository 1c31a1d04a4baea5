import { expect } from 'chai';
import { systemClock } from '../../src/domain/clock.ts';
import { CHANNELS, type Channel } from '../../src/domain/notification.ts';
import { capture } from '../../src/providers/capture.ts';
import { defineProvider, type OpenContext, type ProviderDefinition } from '../../src/providers/definition.ts';
import { store } from '../../src/providers/in-app/store.ts';
import type { Message } from '../../src/providers/provider.ts';
import * as registry from '../../src/providers/registry.ts';
import { openRoutes, type RouteConfig } from '../../src/providers/routes.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { KEY } from './conformance.ts';
import { chat, email, push, sms, webhook } from './messages.ts';
import { openProvider } from './open-provider.ts';

type Given = Readonly<Record<Channel, readonly RouteConfig[]>>;

const NONE: Given = { email: [], sms: [], push: [], webhook: [], in_app: [], slack: [], discord: [] };
const CONTEXT = { senders: {}, clock: systemClock };
const call = { key: KEY, signal: new AbortController().signal };

/** Definitions whose providers write down what becomes of them. */
class Recorder {
  readonly opened: OpenContext[] = [];
  readonly closed: string[] = [];

  route(name: string, place: Partial<RouteConfig> = {}): RouteConfig {
    const definition = defineProvider({
      name,
      channels: CHANNELS,
      doc: '',
      settings: {},
      open: (_settings, context) => {
        this.opened.push(context);
        if (name === 'broken') throw new Error('cannot be opened');
        return {
          name,
          channel: context.channel,
          send: async () => ({ outcome: 'sent' }),
          [Symbol.asyncDispose]: async () => {
            this.closed.push(name);
          },
        };
      },
    });
    return { provider: name, weight: 0, configured: definition.configure(() => ''), ...place };
  }
}

describe('the providers of a configuration', () => {
  it('are opened in the order of each list, with their place in it', async () => {
    const recorder = new Recorder();
    const first = recorder.route('first', { weight: 3, limit: { perMinute: 60, burst: 2 }, maxPerDay: 1_000 });
    await using routes = await openRoutes(
      { ...NONE, email: [first, recorder.route('second')], sms: [recorder.route('third')] },
      CONTEXT,
    );
    expect(routes.for('email').map(({ provider }) => provider.name)).to.deep.equal(['first', 'second']);
    expect(routes.for('sms').map(({ provider }) => provider.name)).to.deep.equal(['third']);
    expect(routes.for('push')).to.be.empty;
    const [place, other] = routes.for('email');
    expect(place).to.deep.include({ weight: 3, limit: { perMinute: 60, burst: 2 }, maxPerDay: 1_000 });
    expect(other).to.have.all.keys('weight', 'provider');
  });

  it('are told who sends, what time it is, and where they can be called back', async () => {
    const recorder = new Recorder();
    const context = {
      senders: { sms: '+15550000001' },
      clock: new ManualClock(),
      publicUrl: 'https://notify.test/base',
    };
    await using _routes = await openRoutes({ ...NONE, sms: [recorder.route('one')] }, context);
    expect(recorder.opened).to.deep.equal([
      {
        name: 'one',
        channel: 'sms',
        senders: context.senders,
        clock: context.clock,
        callbackUrl: 'https://notify.test/base/callbacks/one',
      },
    ]);
  });

  it('are not told to call back where nobody outside reaches the service', async () => {
    const recorder = new Recorder();
    await using _routes = await openRoutes({ ...NONE, sms: [recorder.route('one')] }, CONTEXT);
    expect(recorder.opened[0]).to.not.have.property('callbackUrl');
  });

  it('are opened once for each channel that names them', async () => {
    const recorder = new Recorder();
    const route = recorder.route('one');
    await using routes = await openRoutes({ ...NONE, sms: [route], push: [route] }, CONTEXT);
    expect(recorder.opened.map(({ channel }) => channel)).to.deep.equal(['sms', 'push']);
    for (const channel of ['sms', 'push'] as const) {
      expect(routes.for(channel).map(({ provider }) => provider.channel)).to.deep.equal([channel]);
    }
  });

  it('are closed together, the last one first', async () => {
    const recorder = new Recorder();
    const routes = await openRoutes({ ...NONE, sms: [recorder.route('one'), recorder.route('two')] }, CONTEXT);
    expect(recorder.closed).to.be.empty;
    await routes[Symbol.asyncDispose]();
    expect(recorder.closed).to.deep.equal(['two', 'one']);
  });

  it('are closed again when one of them cannot be opened, which is told', async () => {
    const recorder = new Recorder();
    const names = ['one', 'broken', 'never'];
    const failure: unknown = await openRoutes(
      { ...NONE, sms: names.map((name) => recorder.route(name)) },
      CONTEXT,
    ).catch((thrown: unknown) => thrown);
    expect(failure).to.be.instanceOf(Error);
    expect(recorder.opened.map(({ name }) => name)).to.deep.equal(['one', 'broken']);
    expect(recorder.closed).to.deep.equal(['one']);
  });
});

describe('the registry', () => {
  const definitions: readonly ProviderDefinition[] = Object.values(registry);

  it('has each name once, fit for a key and for the address of a callback', () => {
    const names = definitions.map(({ name }) => name);
    expect(new Set(names).size).to.equal(names.length);
    for (const name of names) expect(name).to.match(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
  });

  it('has a channel for each, and one only where there are settings, which stand in one section', () => {
    for (const { name, channels, settings, unlimited } of definitions) {
      const single = Object.keys(settings).length > 0 || unlimited !== true;
      expect(channels, name).to.have.length(single ? 1 : channels.length).and.is.not.empty;
    }
  });

  it('explains every provider and every setting', () => {
    for (const { name, doc, settings } of definitions) {
      expect(doc, name).to.match(/\.$/);
      for (const [setting, { doc: told }] of Object.entries(settings))
        expect(told, `${name}.${setting}`).to.match(/\.$/);
    }
  });

  it('has a default for every setting that its own reader takes', () => {
    for (const { name, settings } of definitions) {
      for (const [setting, { read, fallback }] of Object.entries(settings)) {
        expect(() => read(fallback), `${name}.${setting}`).to.not.throw();
      }
    }
  });
});

describe('capture', () => {
  const device = { kind: 'apns', token: 'device-1' } as const;
  const { notificationId, type, tenant, priority } = email();
  const inApp: Message = { notificationId, type, tenant, priority, channel: 'in_app', to: 'user-1', text: 'Hello' };
  const messages: readonly Message[] = [
    email(),
    sms(),
    push(device),
    webhook('http://127.0.0.1:1/'),
    inApp,
    chat('slack', '#orders'),
    chat('discord', 'http://127.0.0.1:1/'),
  ];

  for (const message of messages) {
    it(`takes any ${message.channel} under its key`, async () => {
      const { channel } = message;
      await using provider = await openProvider(capture, {}, { channel });
      expect(provider.channel).to.equal(channel);
      expect(await provider.send(message, call)).to.deep.equal({ outcome: 'sent', messageId: KEY });
    });
  }

  it('serves every channel', () => {
    expect(messages.map(({ channel }) => channel)).to.have.members([...CHANNELS]);
    expect(capture.channels).to.deep.equal(CHANNELS);
  });
});

describe('the in-app store', () => {
  it('is sent as soon as the row is there', async () => {
    await using provider = await openProvider(store, {});
    const { notificationId, type, tenant, priority } = email();
    const message = { notificationId, type, tenant, priority, channel: 'in_app', to: 'user-1', text: 'Hello' } as const;
    expect((await provider.send(message, call)).outcome).to.equal('sent');
  });
});
