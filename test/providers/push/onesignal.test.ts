import { expect } from 'chai';
import { numberOf } from '../../../src/providers/json.ts';
import type { PushMessage } from '../../../src/providers/provider.ts';
import { onesignal } from '../../../src/providers/push/onesignal.ts';
import { startHttp } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { describeHttpProvider, outcome } from '../http-provider.ts';
import { push } from '../messages.ts';
import { openProvider } from '../open-provider.ts';

const APP = '11111111-2222-4333-8444-555555555555';
const API_KEY = 'os_v2_app_abcdefghijklmnop';
const DEVICE = { kind: 'onesignal', token: '99999999-8888-4777-8666-555555555555' } as const;
const NOW = Date.parse('2026-11-22T12:00:00Z');
const ACCEPTED = { status: 200, body: '{"id":"m-1","external_id":null}' };
const DEAD = { outcome: 'invalid_recipient', suppress: 'invalid_token' } as const;

const answer = (status: number, body: unknown) => ({ status, body: JSON.stringify(body) });

describeHttpProvider({
  definition: onesignal,
  settings: (baseUrl) => ({ appId: APP, apiKey: API_KEY, baseUrl }),
  message: push(DEVICE),
  accepted: ACCEPTED,
  credentials: [API_KEY, Buffer.from(API_KEY).toString('base64')],
  check({ method, path, headers, body }) {
    expect(`${method} ${path}`).to.equal('POST /notifications');
    expect(headers.authorization).to.equal(`Key ${API_KEY}`);
    expect(headers['content-type']).to.equal('application/json');
    expect(JSON.parse(body)).to.deep.equal({
      app_id: APP,
      target_channel: 'push',
      include_subscription_ids: [DEVICE.token],
      idempotency_key: KEY,
      headings: { en: 'On its way' },
      contents: { en: 'Your order has left.' },
      data: { order: 'A-7', items: 2 },
      buttons: [{ id: 'track', text: 'Track' }],
      web_buttons: [{ id: 'track', text: 'Track' }],
      large_icon: 'https://example.com/icon.png',
      chrome_web_icon: 'https://example.com/icon.png',
      ios_badgeType: 'SetTo',
      ios_badgeCount: 3,
    });
  },
  answers: [
    ['an id', ACCEPTED, { outcome: 'sent', code: '200', messageId: 'm-1' }],
    ['a 200 without an id', answer(200, { ok: true }), outcome('unknown')],
    [
      'a 200 that says nobody is subscribed',
      answer(200, { id: '', errors: ['All included players are not subscribed'] }),
      DEAD,
    ],
    [
      'a 200 that names the subscription',
      answer(200, { id: '', errors: { invalid_player_ids: [DEVICE.token] } }),
      DEAD,
    ],
    [
      'a 200 that names the subscription beside an id',
      answer(200, { id: 'm-1', errors: { invalid_player_ids: [DEVICE.token] } }),
      DEAD,
    ],
    [
      'a 200 that names the subscription by its newer name',
      answer(200, { id: '', errors: { invalid_subscription_ids: [DEVICE.token] } }),
      DEAD,
    ],
    ['a 200 that names an alias', answer(200, { id: '', errors: { invalid_aliases: { external_id: ['u-1'] } } }), DEAD],
    ['a 400 that names the subscription', answer(400, { errors: { invalid_player_ids: [DEVICE.token] } }), DEAD],
    [
      'a 200 with an id and an empty list',
      answer(200, { id: 'm-1', errors: { invalid_player_ids: [] } }),
      { outcome: 'sent', messageId: 'm-1' },
    ],
    [
      'a 200 with an empty id for another reason',
      answer(200, { id: '', errors: ['odd'] }),
      outcome('permanent_failure'),
    ],
    [
      'a 200 with an empty id and errors that are no texts',
      answer(200, { id: '', errors: [{ toString: 1 }, null, 7] }),
      outcome('permanent_failure'),
    ],
    [
      'a 200 with an empty id and lists in lists without end',
      { status: 200, body: `{"id":"","errors":${'['.repeat(20_000)}${']'.repeat(20_000)}}` },
      outcome('permanent_failure'),
    ],
    ['a 200 with an empty id for no reason', answer(200, { id: '', recipients: 0 }), outcome('permanent_failure')],
    [
      'a 400',
      answer(400, {
        errors: ['You must include which players, segments, or tags you wish to send this notification to.'],
      }),
      outcome('permanent_failure'),
    ],
    ['a 401 with its words', answer(401, { errors: ['Access denied.'] }), outcome('provider_error')],
    ['a 403 with its words', answer(403, { errors: ['Access denied.'] }), outcome('provider_error')],
    ['404, no such app', answer(404, { errors: ['app not found'] }), outcome('provider_error')],
  ],
});

