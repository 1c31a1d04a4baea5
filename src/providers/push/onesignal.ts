/** Push through OneSignal, to one subscription: https://documentation.onesignal.com/reference/push-notification */
import { SECOND } from '../../domain/clock.ts';
import { isImportant } from '../../domain/notification.ts';
import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi, type Answered } from '../http-api.ts';
import { field, listOf, textOf } from '../json.ts';
import type { Call, Provider, PushMessage, SendResult } from '../provider.ts';
import { httpSettings, neededText, type SettingsOf } from '../settings.ts';
import { badgeCount } from './badge.ts';

const SETTINGS = {
  appId: neededText('Id of the app.'),
  apiKey: neededText('API key of the app.', { secret: true }),
  ...httpSettings('https://api.onesignal.com'),
};

/** Seconds: what OneSignal takes as `ttl`. Without one it is 3 days. */
const LONGEST_TTL = 28 * 86_400;

export const onesignal = defineProvider({
  name: 'onesignal',
  channels: ['push'],
  doc: 'OneSignal, for devices known by the id of their OneSignal subscription.',
  settings: SETTINGS,
  open: openOneSignal,
});

function openOneSignal(settings: SettingsOf<typeof SETTINGS>, context: OpenContext): Provider<PushMessage> {
  const { appId, apiKey } = settings;
  const { clock } = context;
  const api = new HttpApi({ ...settings, secrets: [apiKey], clock });
  const authorization = `Key ${apiKey}`;

  return {
    name: context.name,
    channel: 'push',
    serves: ({ device }) => device?.kind === 'onesignal',
    async send(message, call) {
      const body = JSON.stringify(bodyOf(message, { appId, call, now: clock.now() }));
      const headers = { authorization, 'content-type': 'application/json' };
      const answer = await api.call({ method: 'POST', path: '/notifications', headers, body }, call.signal);
      return answer.kind === 'answered' ? outcomeOf(api, answer) : answer.result;
    },
    // The app itself may only be read with a key of the organisation, its messages with the key that sends.
    check(signal) {
      const query = new URLSearchParams({ app_id: appId, limit: '1' });
      return api.check(
        { method: 'GET', path: `/notifications?${query.toString()}`, headers: { authorization } },
        signal,
      );
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

interface Sending {
  readonly appId: string;
  readonly call: Call;
  readonly now: number;
}

function bodyOf(message: PushMessage, { appId, call, now }: Sending): Readonly<Record<string, unknown>> {
  const { device, push, priority, expiresAt } = message;
  const buttons = push.actions.map(({ action, title }) => ({ id: action, text: title }));
  return {
    app_id: appId,
    target_channel: 'push',
    include_subscription_ids: [device.token],
    // For 30 days the same key gets the first answer again, and no second message.
    idempotency_key: call.key,
    // English is what OneSignal falls back to for a device of any language, and the text is in the recipient's already.
    headings: { en: push.title },
    contents: { en: push.body },
    ...(push.data === undefined ? {} : { data: push.data }),
    ...(buttons.length === 0 ? {} : { buttons, web_buttons: buttons }),
    ...(push.icon === undefined ? {} : { large_icon: push.icon, chrome_web_icon: push.icon }),
    ...badgeOf(push.badge),
    ...(isImportant(priority) ? { priority: 10 } : {}),
    ...(expiresAt === undefined ? {} : { ttl: ttlOf(expiresAt, now) }),
  };
}

function badgeOf(badge: string | undefined): Readonly<Record<string, unknown>> {
  if (badge === undefined) return {};
  const count = badgeCount(badge);
  return count === undefined ? { chrome_web_badge: badge } : { ios_badgeType: 'SetTo', ios_badgeCount: count };
}

function ttlOf(expiresAt: number, now: number): number {
  return Math.min(LONGEST_TTL, Math.max(1, Math.floor((expiresAt - now) / SECOND)));
}

function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status, json } = answer;
  const told = api.told(status, answer.body);
  if (isDead(json)) return { outcome: 'invalid_recipient', ...told, suppress: 'invalid_token' };
  if (status === 404) return { outcome: 'provider_error', ...told };
  if (status < 200 || status >= 300) return api.outcomeOf(answer);
  if (madeNone(json)) return { outcome: 'permanent_failure', ...told };
  const messageId = textOf(json, 'id');
  return messageId === undefined ? api.unreadable(answer) : { outcome: 'sent', code: String(status), messageId };
}

/** An empty id is OneSignal's way of saying, with a 200, that it made no message. */
const madeNone = (json: unknown): boolean => field(json, 'id') === '';

/**
 * The one subscription that a call is for is gone or has switched push off. `errors` names it, or says in words only, with
 * an empty id, that nobody is subscribed.
 */
function isDead(json: unknown): boolean {
  const named = ['invalid_player_ids', 'invalid_subscription_ids', 'invalid_aliases'];
  if (named.some((name) => isFilled(field(json, 'errors', name)))) return true;
  return madeNone(json) && listOf(json, 'errors').some((error) => /not subscribed/i.test(textOf(error) ?? ''));
}

function isFilled(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}
