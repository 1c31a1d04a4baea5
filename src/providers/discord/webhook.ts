import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi, type Answered } from '../http-api.ts';
import { field, numberOf, textOf } from '../json.ts';
import type { ChatMessage, Provider, SendResult } from '../provider.ts';
import { redactor } from '../redact.ts';
import { httpSettings, type SettingsOf } from '../settings.ts';

const SETTINGS = {
  ...httpSettings('https://discord.com/api/v10'),
};

/** Discord's webhooks: each recipient brings its own URL, which is a secret. */
export const discord = defineProvider({
  name: 'discord',
  channels: ['discord'],
  doc: "Webhooks of Discord. A recipient's URL must be one of Discord's; the same webhook is called below base_url.",
  settings: SETTINGS,
  open: openDiscord,
});

/** Characters of a message (docs.discord.com/developers/resources/webhook#execute-webhook). */
const MAX_CONTENT = 2_000;

/** Of any release and version; nothing else of a URL may stand there. */
const WEBHOOK =
  /^https:\/\/(?:(?:ptb|canary)\.)?discord(?:app)?\.com\/api(?:\/v\d+)?\/webhooks\/(?<id>\d+)\/(?<token>[\w-]+)\/?$/;

/** Unknown Webhook and Invalid Webhook Token, of Discord's own codes. */
const DEAD: readonly unknown[] = [10_015, 50_027];

function openDiscord(settings: SettingsOf<typeof SETTINGS>, { name, clock }: OpenContext): Provider<ChatMessage> {
  const api = new HttpApi({ ...settings, secrets: [], clock });
  return {
    name,
    channel: 'discord',
    async send({ to, text }, call) {
      // The URL comes from whoever sends a notification: only two plain words of it are used, below our own base URL.
      const { id, token } = WEBHOOK.exec(to)?.groups ?? {};
      if (id === undefined || token === undefined)
        return { outcome: 'invalid_recipient', code: 'not_a_discord_webhook', notAsked: true };
      if (Array.from(text).length > MAX_CONTENT)
        return { outcome: 'permanent_failure', code: 'too_long', notAsked: true };
      const answer = await api.call(
        {
          method: 'POST',
          // Waits until the message stands, so that the answer is about it and has its id.
          path: `/webhooks/${id}/${token}?wait=true`,
          headers: { 'content-type': 'application/json' },
          // Nobody is called by name: a mention may come from data, and @everyone is everyone.
          body: JSON.stringify({ content: text, allowed_mentions: { parse: [] } }),
        },
        call.signal,
      );
      if (answer.kind === 'unanswered') return answer.result;
      return outcomeOf(api, { ...answer, body: redactor([to, token])(answer.body) });
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status, json, body } = answer;
  const messageId = textOf(json, 'id');
  if (status >= 200 && status < 300) {
    if (messageId === undefined) return api.unreadable(answer);
    return { outcome: 'sent', code: String(status), messageId };
  }
  // 0 is Discord's code for having none.
  const code = numberOf(json, 'code') || undefined;
  if (DEAD.includes(code)) return { outcome: 'invalid_recipient', ...api.told(code, body), suppress: 'invalid_token' };
  const result = api.outcomeOf(answer, code);
  return result.outcome === 'rate_limited' ? { ...result, ...limitOf(json) } : result;
}

/** More precise than the header. Without a word on `global` it was not the API but what stands in front of it. */
function limitOf(json: unknown): { readonly retryAfterMs?: number; readonly recipientOnly?: boolean } {
  const seconds = numberOf(json, 'retry_after');
  return {
    ...(seconds === undefined ? {} : { retryAfterMs: Math.ceil(Math.max(0, seconds) * 1_000) }),
    ...(field(json, 'global') === false ? { recipientOnly: true } : {}),
  };
}
