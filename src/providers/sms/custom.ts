/**
 * SMS through a service of one's own: a JSON document per message, POSTed to a URL and signed by Standard Webhooks. The
 * contract is in docs/providers.md.
 */
import type * as StandardWebhooks from 'standardwebhooks';
import { RECEIPT_KINDS, type ProviderReceipt } from '../../domain/receipt.ts';
import { happenedAt } from '../callback.ts';
import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi, type Answered } from '../http-api.ts';
import { field, listOf, numberOf, textOf } from '../json.ts';
import { parseJson } from '../parse-json.ts';
import type { CallbackRequest, CallbackResult, Provider, SendResult, SmsMessage } from '../provider.ts';
import { capabilitiesOf } from '../redact.ts';
import { HTTP_SETTINGS, neededText, text, texts, type SettingsOf } from '../settings.ts';
import { signatureHeaders, signingKey } from '../webhook/signature.ts';

const SETTINGS = {
  url: neededText('Where each message is POSTed.', { format: 'http-url' }),
  secrets: texts(
    'Keys that sign each call (Standard Webhooks), such as whsec_ and base64; one signature for each. Callbacks may be signed with any.',
    { secret: true, format: 'webhook-secret', needed: true },
  ),
  from: text('Sender. Empty: notifications.default_sms_sender.'),
  ...HTTP_SETTINGS,
};

export const custom = defineProvider({
  name: 'custom',
  channels: ['sms'],
  doc: 'A service of your own: the contract is in docs/providers.md.',
  settings: SETTINGS,
  open: openCustom,
});

async function openCustom(settings: SettingsOf<typeof SETTINGS>, context: OpenContext): Promise<Provider<SmsMessage>> {
  const library = await import('standardwebhooks');
  const { url, secrets, from = context.senders.sms } = settings;
  const { clock, callbackUrl } = context;
  const keys = secrets.map(signingKey);
  const api = new HttpApi({
    ...settings,
    baseUrl: url,
    secrets: [...secrets, ...capabilitiesOf(new URL(url))],
    clock,
  });

  return {
    name: context.name,
    channel: 'sms',
    async send(message, call) {
      const { notificationId, to, coding, text } = message;
      const body = JSON.stringify({
        id: call.key,
        notification_id: notificationId,
        to,
        from: message.from ?? from,
        type: coding,
        text,
        ...(message.expiresAt === undefined ? {} : { expires_at: new Date(message.expiresAt).toISOString() }),
        ...(callbackUrl === undefined ? {} : { callback_url: callbackUrl }),
      });
      const headers = {
        'content-type': 'application/json',
        ...signatureHeaders(keys, call.key, clock.now(), body),
      };
      const answer = await api.call({ method: 'POST', path: new URL(url), headers, body }, call.signal);
      return answer.kind === 'answered' ? outcomeOf(api, answer) : answer.result;
    },
    receive: async (request) => receive(request, (body, headers) => isSigned(library, secrets, body, headers)),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

/** The service names the outcome itself where the status alone cannot tell. */
function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status, json } = answer;
  const error = textOf(json, 'error', 'code');
  const told = api.told(error ?? status, textOf(json, 'error', 'message') ?? answer.body);
  if (error === 'invalid_recipient') return { outcome: 'invalid_recipient', ...told };
  if (error === 'unsubscribed') return { outcome: 'invalid_recipient', ...told, suppress: 'unsubscribed' };
  const messageId = textOf(json, 'message_id');
  // A service that is ours has nothing to hide behind a 2xx: without an id something else has answered.
  if (status >= 200 && status < 300) {
    const isTaken = messageId !== undefined && (field(json, 'error') ?? null) === null;
    return isTaken ? { outcome: 'sent', code: String(status), messageId } : api.unreadable(answer);
  }
  return api.outcomeOf(answer, error, textOf(json, 'error', 'message'));
}

type Headers = CallbackRequest['headers'];

function receive(
  { headers, body, now }: CallbackRequest,
  isSigned: (body: string, headers: Headers) => boolean,
): CallbackResult {
  const text = body.toString('utf8');
  if (!isSigned(text, headers)) {
    return { kind: 'refused', status: 401, why: 'no valid signature' };
  }
  const events = parseJson(text);
  if (events === undefined) return { kind: 'refused', status: 400, why: 'not JSON' };
  return {
    kind: 'genuine',
    receipts: listOf(events, 'events').flatMap((event) => receiptOf(event, now)),
    nonce: headers['webhook-id'] ?? '',
  };
}

function isSigned(
  { Webhook, WebhookVerificationError }: typeof StandardWebhooks,
  secrets: readonly string[],
  body: string,
  headers: Headers,
): boolean {
  return secrets.some((secret) => {
    try {
      // Throws for a time more than five minutes off, too.
      new Webhook(secret).verify(
        body,
        {
          'webhook-id': headers['webhook-id'] ?? '',
          'webhook-timestamp': headers['webhook-timestamp'] ?? '',
          'webhook-signature': headers['webhook-signature'] ?? '',
        },
        { jsonParse: false },
      );
      return true;
    } catch (thrown) {
      if (thrown instanceof WebhookVerificationError) return false;
      throw thrown;
    }
  });
}

function receiptOf(event: unknown, now: number): ProviderReceipt[] {
  const kind = RECEIPT_KINDS.find((one) => one === textOf(event, 'kind'));
  const eventId = textOf(event, 'id');
  const notificationId = textOf(event, 'notification_id');
  if (kind === undefined || eventId === undefined || notificationId === undefined) return [];
  const code = textOf(event, 'code');
  return [
    {
      eventId,
      kind,
      notificationId,
      at: happenedAt(numberOf(event, 'at'), now),
      ...(field(event, 'hard') === true ? { hard: true } : {}),
      ...(kind === 'unsubscribed' || kind === 'resubscribed' ? { wholeChannel: true } : {}),
      ...(code === undefined ? {} : { code }),
    },
  ];
}
