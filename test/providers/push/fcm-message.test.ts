import { expect } from 'chai';
import type { Device, JsonObject, PushData } from '../../../src/domain/notification.ts';
import { fcm } from '../../../src/providers/push/fcm.ts';
import { messageOf } from '../../../src/providers/push/fcm-message.ts';
import type { PushMessage } from '../../../src/providers/provider.ts';
import { startHttp } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { push } from '../messages.ts';
import { openProvider } from '../open-provider.ts';
import { accountFile, settingsAt } from './fcm-service.ts';

const DEVICE: Device = { kind: 'fcm_token', token: 'device-token-1' };
const NOW = Date.UTC(2026, 10, 22);
const ID = '0197f3c2-0000-7000-8000-000000000001';
const BARE: PushData = { title: 'T', body: 'B', actions: [] };

function made(given: Partial<PushMessage> = {}, device: Device = DEVICE): JsonObject {
  const message = messageOf(push(device, given), NOW);
  if (message === undefined) throw new Error('it is said to be too large');
  return message;
}

describe('a push message for fcm', () => {
  it('has everything in its place', () => {
    expect(made({ priority: 'high', expiresAt: NOW + 90_500 })).to.deep.equal({
      token: 'device-token-1',
      notification: { title: 'On its way', body: 'Your order has left.', image: 'https://example.com/icon.png' },
      data: { order: 'A-7', items: '2', actions: '[{"action":"track","title":"Track"}]' },
      android: { priority: 'HIGH', ttl: '90s', notification: { tag: ID, notification_count: 3 } },
      apns: {
        headers: {
          'apns-priority': '10',
          'apns-collapse-id': ID,
          'apns-expiration': String(Math.floor((NOW + 90_500) / 1_000)),
        },
        payload: { aps: { badge: 3 } },
      },
      webpush: {
        headers: { Urgency: 'high', TTL: '90' },
        notification: {
          tag: ID,
          icon: 'https://example.com/icon.png',
          actions: [{ action: 'track', title: 'Track' }],
        },
      },
    });
  });

  it('has nothing that was not given', () => {
    expect(made({ push: BARE })).to.deep.equal({
      token: 'device-token-1',
      notification: { title: 'T', body: 'B' },
      android: { priority: 'NORMAL', notification: { tag: ID } },
      apns: { headers: { 'apns-priority': '5', 'apns-collapse-id': ID } },
      webpush: { headers: { Urgency: 'normal' }, notification: { tag: ID } },
    });
  });

  it('goes to an installation by its id', () => {
    const message = made({}, { kind: 'fcm_id', token: 'fid-1' });
    expect(message['fid']).to.equal('fid-1');
    expect(message).not.to.have.property('token');
  });

  it('has data that is all strings', () => {
    const data = { text: 'as it is', yes: true, none: null, list: [1, 'a'], deep: { a: { b: 1 } }, empty: '' };
    expect(made({ push: { ...BARE, data } })['data']).to.deep.equal({
      text: 'as it is',
      yes: 'true',
      none: 'null',
      list: '[1,"a"]',
      deep: '{"a":{"b":1}}',
      empty: '',
    });
  });

  it("leaves the caller's own value where it is called actions", () => {
    const actions = [{ action: 'track', title: 'Track' }];
    expect(made({ push: { ...BARE, data: { actions: 'mine' }, actions } })['data']).to.deep.equal({ actions: 'mine' });
  });

  it('names an icon of the app to Android, and a badge image to browsers', () => {
    const message = made({ push: { ...BARE, icon: 'ic_order', badge: '/badge.png' } });
    expect(message).to.deep.include({
      notification: { title: 'T', body: 'B' },
      android: { priority: 'NORMAL', notification: { tag: ID, icon: 'ic_order' } },
      webpush: { headers: { Urgency: 'normal' }, notification: { tag: ID, icon: 'ic_order', badge: '/badge.png' } },
    });
    expect(message['apns']).not.to.have.property('payload');
  });

  for (const [priority, android, apns, urgency] of [
    ['urgent', 'HIGH', '10', 'high'],
    ['high', 'HIGH', '10', 'high'],
    ['normal', 'NORMAL', '5', 'normal'],
    ['low', 'NORMAL', '5', 'low'],
  ] as const) {
    it(`of priority ${priority} says so to every platform`, () => {
      const message = made({ priority });
      expect(message).to.have.nested.property('android.priority', android);
      expect(message).to.have.nested.property('apns.headers.apns-priority', apns);
      expect(message).to.have.nested.property('webpush.headers.Urgency', urgency);
    });
  }

  for (const [what, expiresAt, seconds] of [
    ['has expired meanwhile', NOW - 1, 0],
    ['expires in a year', NOW + 365 * 86_400_000, 2_419_200],
  ] as const) {
    it(`that ${what} has a lifetime FCM takes`, () => {
      const message = made({ expiresAt });
      expect(message).to.have.nested.property('android.ttl', `${seconds}s`);
      expect(message).to.have.nested.property('webpush.headers.TTL', String(seconds));
    });
  }
});

describe('fcm takes no more than 4,096 bytes', () => {
  /** Title, body and their names are 12 bytes, the name of the value 1. */
  const ofBytes = (bytes: number): PushData => ({ ...BARE, data: { d: 'é'.repeat((bytes - 14) / 2) + 'x' } });

  async function sent(data: PushData): Promise<{ code: string | undefined; outcome: string; requests: number }> {
    await using server = await startHttp(({ path }) =>
      path.endsWith('/token')
        ? { status: 200, body: '{"access_token":"token-0123456789","expires_in":3599}' }
        : { status: 200, body: '{"name":"m-1"}' },
    );
    await using provider = await openProvider(fcm, settingsAt(server.url));
    const message = push(DEVICE, { push: data });
    const { outcome, code } = await provider.send(message, { key: KEY, signal: new AbortController().signal });
    return { outcome, code, requests: server.requests.length };
  }

  it('sends as many', async () => {
    expect(await sent(ofBytes(4_096))).to.deep.equal({ outcome: 'sent', code: '200', requests: 2 });
  });

  it('refuses more without a call', async () => {
    expect(await sent(ofBytes(4_098))).to.deep.equal({
      outcome: 'permanent_failure',
      code: 'payload_too_large',
      requests: 0,
    });
  });
});

describe('fcm serves', () => {
  for (const [kind, served] of [
    ['fcm_token', true],
    ['fcm_id', true],
    ['apns', false],
    ['web_push', false],
    ['onesignal', false],
  ] as const) {
    it(`${served ? '' : 'no '}devices of kind ${kind}`, async () => {
      await using provider = await openProvider(fcm, { serviceAccountFile: accountFile() });
      expect(provider.serves?.({ address: 'x', device: { kind, token: 'x' } })).to.equal(served);
    });
  }
});
