/** Apple Push Notification service, over HTTP/2 with a provider token. */
import { randomUUID } from 'node:crypto';
import type { NotificationOptions } from 'apns2';
import { HOUR, SECOND } from '../../domain/clock.ts';
import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi } from '../http-api.ts';
import { textOf } from '../json.ts';
import { privateKeyOf } from '../private-key.ts';
import type { Check, Provider, PushMessage } from '../provider.ts';
import { httpSettings, neededText, type SettingsOf } from '../settings.ts';
import { badgeCount } from './badge.ts';
import { connectThrough, type Post } from './apns-caller.ts';
import { outcomeOf, TokenTrust } from './apns-outcome.ts';

/** Bytes of a notification's JSON (Apple, "Generating a remote notification"). */
const MAX_PAYLOAD = 4_096;

/** Cannot be any device's. */
const NOBODY = '0'.repeat(64);

const SETTINGS = {
  teamId: neededText('The ten characters of your team in the Apple developer account.'),
  keyId: neededText('The ten characters of the key that signs.'),
  keyFile: neededText('The key that signs, the .p8 file that Apple gave out.', { format: 'file', secret: true }),
  topic: neededText('The bundle id of the app, such as org.example.shop.'),
  ...httpSettings('https://api.push.apple.com'),
};

/** Apple wants connections kept open, and takes frequent new ones for an attack. */
const KEEP_ALIVE = HOUR;

export const apns = defineProvider({
  name: 'apns',
  channels: ['push'],
  doc:
    'Apple Push Notification service, for devices of the kind apns. Tokens of an app built for development are of the ' +
    'sandbox: its base_url is https://api.sandbox.push.apple.com.',
  settings: SETTINGS,
  faults: ({ keyFile }) =>
    keyFile === '' || canSign(keyFile)
      ? []
      : ['notifications.push.apns.key_file must be a private key on the curve P-256, PEM, as in the .p8 file of Apple'],
  open: openApns,
});

async function openApns(settings: SettingsOf<typeof SETTINGS>, context: OpenContext): Promise<Provider<PushMessage>> {
  const { teamId, keyId, keyFile, topic } = settings;
  const { ApnsClient, Notification, Priority } = await import('apns2');
  const api = new HttpApi({
    ...settings,
    secrets: [keyFile],
    clock: context.clock,
    allowH2: true,
    keepAlive: KEEP_ALIVE,
  });
  const client = new ApnsClient({ team: teamId, keyId, signingKey: keyFile, defaultTopic: topic, keepAlive: false });
  const post = await connectThrough(api, client);
  const trust = new TokenTrust();

  return {
    name: context.name,
    channel: 'push',
    serves: ({ device }) => device?.kind === 'apns',
    async send(message, call) {
      // It becomes a part of the path.
      if (!/^[0-9a-f]+$/i.test(message.to))
        return { outcome: 'invalid_recipient', code: 'BadDeviceToken', notAsked: true };
      const priority = message.priority === 'low' ? Priority.throttled : Priority.immediate;
      const notification = new Notification(message.to, { ...optionsOf(message), priority });
      const size = Buffer.byteLength(JSON.stringify(notification.buildApnsOptions()));
      if (size > MAX_PAYLOAD) {
        const detail = `the payload has ${size} bytes, more than ${MAX_PAYLOAD}`;
        return { outcome: 'permanent_failure', code: 'PayloadTooLarge', detail, notAsked: true };
      }
      const answer = await post(notification, call);
      return answer.kind === 'answered' ? outcomeOf(api, answer, trust) : answer.result;
    },
    check: (signal) =>
      check(api, () => post(new Notification(NOBODY, { alert: 'check' }), { key: randomUUID(), signal })),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

function optionsOf({ push, expiresAt }: PushMessage): NotificationOptions {
  const { title, body, icon, data, actions } = push;
  const badge = badgeCount(push.badge);
  return {
    alert: { title, body },
    ...(badge === undefined ? {} : { badge }),
    ...(expiresAt === undefined ? {} : { expiration: Math.floor(expiresAt / SECOND) }),
    // The app reads these itself: iOS takes pictures and buttons from the app, not from a notification.
    data: {
      ...(icon === undefined ? {} : { icon }),
      ...(data === undefined ? {} : { data }),
      ...(actions.length === 0 ? {} : { actions }),
    },
  };
}

/** APNs has nothing to ask; but it looks at the credentials before it looks at the device. */
async function check(api: HttpApi, ask: () => ReturnType<Post>): Promise<Check> {
  const answer = await ask();
  if (answer.kind === 'unanswered') return { ok: false, detail: answer.result.detail ?? 'no answer' };
  const reason = textOf(answer.json, 'reason');
  if (reason === 'BadDeviceToken') {
    return { ok: true, detail: 'the key is good: of a notification to no device, only the device was refused' };
  }
  const { detail = '' } = api.told(undefined, reason ?? answer.body);
  return { ok: false, detail: `${answer.status} ${detail}`.trim() };
}

function canSign(pem: string): boolean {
  const key = privateKeyOf(pem);
  return key?.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
}
