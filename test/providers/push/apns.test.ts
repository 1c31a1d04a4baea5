import { generateKeyPairSync } from 'node:crypto';
import { expect } from 'chai';
import type { PushMessage, SendResult } from '../../../src/providers/provider.ts';
import { apns } from '../../../src/providers/push/apns.ts';
import { startApns, type StartedApns } from '../../support/start-apns.ts';
import { KEY } from '../conformance.ts';
import { describeHttpProvider, downFor, outcome, providerDown } from '../http-provider.ts';
import { push } from '../messages.ts';
import {
  ACCEPTED,
  bearer,
  call,
  KEY_FILE,
  KEYS,
  MESSAGE,
  open,
  reason,
  sent,
  settings,
  TOKEN,
  verify,
} from './apns-rig.ts';

describeHttpProvider({
  definition: apns,
  settings,
  message: MESSAGE,
  accepted: ACCEPTED,
  credentials: [KEY_FILE],
  check({ method, path, headers, body }) {
    expect({ method, path }).to.deep.equal({ method: 'POST', path: `/3/device/${TOKEN}` });
    expect(headers).to.include({ 'apns-topic': 'org.example.shop', 'apns-push-type': 'alert', 'apns-id': KEY });
    expect(bearer(headers.authorization)).to.match(/^[\w-]+\.[\w-]+\.[\w-]+$/);
    expect(JSON.parse(body)).to.deep.equal({
      aps: { alert: { title: 'On its way', body: 'Your order has left.' }, badge: 3 },
      icon: 'https://example.com/icon.png',
      data: { order: 'A-7', items: 2 },
      actions: [{ action: 'track', title: 'Track' }],
    });
  },
  answers: [
    ['200', ACCEPTED, { outcome: 'sent', code: '200', messageId: KEY }],
    [
      'Unregistered',
      reason(410, 'Unregistered', { timestamp: 1_795_000_000_123 }),
      { outcome: 'invalid_recipient', code: 'Unregistered', suppress: 'invalid_token', since: 1_795_000_000_123 },
    ],
    [
      'ExpiredToken',
      reason(410, 'ExpiredToken', { timestamp: 1_795_000_000_123 }),
      { outcome: 'invalid_recipient', code: 'ExpiredToken', suppress: 'invalid_token', since: 1_795_000_000_123 },
    ],
    [
      '410 without a time',
      reason(410, 'Unregistered'),
      (result) => {
        expect(result)
          .to.include({ outcome: 'invalid_recipient', suppress: 'invalid_token' })
          .and.not.have.any.keys('since');
      },
    ],
    ['410 without a word', { status: 410, body: '<html>' }, outcome('provider_error')],
    ['BadDeviceToken', reason(400, 'BadDeviceToken'), outcome('invalid_recipient')],
    ['DeviceTokenNotForTopic', reason(400, 'DeviceTokenNotForTopic'), outcome('invalid_recipient')],
    ...[
      'BadCollapseId',
      'BadExpirationDate',
      'BadMessageId',
      'BadPriority',
      'DuplicateHeaders',
      'InvalidPushType',
      'PayloadEmpty',
    ].map((name) => [name, reason(400, name), { outcome: 'permanent_failure', code: name } as const] as const),
    ['PayloadTooLarge', reason(413, 'PayloadTooLarge'), outcome('permanent_failure')],
    ['BadPath', reason(404, 'BadPath'), outcome('provider_error')],
    ['IdleTimeout', reason(400, 'IdleTimeout'), providerDown],
    ...['BadTopic', 'MissingTopic', 'TopicDisallowed'].map(
      (name) => [name, reason(400, name), { outcome: 'provider_error', code: name } as const] as const,
    ),
    ...['InvalidProviderToken', 'MissingProviderToken', 'ExpiredProviderToken', 'BadCertificate', 'Forbidden'].map(
      (name) => [name, reason(403, name), { outcome: 'provider_error', code: name } as const] as const,
    ),
    [
      'TooManyRequests, which is about one device',
      reason(429, 'TooManyRequests'),
      { outcome: 'rate_limited', code: 'TooManyRequests', recipientOnly: true },
    ],
    [
      'TooManyRequests with a time',
      reason(429, 'TooManyRequests', {}, { 'retry-after': '9' }),
      { outcome: 'rate_limited', recipientOnly: true, retryAfterMs: 9_000 },
    ],
    [
      'TooManyProviderTokenUpdates, which is about all',
      reason(429, 'TooManyProviderTokenUpdates'),
      (result) => {
        expect(result).to.include({ outcome: 'rate_limited' }).and.not.have.any.keys('recipientOnly');
      },
    ],
    ['InternalServerError', reason(500, 'InternalServerError'), providerDown],
    ['ServiceUnavailable', reason(503, 'ServiceUnavailable'), providerDown],
    ['Shutdown', reason(503, 'Shutdown'), providerDown],
    ['Shutdown with a time', reason(503, 'Shutdown', {}, { 'retry-after': '5' }), downFor(5_000)],
    ['a success of another kind', { status: 202, body: '' }, outcome('unknown')],
  ],
});

