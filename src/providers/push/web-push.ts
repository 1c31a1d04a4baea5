/** Web Push (RFC 8030) to browsers, encrypted for each (RFC 8291) and signed with the key it subscribed to (VAPID, RFC 8292). */
import { createECDH } from 'node:crypto';
import { isIP } from 'node:net';
import type * as WebPush from 'web-push';
import { SECOND } from '../../domain/clock.ts';
import type { Priority } from '../../domain/notification.ts';
import { defineProvider, type OpenContext } from '../definition.ts';
import { checkedUrl } from '../endpoint.ts';
import { faultOf } from '../fault.ts';
import { USER_AGENT } from '../http-api.ts';
import { HttpPool } from '../http-pool.ts';
import type { Provider, PushMessage, SendResult } from '../provider.ts';
import { capabilitiesOf, redactor } from '../redact.ts';
import { HTTP_SETTINGS, neededText, seconds, texts, type SettingsOf } from '../settings.ts';
import { createAddressGuard, isPublicAddress } from '../ssrf.ts';
import { outcomeOf } from './web-push-outcome.ts';

/** Bytes before encryption: what is left of the 4096 of a record that every service takes (RFC 8291 §4). */
const MAX_PLAINTEXT = 3_993;

/** Seconds, four weeks: no service keeps a message longer. */
const MAX_TTL = 2_419_200;

const ENCODING = 'aes128gcm';

const SECTION = 'notifications.push.web_push';

const URGENCY = { urgent: 'high', high: 'high', normal: 'normal', low: 'low' } as const satisfies Record<
  Priority,
  string
>;

const SETTINGS = {
  subject: neededText('Whom a push service may write to about your messages: a mailto: or https: URL.'),
  publicKey: neededText('The public VAPID key, base64url: the one that browsers subscribe with.'),
  privateKey: neededText('The private VAPID key, base64url.', { secret: true }),
  ttl: seconds(
    'A push service keeps a message so long for a browser that is not there, unless it expires earlier.',
    MAX_TTL,
    [0, MAX_TTL],
  ),
  allowPrivate: texts(
    'Hosts, addresses and ranges that may be called although they are not public. A host or an address out of them may ' +
      'also be called without TLS.',
    { format: 'host-or-range' },
  ),
  ...HTTP_SETTINGS,
};

type Library = Pick<typeof WebPush, 'encrypt'>;
type WebPushSettings = SettingsOf<typeof SETTINGS>;

export const webPush = defineProvider({
  name: 'web_push',
  channels: ['push'],
  doc: 'Web Push, for devices of the kind web_push: browsers, each through the push service of its maker.',
  settings: SETTINGS,
  faults: (settings) => [...subjectFaults(settings), ...keyFaults(settings)],
  open: openWebPush,
});

async function openWebPush(settings: WebPushSettings, context: OpenContext): Promise<Provider<PushMessage>> {
  const { default: library } = await import('web-push');
  const { clock, name } = context;
  const { subject, publicKey, privateKey, ttl, allowPrivate } = settings;
  const guard = createAddressGuard(allowPrivate);
  const pool = new HttpPool({ ...settings, ca: settings.caFile, lookup: guard.lookup });

  const headersFor = (
    { priority, expiresAt }: PushMessage,
    authorization: string,
  ): Readonly<Record<string, string>> => {
    const left = expiresAt === undefined ? ttl : Math.min(ttl, expiresAt - clock.now());
    return {
      'user-agent': USER_AGENT,
      authorization,
      'content-type': 'application/octet-stream',
      'content-encoding': ENCODING,
      ttl: String(Math.max(0, Math.floor(left / SECOND))),
      urgency: URGENCY[priority],
    };
  };

  return {
    name,
    channel: 'push',
    perRecipient: true,
    serves: ({ device }) => device?.kind === 'web_push' && device.p256dh !== undefined && device.auth !== undefined,
    async send(message, call) {
      const url = checkedUrl(message.to, guard);
      if (!(url instanceof URL)) return url;
      if (url.protocol !== 'https:' && !mayBePlain(url, allowPrivate))
        return { outcome: 'invalid_recipient', code: 'url_invalid', detail: 'only https is called' };
      const body = encrypted(library, message);
      if (!Buffer.isBuffer(body)) return body;
      const vapid = library.getVapidHeaders(url.origin, subject, publicKey, privateKey, ENCODING);
      const headers = headersFor(message, vapid.Authorization);
      const result = await pool.call({ url, method: 'POST', headers, body }, call.signal);
      const token = /^vapid t=([^,]+)/.exec(vapid.Authorization)?.[1];
      const { to, device } = message;
      // Whoever has the endpoint may send to the browser, and services repeat it.
      const secrets = [privateKey, token, to, ...capabilitiesOf(url), device.p256dh, device.auth];
      return outcomeOf(result, clock.now(), redactor(secrets));
    },
    // Each push service looks at the keys with a message only, and then tells whether the subscription was made for them.
    async check() {
      const ok = arePair(publicKey, privateKey);
      return { ok, detail: ok ? 'the keys are a pair; no push service was asked' : 'the keys are not a pair' };
    },
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  };
}

/** The body of the call, or what the message comes to when there is none. */
function encrypted(library: Library, { push, device }: PushMessage): Buffer | SendResult {
  const { title, body, icon, badge, data, actions } = push;
  const plaintext = Buffer.from(JSON.stringify({ title, body, icon, badge, data, actions }));
  if (plaintext.length > MAX_PLAINTEXT) {
    const detail = `the payload has ${plaintext.length} bytes, more than ${MAX_PLAINTEXT}`;
    return { outcome: 'permanent_failure', code: 'payload_too_large', detail };
  }
  try {
    return library.encrypt(device.p256dh ?? '', device.auth ?? '', plaintext, ENCODING).cipherText;
  } catch (thrown) {
    // The keys are not such as a browser makes: nothing can ever be encrypted for it.
    const { detail } = faultOf(thrown);
    return { outcome: 'invalid_recipient', code: 'keys_invalid', detail, suppress: 'invalid_token' };
  }
}

/** @param url passed the guard, so an address in it that is not public is one that was allowed */
function mayBePlain({ hostname }: URL, allowPrivate: readonly string[]): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? allowPrivate.some((entry) => entry.toLowerCase() === host) : !isPublicAddress(host);
}

function subjectFaults({ subject }: WebPushSettings): readonly string[] {
  const url = URL.parse(subject);
  // Apple refuses every message of a subject on localhost.
  if (subject === '' || ((url?.protocol === 'mailto:' || url?.protocol === 'https:') && url.hostname !== 'localhost'))
    return [];
  return [`${SECTION}.subject must be a mailto: URL or an https: URL that is not on localhost`];
}

function keyFaults({ publicKey, privateKey }: WebPushSettings): readonly string[] {
  if (publicKey === '' || privateKey === '' || arePair(publicKey, privateKey)) return [];
  return [`${SECTION}.public_key and private_key must be a VAPID pair, base64url: 65 and 32 bytes on the curve P-256`];
}

function arePair(publicKey: string, privateKey: string): boolean {
  // base64url without padding, as browsers take it and as the library asks for.
  if (!/^[\w-]{87}$/.test(publicKey) || !/^[\w-]{43}$/.test(privateKey)) return false;
  const ecdh = createECDH('prime256v1');
  try {
    ecdh.setPrivateKey(privateKey, 'base64url');
  } catch {
    // A number that is no key on this curve.
    return false;
  }
  return ecdh.getPublicKey('base64url') === publicKey;
}
