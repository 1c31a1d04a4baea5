/**
 * SMS through Twilio: the Messages resource of its 2010-04-01 API, and its Lookup API for numbers. Its own library has no
 * setting for the address of the API and loses `Retry-After`, so a message is one form of ours; only the check of a
 * callback's signature is the library's.
 */
import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi } from '../http-api.ts';
import type { Provider, SmsMessage } from '../provider.ts';
import { httpSettings, neededText, text, texts, url, type SettingsOf } from '../settings.ts';
import { openCallbacks } from './twilio-callback.ts';
import { lookUpPhone } from './twilio-lookup.ts';
import { outcomeOf } from './twilio-outcome.ts';

const SETTINGS = {
  accountSid: neededText('Account SID, which begins with AC.'),
  authToken: neededText('Auth token of the account. Callbacks are signed with it, too.', { secret: true }),
  moreAuthTokens: texts('Further auth tokens that callbacks may be signed with, for the time of a change.', {
    secret: true,
  }),
  from: text('Sender. Empty: notifications.default_sms_sender.'),
  messagingServiceSid: text(
    'Messaging service that picks the sender, which begins with MG. It comes before "from", but after the sender of a message.',
  ),
  lookupBaseUrl: url('Where its Lookup API is; a path is kept in front of every call.', 'https://lookups.twilio.com'),
  ...httpSettings('https://api.twilio.com'),
};

/** Seconds that a message may wait at Twilio: what its ValidityPeriod takes. */
const VALIDITY = { least: 1, most: 36_000 };

export const twilio = defineProvider({
  name: 'twilio',
  channels: ['sms'],
  doc: 'Twilio Programmable Messaging.',
  settings: SETTINGS,
  faults: ({ from, messagingServiceSid }, senders) =>
    (from ?? messagingServiceSid ?? senders.sms) === undefined
      ? ['notifications.sms.twilio.from or messaging_service_sid must be given, or notifications.default_sms_sender']
      : [],
  open: openTwilio,
});

async function openTwilio(settings: SettingsOf<typeof SETTINGS>, context: OpenContext): Promise<Provider<SmsMessage>> {
  const { accountSid, authToken, moreAuthTokens, lookupBaseUrl } = settings;
  const { clock, name } = context;
  const login = `${accountSid}:${authToken}`;
  const authorization = `Basic ${Buffer.from(login).toString('base64')}`;
  const api = new HttpApi({ ...settings, secrets: [authToken, ...moreAuthTokens, login], clock });
  const account = `/2010-04-01/Accounts/${encodeURIComponent(accountSid)}`;

  return {
    name,
    channel: 'sms',
    async send(message, call) {
      if (message.coding === 'binary')
        return { outcome: 'permanent_failure', code: 'type_unsupported', notAsked: true };
      const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' };
      const body = formOf(message, settings, context).toString();
      const answer = await api.call({ method: 'POST', path: `${account}/Messages.json`, headers, body }, call.signal);
      return answer.kind === 'answered' ? outcomeOf(api, answer) : answer.result;
    },
    check: (signal) => api.check({ method: 'GET', path: `${account}.json`, headers: { authorization } }, signal),
    lookUpPhone: (phone, signal) => lookUpPhone(api, { baseUrl: lookupBaseUrl, authorization, phone }, signal),
    receive: await openCallbacks([authToken, ...moreAuthTokens]),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

function formOf(
  message: SmsMessage,
  settings: SettingsOf<typeof SETTINGS>,
  { senders, callbackUrl, clock }: OpenContext,
): URLSearchParams {
  const { from = senders.sms ?? '', messagingServiceSid } = settings;
  // Twilio finds the encoding itself. Smart encoding would change the text, and with it the segments that were counted.
  const form = new URLSearchParams({ To: message.to, Body: message.text, SmartEncoded: 'false' });
  if (message.from === undefined && messagingServiceSid !== undefined)
    form.set('MessagingServiceSid', messagingServiceSid);
  else form.set('From', message.from ?? from);
  if (message.expiresAt !== undefined) {
    const left = Math.floor((message.expiresAt - clock.now()) / 1_000);
    form.set('ValidityPeriod', String(Math.min(Math.max(left, VALIDITY.least), VALIDITY.most)));
  }
  if (callbackUrl !== undefined) {
    const callback = new URL(callbackUrl);
    // A message has no field for it; the address is signed, so nobody else can name another one.
    callback.searchParams.set('id', message.notificationId);
    form.set('StatusCallback', callback.href);
  }
  return form;
}
