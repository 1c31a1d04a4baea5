/**
 * SMS through Vonage: its Messages API v1 by its own library, which signs the calls of an application, and its Number
 * Insight API for numbers.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Vonage } from '@vonage/server-sdk';
import { defineProvider, type OpenContext } from '../definition.ts';
import { faultOf } from '../fault.ts';
import { HttpApi, withoutSecrets } from '../http-api.ts';
import { isRsaKey, privateKeyOf } from '../private-key.ts';
import type { Provider, SendResult, SmsMessage } from '../provider.ts';
import { httpSettings, text, texts, type SettingsOf } from '../settings.ts';
import { openCallbacks } from './vonage-callback.ts';
import { lookUpPhone } from './vonage-lookup.ts';
import { outcomeOf } from './vonage-outcome.ts';

const SETTINGS = {
  applicationId: text('Application that sends; its private key signs each call.'),
  privateKeyFile: text("The application's private key, PEM.", { secret: true, format: 'file' }),
  apiKey: text('API key of the account: to send without an application, and to look numbers up.'),
  apiSecret: text('Secret of the API key.', { secret: true }),
  signatureSecrets: texts('Signature secrets that callbacks may be signed with. Empty: no receipts are asked for.', {
    secret: true,
  }),
  from: text('Sender. Empty: notifications.default_sms_sender.'),
  ...httpSettings('https://api.nexmo.com'),
};
type VonageSettings = SettingsOf<typeof SETTINGS>;

/** Seconds that Vonage may try to deliver: what its `ttl` takes. */
const TTL = { least: 20, most: 604_800 };
/** Bits: the library signs with no shorter key (RFC 7518 §3.3). */
const SHORTEST_KEY = 2_048;

export const vonage = defineProvider({
  name: 'vonage',
  channels: ['sms'],
  doc: 'Vonage Messages API. Needs an application with its private key, or an API key with its secret.',
  settings: SETTINGS,
  faults: (settings, senders) => [
    ...credentialFaults(settings),
    ...((settings.from ?? senders.sms) === undefined
      ? ['notifications.sms.vonage.from or notifications.default_sms_sender must be given']
      : []),
  ],
  open: openVonage,
});

function credentialFaults({ applicationId, privateKeyFile, apiKey, apiSecret }: VonageSettings): string[] {
  const section = 'notifications.sms.vonage';
  const given = [applicationId, privateKeyFile, apiKey, apiSecret].some((one) => one !== undefined);
  return [
    ...(given ? [] : [`${section}.application_id with private_key_file, or api_key with api_secret, must be given`]),
    ...((applicationId === undefined) === (privateKeyFile === undefined)
      ? []
      : [`${section}.application_id and private_key_file must be given together`]),
    ...((apiKey === undefined) === (apiSecret === undefined)
      ? []
      : [`${section}.api_key and api_secret must be given together`]),
    ...(privateKeyFile === undefined || isRsaKey(privateKeyOf(privateKeyFile), SHORTEST_KEY)
      ? []
      : [`${section}.private_key_file must be an RSA key of at least ${SHORTEST_KEY} bits`]),
  ];
}

