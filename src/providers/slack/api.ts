import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi, type Answered } from '../http-api.ts';
import { field, textOf } from '../json.ts';
import type { ChatMessage, Check, Provider, SendResult } from '../provider.ts';
import { httpSettings, neededText, type SettingsOf } from '../settings.ts';

const SETTINGS = {
  token: neededText('Token of a Slack app with the scope chat:write, such as xoxb-.', { secret: true }),
  ...httpSettings('https://slack.com/api'),
};

/** Slack's Web API: recipients are ids of channels or users in the workspace of the token. */
export const slackApi = defineProvider({
  name: 'slack_api',
  channels: ['slack'],
  doc: 'The Web API of Slack: recipients are ids of channels and users.',
  settings: SETTINGS,
  open: openSlackApi,
});

function openSlackApi(settings: SettingsOf<typeof SETTINGS>, { name, clock }: OpenContext): Provider<ChatMessage> {
  const api = new HttpApi({ ...settings, secrets: [settings.token], clock });
  // Without the charset Slack answers with a warning.
  const headers = { authorization: `Bearer ${settings.token}`, 'content-type': 'application/json; charset=utf-8' };
  return {
    name,
    channel: 'slack',
    serves: ({ address }) => !/^https?:\/\//i.test(address),
    async send({ to, text }, call) {
      // No idempotency key: Slack documents none for this method.
      const body = JSON.stringify({ channel: to, text });
      const answer = await api.call({ method: 'POST', path: '/chat.postMessage', headers, body }, call.signal);
      return answer.kind === 'answered' ? outcomeOf(api, answer) : answer.result;
    },
    async check(signal) {
      const answer = await api.call({ method: 'POST', path: '/auth.test', headers, body: '{}' }, signal);
      if (answer.kind === 'unanswered') return { ok: false, detail: answer.result.detail ?? 'no answer' };
      return checked(api, answer);
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

/** Slack's words for what is wrong (docs.slack.dev, chat.postMessage); one that is in no list is about the message. */
const ABOUT_RECIPIENT: readonly string[] = [
  'cannot_dm_bot',
  'channel_not_found',
  'is_archived',
  'not_in_channel',
  'user_not_found',
];
const ABOUT_TOKEN: readonly string[] = [
  'access_denied',
  'accesslimited',
  'account_inactive',
  'ekm_access_denied',
  'enterprise_is_restricted',
  'invalid_auth',
  'missing_scope',
  'no_permission',
  'not_allowed_token_type',
  'not_authed',
  'org_login_required',
  'team_access_not_granted',
  'token_expired',
  'token_revoked',
  'two_factor_setup_required',
];
/** It is being moved. */
const LATER: readonly string[] = ['external_channel_migrating', 'team_added_to_org'];
const RATE: readonly string[] = ['rate_limited', 'ratelimited'];
const DOWN: readonly string[] = ['fatal_error', 'internal_error', 'service_unavailable'];

/** Slack says no in an answer of status 200. */
function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status, json, wait } = answer;
  const accepted = status >= 200 && status < 300;
  const messageId = textOf(json, 'ts');
  if (accepted && field(json, 'ok') === true && messageId !== undefined) {
    return { outcome: 'sent', code: String(status), messageId };
  }
  const error = field(json, 'ok') === false ? textOf(json, 'error') : undefined;
  if (accepted && error === undefined) return api.unreadable(answer);
  const told = api.told(error ?? status, answer.body);
  if (status === 429 || RATE.includes(error ?? '')) {
    // About one message a second and channel.
    return { outcome: 'rate_limited', ...told, ...wait, recipientOnly: true };
  }
  if (error === undefined) return api.outcomeOf(answer);
  if (ABOUT_RECIPIENT.includes(error)) return { outcome: 'invalid_recipient', ...told };
  if (ABOUT_TOKEN.includes(error)) return { outcome: 'provider_error', ...told };
  if (LATER.includes(error)) return { outcome: 'temporary_failure', ...told, providerDown: false };
  if (DOWN.includes(error)) return { outcome: 'temporary_failure', ...told, providerDown: true };
  return accepted ? { outcome: 'permanent_failure', ...told } : api.outcomeOf(answer, error);
}

function checked(api: HttpApi, { status, json, body }: Answered): Check {
  if (field(json, 'ok') !== true) {
    const { code, detail = '' } = api.told(textOf(json, 'error') ?? status, body);
    return { ok: false, detail: `${code} ${detail}`.trim() };
  }
  const { detail = '' } = api.told(undefined, `${textOf(json, 'user')} in ${textOf(json, 'team')}`);
  return { ok: true, detail };
}
