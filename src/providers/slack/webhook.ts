import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi, withoutSecrets, type Answered } from '../http-api.ts';
import type { ChatMessage, Provider, SendResult } from '../provider.ts';
import { httpSettings, type SettingsOf } from '../settings.ts';

const SETTINGS = {
  ...httpSettings('https://hooks.slack.com'),
};

/** Slack's incoming webhooks: each recipient brings its own URL, which is a secret. */
export const slackWebhook = defineProvider({
  name: 'slack_webhook',
  channels: ['slack'],
  doc: 'Incoming webhooks of Slack. Only recipients whose URL is below base_url are called.',
  settings: SETTINGS,
  open: openSlackWebhook,
});

/** The webhook itself is gone: nothing will ever arrive there. */
const DEAD: readonly string[] = ['no_service', 'no_team', 'invalid_token'];
/** It is there, and its workspace or channel takes nothing; somebody may change that. */
const CLOSED: readonly string[] = [
  'action_prohibited',
  'channel_is_archived',
  'channel_not_found',
  'no_active_hooks',
  'posting_to_general_channel_denied',
  'team_disabled',
  'user_not_found',
];

function openSlackWebhook(settings: SettingsOf<typeof SETTINGS>, { name, clock }: OpenContext): Provider<ChatMessage> {
  const api = new HttpApi({ ...settings, secrets: [], clock });
  const base = api.urlOf('/');
  return {
    name,
    channel: 'slack',
    serves: ({ address }) => /^https?:\/\//i.test(address),
    async send({ to, text }, call) {
      const url = webhookOf(to, base);
      if (url === undefined) {
        return {
          outcome: 'invalid_recipient',
          code: 'not_a_slack_webhook',
          detail: 'the address is not below base_url',
          notAsked: true,
        };
      }
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({ text });
      const answer = await api.call({ method: 'POST', path: url, headers, body }, call.signal);
      if (answer.kind === 'unanswered') return answer.result;
      const token = url.pathname.split('/').findLast((part) => part !== '');
      return outcomeOf(api, withoutSecrets(answer, [to, url.href, url.pathname, token]));
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

/** The URL comes from whoever sends a notification: nothing but Slack is to be reached through it. */
function webhookOf(address: string, base: URL): URL | undefined {
  const url = URL.parse(address);
  if (url === null || url.origin !== base.origin) return undefined;
  return url.pathname.startsWith(base.pathname) && url.pathname !== base.pathname ? url : undefined;
}

/** Slack answers in one word. */
function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status } = answer;
  const body = answer.body.trim();
  if (status >= 200 && status < 300) {
    return body === 'ok' ? { outcome: 'sent', code: String(status) } : api.unreadable({ ...answer, body });
  }
  const word = /^[a-z_]+$/.test(body) ? body : undefined;
  const told = api.told(word ?? status, body);
  if (word !== undefined && DEAD.includes(word)) {
    return { outcome: 'invalid_recipient', ...told, suppress: 'invalid_token' };
  }
  if (word !== undefined && CLOSED.includes(word)) return { outcome: 'invalid_recipient', ...told };
  // The path is the recipient's: Slack redirects what is nobody's webhook. Not suppressed, as a proxy may say so, too.
  if (status < 400 || [404, 405, 410].includes(status)) return { outcome: 'invalid_recipient', ...told };
  const result = api.outcomeOf(answer, word);
  // About one message a second and webhook.
  return result.outcome === 'rate_limited' && status === 429 ? { ...result, recipientOnly: true } : result;
}
