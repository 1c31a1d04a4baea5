/** E-mail through SendGrid's Web API v3. */
import { defineProvider, type OpenContext, type Senders } from '../definition.ts';
import { faultOf } from '../fault.ts';
import { HttpApi, type Answered, type ApiRequest, type Unanswered } from '../http-api.ts';
import { singleValue } from '../http-call.ts';
import { listOf, textOf } from '../json.ts';
import type { Call, EmailMessage, Provider, SendResult } from '../provider.ts';
import { flag, httpSettings, neededText, texts, type SettingsOf } from '../settings.ts';
import { neededSender, SENDER_SETTINGS, senderFaults } from './message.ts';
import { receiveEvents, webhookKey } from './sendgrid-callback.ts';
import { sendgridMail, type SendgridMail } from './sendgrid-mail.ts';

const SETTINGS = {
  apiKey: neededText('An API key that may send mail.', { secret: true }),
  ...SENDER_SETTINGS,
  trackOpens: flag('Put a picture into HTML mail that tells when it is opened.', false),
  trackClicks: flag('Lead every link through SendGrid, which tells when it is followed.', false),
  webhookPublicKeys: texts(
    'Verification keys of its signed Event Webhook, in base64 as its console shows them; several while one is changed. ' +
      'None: callbacks are refused.',
  ),
  ...httpSettings('https://api.sendgrid.com'),
};

type SendgridSettings = SettingsOf<typeof SETTINGS>;

export const sendgrid = defineProvider({
  name: 'sendgrid',
  channels: ['email'],
  doc: 'SendGrid. An account in the EU needs base_url = "https://api.eu.sendgrid.com".',
  settings: SETTINGS,
  faults: faultsOf,
  open: openSendgrid,
});

function faultsOf(settings: SendgridSettings, senders: Senders): string[] {
  const section = 'notifications.email.sendgrid';
  return [
    ...senderFaults(section, settings, senders),
    ...(settings.webhookPublicKeys.every((key) => webhookKey(key) !== undefined)
      ? []
      : [`${section}.webhook_public_keys has an entry that is not a public EC key in base64`]),
  ];
}

async function openSendgrid(settings: SendgridSettings, context: OpenContext): Promise<Provider<EmailMessage>> {
  const { apiKey, webhookPublicKeys } = settings;
  const { clock } = context;
  const sender = neededSender(settings, context.senders);
  const keys = webhookPublicKeys.flatMap((key) => webhookKey(key) ?? []);
  const transmit = await openLibrary();
  const api = new HttpApi({ ...settings, secrets: [apiKey], clock });
  const authorization = `Bearer ${apiKey}`;

  const post = (body: string, call: Call): Promise<Answered | Unanswered> => {
    const headers = { authorization, 'content-type': 'application/json' };
    return api.call({ method: 'POST', path: '/v3/mail/send', headers, body }, call.signal);
  };
  const scopes: ApiRequest = { method: 'GET', path: '/v3/scopes', headers: { authorization } };

  return {
    name: context.name,
    channel: 'email',
    async send(message, call) {
      let answer: Answered | Unanswered;
      try {
        const mail = sendgridMail(message, message.from ?? sender, settings);
        answer = await transmit(mail, (body) => post(body, call));
      } catch (thrown) {
        // The transport never rejects: the library has found the message impossible, before it asked for the call.
        return { outcome: 'permanent_failure', ...api.told('message_invalid', faultOf(thrown).detail), notAsked: true };
      }
      return answer.kind === 'answered' ? outcomeOf(api, answer, clock.now()) : answer.result;
    },
    check: (signal) => api.check(scopes, signal),
    receive: async (request) => receiveEvents(request, keys),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

type Post = (body: string) => Promise<Answered | Unanswered>;

/** What the module exports beside the shared instance, which is all that its types know: the class of that instance. */
interface Library {
  readonly MailService: new <A>() => {
    setClient(client: { request(request: { readonly body?: unknown }): Promise<A> }): void;
    /** Rejects for a mail it finds impossible; else what `request` gave. */
    send(mail: SendgridMail): Promise<A>;
  };
}

/**
 * The library writes the request's body and our transport carries it: the library's own follows redirects with the key in
 * hand, cannot end a single call, and cannot tell what never left from what was not answered.
 */
async function openLibrary(): Promise<(mail: SendgridMail, post: Post) => Promise<Answered | Unanswered>> {
  const { MailService } = (await import('@sendgrid/mail')) as unknown as Library;
  return async (mail, post) => {
    const service = new MailService<Answered | Unanswered>();
    service.setClient({ request: ({ body }) => post(JSON.stringify(body)) });
    return await service.send(mail);
  };
}

/** The field of an error that is about the recipient, such as `personalizations.0.to.0.email`. */
const RECIPIENT = /\.to\.\d+\.email$/;

function outcomeOf(api: HttpApi, answer: Answered, now: number): SendResult {
  const { status, headers, json, body } = answer;
  const messageId = singleValue(headers['x-message-id']);
  // It takes a message with 202, an id in the head and no body; what has neither is somebody else's.
  if (status === 202 && (messageId !== undefined || body === '')) {
    return { outcome: 'sent', code: '202', ...(messageId === undefined ? {} : { messageId }) };
  }
  if (status >= 200 && status < 300) return api.unreadable(answer);
  const errors = listOf(json, 'errors');
  const words = errors.flatMap((error) => textOf(error, 'message') ?? []).join('; ') || undefined;
  if (status === 400 && errors.some((error) => RECIPIENT.test(textOf(error, 'field') ?? ''))) {
    return { outcome: 'invalid_recipient', ...api.told(status, words) };
  }
  const result = api.outcomeOf(answer, undefined, words);
  const reset = Number(singleValue(headers['x-ratelimit-reset']) ?? Number.NaN);
  if (result.outcome !== 'rate_limited' || result.retryAfterMs !== undefined || !Number.isFinite(reset)) return result;
  // Seconds since 1970.
  return { ...result, retryAfterMs: Math.max(0, reset * 1_000 - now) };
}
