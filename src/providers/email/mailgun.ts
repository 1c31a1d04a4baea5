/**
 * E-mail through Mailgun (https://documentation.mailgun.com): one multipart form per message, and what its webhooks report.
 */
import { defineProvider, type OpenContext, type Senders } from '../definition.ts';
import { HttpApi, type Answered } from '../http-api.ts';
import { textOf } from '../json.ts';
import type { EmailMessage, Provider, SendResult } from '../provider.ts';
import type { Wait } from '../retry-after.ts';
import { flag, httpSettings, neededText, text, texts, type SettingsOf } from '../settings.ts';
import { isCallbackToken, receiveMailgun } from './mailgun-callback.ts';
import { composeForm } from './mailgun-form.ts';
import { isUsableInText, neededSender, SENDER_SETTINGS, senderFaults, unusableAddress } from './message.ts';

const SETTINGS = {
  domain: neededText('The sending domain, as it stands in your Mailgun account.'),
  apiKey: neededText(
    'API key. One that may only send for the domain is enough, but cannot be checked without sending.',
    {
      secret: true,
    },
  ),
  ...SENDER_SETTINGS,
  trackOpens: flag('Mailgun adds a picture to HTML mail and reports who loads it.', false),
  trackClicks: flag('Mailgun rewrites the links in a mail and reports who follows them.', false),
  signingKeys: texts('HTTP webhook signing key of the account; two while it is changed. Goes with `callback_token`.', {
    secret: true,
  }),
  callbackToken: text(
    'Last part of the webhook URL given to Mailgun, /callbacks/mailgun/<token>: 20 or more letters, digits, "-" or "_". It is ' +
      'needed because Mailgun signs a time and a number, not the event.',
    { secret: true },
  ),
  ...httpSettings('https://api.mailgun.net'),
};

type MailgunSettings = SettingsOf<typeof SETTINGS>;

export const mailgun = defineProvider({
  name: 'mailgun',
  channels: ['email'],
  doc: 'Mailgun. For a domain in the European Union set `base_url` to https://api.eu.mailgun.net.',
  settings: SETTINGS,
  faults: faultsOf,
  open: openMailgun,
});

function faultsOf(settings: MailgunSettings, senders: Senders): readonly string[] {
  const { signingKeys, callbackToken } = settings;
  const section = 'notifications.email.mailgun';
  return [
    ...senderFaults(section, settings, senders),
    ...(signingKeys.length > 0 === (callbackToken !== undefined)
      ? []
      : [`${section}.signing_keys and ${section}.callback_token must be given together`]),
    ...(callbackToken === undefined || isCallbackToken(callbackToken)
      ? []
      : [`${section}.callback_token must be 20 or more letters, digits, "-" or "_"`]),
  ];
}

function openMailgun(settings: MailgunSettings, context: OpenContext): Provider<EmailMessage> {
  const { apiKey, domain, signingKeys, callbackToken, trackOpens, trackClicks } = settings;
  const { clock, senders } = context;
  const credentials = `api:${apiKey}`;
  const api = new HttpApi({ ...settings, secrets: [credentials, apiKey, ...signingKeys, callbackToken], clock });
  const authorization = `Basic ${Buffer.from(credentials).toString('base64')}`;
  const name = encodeURIComponent(domain);
  const sender = neededSender(settings, senders);
  // With an empty key anybody could sign.
  const usableKeys = signingKeys.filter((key) => key !== '');

  return {
    name: context.name,
    channel: 'email',
    async send(message, call) {
      const from = message.from ?? sender;
      const refused = unusableAddress(message, from, isUsableInText);
      if (refused !== undefined) return refused;
      const form = composeForm(message, { from, trackOpens, trackClicks, now: clock.now() });
      // The platform's own encoder writes the parts and picks the boundary between them.
      const encoded = new Response(form);
      const headers = { authorization, 'content-type': encoded.headers.get('content-type') ?? '' };
      const body = Buffer.from(await encoded.arrayBuffer());
      const answer = await api.call({ method: 'POST', path: `/v3/${name}/messages`, headers, body }, call.signal);
      return answer.kind === 'answered' ? outcomeOf(api, answer) : answer.result;
    },
    check: (signal) => api.check({ method: 'GET', path: `/v4/domains/${name}`, headers: { authorization } }, signal),
    ...(callbackToken === undefined || usableKeys.length === 0
      ? {}
      : { receive: async (request) => receiveMailgun(request, { signingKeys: usableKeys, callbackToken }) }),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status, json } = answer;
  const words = textOf(json, 'message') ?? answer.body;
  const told = api.told(status, words);
  if (status >= 200 && status < 300) {
    const id = textOf(json, 'id');
    // Logs and events of Mailgun have it without the angle brackets.
    return id ? { outcome: 'sent', ...told, messageId: id.replace(/^<(.*)>$/, '$1') } : api.unreadable(answer);
  }
  // Mailgun has no code that tells this apart from any other fault of a request.
  if (status === 400 && /(^|[\s'"])to['"]? parameter is not a valid address/i.test(words)) {
    return { outcome: 'invalid_recipient', ...told };
  }
  // Not paid, or no such domain in this account or region.
  if (status === 402 || status === 404) return { outcome: 'provider_error', ...told };
  if (status === 429) {
    return { outcome: 'rate_limited', ...told, ...waitIn(words), ...answer.wait };
  }
  return api.outcomeOf(answer, undefined, words);
}

/** Mailgun says only in words how long to wait. */
function waitIn(words: string): Wait {
  const seconds = /try again after (\d{1,9}) seconds?/i.exec(words)?.[1];
  return seconds === undefined ? {} : { retryAfterMs: Number(seconds) * 1_000 };
}