it('apns does not ask about a token that cannot be one', async () => {
  await using server = await startApns();
  await using provider = await open(server);
  for (const token of ['..', '', 'a/b', '\ud800', 'xyz']) {
    const result = await provider.send(push({ kind: 'apns', token }), call());
    expect(result).to.deep.equal({ outcome: 'invalid_recipient', code: 'BadDeviceToken', notAsked: true });
  }
  expect(server.requests).to.be.empty;
});

describe('a notification of apns', () => {
  const headersOf = async (given: Partial<PushMessage>) => {
    const { server } = await sent(() => ACCEPTED, push({ kind: 'apns', token: TOKEN }, given));
    return server.requests[0]?.headers ?? {};
  };
  const payloadOf = async (given: PushMessage['push']): Promise<unknown> => {
    const { server } = await sent(() => ACCEPTED, push({ kind: 'apns', token: TOKEN }, { push: given }));
    return JSON.parse(server.requests[0]?.body ?? '');
  };

  for (const priority of ['urgent', 'high', 'normal'] as const) {
    it(`is delivered at once when its priority is ${priority}`, async () => {
      // 10, at once, is what APNs takes for granted.
      expect((await headersOf({ priority }))['apns-priority'] ?? '10').to.equal('10');
    });
  }

  it('may wait for a good moment of the device when its priority is low', async () => {
    expect((await headersOf({ priority: 'low' }))['apns-priority']).to.equal('5');
  });

  it('expires at APNs when it expires here, in whole seconds', async () => {
    expect((await headersOf({ expiresAt: 1_795_000_000_999 }))['apns-expiration']).to.equal('1795000000');
    expect(await headersOf({})).not.to.have.property('apns-expiration');
  });

  it('carries nothing that it does not have', async () => {
    const payload = await payloadOf({ title: 'Hi', body: 'there', actions: [] });
    expect(payload).to.deep.equal({ aps: { alert: { title: 'Hi', body: 'there' } } });
  });

  for (const [badge, wanted] of [
    ['0', { badge: 0 }],
    ['https://example.com/badge.png', {}],
    ['-1', {}],
  ] as const) {
    it(`has the badge '${badge}' only if that is a number`, async () => {
      const payload = await payloadOf({ title: 'Hi', body: 'there', badge, actions: [] });
      expect(payload).to.deep.equal({ aps: { alert: { title: 'Hi', body: 'there' }, ...wanted } });
    });
  }

  it('may have 4096 bytes, and with one more is a permanent failure that asks nobody', async () => {
    const around = JSON.stringify({ aps: { alert: { title: 'é', body: '' } } });
    const body = 'x'.repeat(4_096 - Buffer.byteLength(around));
    const sized = (text: string): PushMessage =>
      push({ kind: 'apns', token: TOKEN }, { push: { title: 'é', body: text, actions: [] } });
    expect((await sent(() => ACCEPTED, sized(body))).result.outcome).to.equal('sent');
    const { result, server } = await sent(() => ACCEPTED, sized(`${body}x`));
    expect(result).to.include({ outcome: 'permanent_failure', code: 'PayloadTooLarge' });
    expect(server.requests).to.be.empty;
  });

  it('is only for devices of its kind', async () => {
    await using server = await startApns();
    await using provider = await open(server);
    expect(provider.serves?.({ address: TOKEN, device: { kind: 'apns', token: TOKEN } })).to.equal(true);
    expect(provider.serves?.({ address: TOKEN, device: { kind: 'fcm_token', token: TOKEN } })).to.equal(false);
    expect(provider.serves?.({ address: TOKEN })).to.equal(false);
  });
});