async function openVonage(settings: VonageSettings, context: OpenContext): Promise<Provider<SmsMessage>> {
  const { applicationId, privateKeyFile, apiKey, apiSecret, signatureSecrets } = settings;
  const login = apiKey === undefined || apiSecret === undefined ? undefined : `${apiKey}:${apiSecret}`;
  const api = new HttpApi({
    ...settings,
    secrets: [privateKeyFile, apiSecret, login, ...signatureSecrets],
    clock: context.clock,
  });
  const { Vonage } = await import('@vonage/server-sdk');
  const { messages } = new Vonage(
    // Without a text for the key the library asks the file system for a file named undefined.
    {
      applicationId: applicationId ?? '',
      privateKey: privateKeyFile ?? '',
      apiKey: apiKey ?? '',
      apiSecret: apiSecret ?? '',
    },
    { apiHost: settings.baseUrl.replace(/\/$/, '') },
  );
  const signals = new AsyncLocalStorage<AbortSignal>();
  sendThrough(api, messages, signals);

  return {
    name: context.name,
    channel: 'sms',
    async send(message, call) {
      if (message.coding === 'binary')
        return { outcome: 'permanent_failure', code: 'type_unsupported', notAsked: true };
      try {
        const sms = smsOf(message, settings, context);
        const { messageUUID } = await signals.run(call.signal, () => messages.send(sms));
        return { outcome: 'sent', code: '202', messageId: messageUUID };
      } catch (thrown) {
        if (thrown instanceof NotTaken) return thrown.result;
        // The library could not even make the request, so nothing has left.
        const { code, detail } = faultOf(thrown);
        return { outcome: 'provider_error', ...api.told(code, detail) };
      }
    },
    ...(login === undefined ? {} : askingWith(api, login, applicationId)),
    ...(signatureSecrets.length === 0 ? {} : { receive: await openCallbacks(signatureSecrets) }),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

/** What became of a call that the service did not take, on its way out of the library. */
class NotTaken extends Error {
  readonly result: SendResult;

  constructor(result: SendResult) {
    super(result.outcome);
    this.result = result;
  }
}

/**
 * Puts our transport beneath the library: its own follows redirects, takes no signal, and cannot tell whether a request
 * had gone out. The library still makes the body and the credentials.
 */
function sendThrough(api: HttpApi, messages: Vonage['messages'], signals: AsyncLocalStorage<AbortSignal>): void {
  messages.sendRequest = async (request) => {
    const signal = signals.getStore();
    if (signal === undefined) throw new Error('a call without its signal');
    const { url, headers: credentials, data: content } = await messages.addAuthenticationToRequest(request);
    const headers = { ...credentials, 'content-type': 'application/json', accept: 'application/json' };
    const answer = await api.call(
      { method: 'POST', path: new URL(url), headers, body: JSON.stringify(content) },
      signal,
    );
    if (answer.kind === 'unanswered') throw new NotTaken(answer.result);
    // The token of one call is longer than what is kept of an answer.
    const token = credentials?.['Authorization']?.replace(/^\w+ /, '');
    const result = outcomeOf(api, withoutSecrets(answer, [token]));
    if (result.outcome !== 'sent') throw new NotTaken(result);
    // All that the library reads of it. Its type is the caller's to name, so that none can be given here.
    const data = { message_uuid: result.messageId } as never;
    return { data, status: answer.status, statusText: '', headers: {}, config: request, request };
  };
}

function smsOf(
  message: SmsMessage,
  settings: VonageSettings,
  { senders, callbackUrl, clock }: OpenContext,
): Parameters<Vonage['messages']['send']>[0] {
  const { from = senders.sms ?? '', signatureSecrets } = settings;
  const { expiresAt, coding } = message;
  const left = expiresAt === undefined ? undefined : Math.floor((expiresAt - clock.now()) / 1_000);
  return {
    channel: 'sms',
    messageType: 'text',
    to: digits(message.to),
    from: digits(message.from ?? from),
    text: message.text,
    clientRef: message.notificationId,
    ...(coding === 'binary' ? {} : { sms: { encodingType: coding } }),
    ...(left === undefined ? {} : { ttl: Math.min(Math.max(left, TTL.least), TTL.most) }),
    ...(callbackUrl === undefined || signatureSecrets.length === 0
      ? {}
      : { webhookUrl: callbackUrl, webhookVersion: 'v1' }),
  };
}

/** Vonage wants numbers without their plus sign. */
const digits = (sender: string): string => sender.replace(/^\+/, '');

/** What the account can ask; an application alone cannot. */
function askingWith(
  api: HttpApi,
  login: string,
  applicationId: string | undefined,
): Required<Pick<Provider, 'check' | 'lookUpPhone'>> {
  const authorization = `Basic ${Buffer.from(login).toString('base64')}`;
  const application = applicationId === undefined ? '?page_size=1' : `/${encodeURIComponent(applicationId)}`;
  return {
    check: (signal) =>
      api.check({ method: 'GET', path: `/v2/applications${application}`, headers: { authorization } }, signal),
    lookUpPhone: (phone, signal) => lookUpPhone(api, authorization, digits(phone), signal),
  };
}