describe('onesignal', () => {
  it('serves OneSignal subscriptions and no other device', async () => {
    await using provider = await openProvider(onesignal, { appId: APP, apiKey: API_KEY });
    expect(provider.serves?.({ address: DEVICE.token, device: DEVICE })).to.equal(true);
    expect(provider.serves?.({ address: 'a', device: { kind: 'fcm_token', token: 'a' } })).to.equal(false);
    expect(provider.serves?.({ address: 'a' })).to.equal(false);
  });

  it('sends a title and a body alone as nothing more', async () => {
    const body = await sent(push(DEVICE, { push: { title: 'T', body: 'B', actions: [] } }));
    expect(body).to.have.all.keys(
      'app_id',
      'target_channel',
      'include_subscription_ids',
      'idempotency_key',
      'headings',
      'contents',
    );
  });

  for (const [priority, wanted] of [
    ['urgent', 10],
    ['high', 10],
    ['normal', undefined],
    ['low', undefined],
  ] as const) {
    it(`${wanted === undefined ? 'leaves the priority open' : 'asks for delivery at once'} when it is ${priority}`, async () => {
      expect(numberOf(await sent(push(DEVICE, { priority })), 'priority')).to.equal(wanted);
    });
  }

  for (const [what, ms, ttl] of [
    ['in whole seconds', 90_500, 90],
    ['of at least one second', -5_000, 1],
    ['of at most 28 days', 40 * 86_400_000, 28 * 86_400],
  ] as const) {
    it(`gives a time to live ${what}`, async () => {
      expect(await sent(push(DEVICE, { expiresAt: NOW + ms }))).to.include({ ttl });
    });
  }

  it('sends a badge that is no number as a picture', async () => {
    const badge = 'https://example.com/badge.png';
    const body = await sent(push(DEVICE, { push: { title: 'T', body: 'B', badge, actions: [] } }));
    expect(body).to.include({ chrome_web_badge: badge }).and.not.have.property('ios_badgeCount');
  });

  for (const [status, ok] of [
    [200, true],
    [403, false],
  ] as const) {
    it(`checks its key by asking for one message: ${status}`, async () => {
      await using server = await startHttp(() => ({ status, body: JSON.stringify(API_KEY) }));
      await using provider = await openProvider(onesignal, { appId: APP, apiKey: API_KEY, baseUrl: server.url });
      const check = await provider.check?.(new AbortController().signal);
      expect(check).to.include({ ok });
      expect(check?.detail).not.to.contain(API_KEY);
      const [request] = server.requests;
      expect(`${request?.method} ${request?.path}`).to.equal(`GET /notifications?app_id=${APP}&limit=1`);
      expect(request?.headers.authorization).to.equal(`Key ${API_KEY}`);
    });
  }
});

/** The body of the request. */
async function sent(message: PushMessage): Promise<unknown> {
  await using server = await startHttp(() => ACCEPTED);
  const context = { clock: { now: () => NOW, sleep: async () => {} } };
  await using provider = await openProvider(onesignal, { appId: APP, apiKey: API_KEY, baseUrl: server.url }, context);
  const result = await provider.send(message, { key: KEY, signal: new AbortController().signal });
  expect(result.outcome).to.equal('sent');
  return JSON.parse(server.requests[0]?.body ?? '');
}