describe('the check of apns', () => {
  async function check(react: StartedApns['react']): Promise<{ ok: boolean | undefined; server: StartedApns }> {
    await using server = await startApns(react);
    await using provider = await open(server);
    return { ok: (await provider.check?.(new AbortController().signal))?.ok, server };
  }

  it('is passed when only the device is refused, which is nobody', async () => {
    const { ok, server } = await check(() => reason(400, 'BadDeviceToken'));
    expect(ok).to.equal(true);
    expect(server.requests.map(({ path }) => path)).to.deep.equal([`/3/device/${'0'.repeat(64)}`]);
    await verify(server.requests[0]?.headers.authorization);
  });

  for (const [what, reaction] of [
    ['the key is refused', reason(403, 'InvalidProviderToken')],
    ['the topic is refused', reason(400, 'TopicDisallowed')],
    ['APNs is down', reason(503, 'ServiceUnavailable')],
    ['something else answers', { status: 200, body: '<html>' }],
    ['nobody answers', 'reset'],
  ] as const) {
    it(`is not passed when ${what}`, async () => {
      expect((await check(() => reaction)).ok).to.equal(false);
    });
  }

  it('says nothing of the devices that are sent to', async () => {
    await using server = await startApns(() => reason(400, 'BadDeviceToken'));
    await using provider = await open(server);
    for (let count = 0; count < 30; count += 1) await provider.check?.(new AbortController().signal);
    expect((await provider.send(MESSAGE, call())).outcome).to.equal('invalid_recipient');
  });
});

describe('the settings of apns', () => {
  const faults = (keyFile: string): readonly string[] =>
    apns
      .configure((name) => ({ ...settings('https://apns.test'), keyFile })[name] ?? apns.settings[name]?.fallback ?? '')
      .faults({});
  const pem = { type: 'pkcs8', format: 'pem' } as const;

  it('take a key on P-256', () => {
    expect(faults(KEY_FILE)).to.be.empty;
  });

  for (const [what, keyFile] of [
    ['no key', 'hello'],
    ['a public key', KEYS.publicKey.export({ type: 'spki', format: 'pem' })],
    ['a key on another curve', generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export(pem)],
    ['a key of another kind', generateKeyPairSync('ed25519').privateKey.export(pem)],
  ] as const) {
    it(`do not take ${what}`, () => {
      expect(faults(keyFile)).to.have.length(1);
    });
  }
});

describe('a device token that APNs refuses', () => {
  const REFUSED = ['BadDeviceToken', 'DeviceTokenNotForTopic'] as const;

  for (const name of REFUSED) {
    for (const known of [ACCEPTED, reason(410, 'Unregistered')]) {
      it(`is given up for ${name} once APNs has known another (${known.status})`, async () => {
        await using server = await startApns(() => known);
        await using provider = await open(server);
        await provider.send(MESSAGE, call());
        server.react = () => reason(400, name);
        for (let count = 0; count < 30; count += 1) {
          expect(await provider.send(MESSAGE, call())).to.include({
            outcome: 'invalid_recipient',
            code: name,
            suppress: 'invalid_token',
          });
        }
      });
    }

    it(`is not given up for ${name} while topic and environment may be wrong`, async () => {
      const { result } = await sent(() => reason(400, name));
      expect(result).to.include({ outcome: 'invalid_recipient', code: name }).and.not.have.any.keys('suppress');
    });

    it(`is one of many without a known one: ${name} is then a fault of the settings`, async () => {
      await using server = await startApns(() => reason(400, name));
      await using provider = await open(server);
      const results: SendResult[] = [];
      for (let count = 0; count < 30; count += 1) results.push(await provider.send(MESSAGE, call()));
      expect(results.at(-1)).to.include({ outcome: 'provider_error', code: name });
    });
  }
});
