/** The providers without a library beneath them: against bare HTTP clients that send the same request. */
import { generateKeyPairSync } from 'node:crypto';
import { request as undiciRequest } from 'undici';
import { discord } from '../../src/providers/discord/webhook.ts';
import { mailgun } from '../../src/providers/email/mailgun.ts';
import type { ProviderDefinition } from '../../src/providers/definition.ts';
import type { Message } from '../../src/providers/provider.ts';
import { fcm } from '../../src/providers/push/fcm.ts';
import { onesignal } from '../../src/providers/push/onesignal.ts';
import { slackApi } from '../../src/providers/slack/api.ts';
import { slackWebhook } from '../../src/providers/slack/webhook.ts';
import { custom } from '../../src/providers/sms/custom.ts';
import { http as httpWebhook } from '../../src/providers/webhook/http.ts';
import { chat, email, push, sms, webhook } from '../../test/providers/messages.ts';
import { openProvider, type GivenSettings } from '../../test/providers/open-provider.ts';
import { startHttp, type ReceivedRequest } from '../../test/support/start-http.ts';
import { sampleMail } from '../sample-mail.ts';
import { answerTo } from './answers.ts';
import type { Subject } from './subject.ts';

const SIGNING_KEY = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

/** What a provider is set up with and sends, when its service is below this address. */
type Setup = (base: string) => Promise<{ readonly settings: GivenSettings; readonly message: Message }>;

export const FETCH_SUBJECTS: readonly Subject[] = [
  against(mailgun, async (baseUrl) => ({
    settings: { baseUrl: `${baseUrl}/mailgun`, domain: 'mg.example.org', apiKey: 'key-of-the-shop' },
    message: email(await sampleMail()),
  })),
  against(custom, async (baseUrl) => ({
    settings: { url: `${baseUrl}/custom`, secrets: [SIGNING_KEY] },
    message: sms(),
  })),
  against(fcm, async (baseUrl) => ({
    settings: { baseUrl: `${baseUrl}/fcm`, tokenUrl: `${baseUrl}/token`, serviceAccountFile: serviceAccount() },
    message: push({ kind: 'fcm_token', token: 'device-token-1' }),
  })),
  against(onesignal, async (baseUrl) => ({
    settings: { baseUrl: `${baseUrl}/onesignal`, appId: '11111111-2222-4333-8444-555555555555', apiKey: 'os_v2_app_a' },
    message: push({ kind: 'onesignal', token: '99999999-8888-4777-8666-555555555555' }),
  })),
  against(slackWebhook, async (baseUrl) => ({
    settings: { baseUrl: `${baseUrl}/slack_webhook` },
    message: chat('slack', `${baseUrl}/slack_webhook/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX`),
  })),
  against(slackApi, async (baseUrl) => ({
    settings: { baseUrl: `${baseUrl}/slack_api`, token: 'xoxb-000000000000-abcdefghijklmnop' },
    message: chat('slack', 'C0123456789'),
  })),
  against(discord, async (baseUrl) => ({
    settings: { baseUrl: `${baseUrl}/discord` },
    message: chat('discord', 'https://discord.com/api/webhooks/1142/abcdefghijklmnopqrstuvwxyz'),
  })),
  against(httpWebhook, async (baseUrl) => ({
    settings: { secrets: [SIGNING_KEY], allowPrivate: ['127.0.0.1'] },
    message: webhook(`${baseUrl}/http/hook`),
  })),
];

function serviceAccount(): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  return JSON.stringify({
    type: 'service_account',
    project_id: 'shop-1',
    client_email: 'carillon@shop-1.iam.gserviceaccount.com',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  });
}

function against(definition: ProviderDefinition, setup: Setup): Subject {
  return {
    definition,
    async prepare({ http }) {
      const request = await requestOf(definition, setup);
      const url = http + request.path;
      const headers = headersOf(request);
      const body = await bodyOf(request);
      return {
        ...(await setup(http)),
        against: {
          async fetch() {
            const answer = await fetch(url, { method: 'POST', headers, body: body() });
            const text = await answer.text();
            if (!answer.ok) throw new Error(`${answer.status} ${text}`);
          },
          // The least that undici can do, which has no `AbortSignal` and no time limit for the whole of a call.
          async 'undici.request'() {
            const answer = await undiciRequest(url, { method: 'POST', headers, body: body() });
            const text = await answer.body.text();
            if (answer.statusCode >= 300) throw new Error(`${answer.statusCode} ${text}`);
          },
        },
      };
    },
  };
}

/** What the provider sends, so that the bare side always sends the same. The last request: one for a token comes before. */
async function requestOf(definition: ProviderDefinition, setup: Setup): Promise<ReceivedRequest> {
  await using server = await startHttp(({ path }) => answerTo(path));
  const { settings, message } = await setup(server.url);
  await using provider = await openProvider(definition, settings);
  const { outcome, detail } = await provider.send(message, {
    key: '6f1c0a52-7d1b-5b0e-9a53-3a4f2d1c0b9a',
    signal: new AbortController().signal,
  });
  const request = server.requests.at(-1);
  if (outcome !== 'sent' || request === undefined) throw new Error(`${definition.name}: ${outcome} ${detail}`);
  return request;
}

const isForm = ({ headers }: ReceivedRequest): boolean =>
  headers['content-type']?.startsWith('multipart/form-data') ?? false;

/** Without those that `fetch` writes itself. */
function headersOf(request: ReceivedRequest): Record<string, string> {
  const own = ['host', 'connection', 'content-length', ...(isForm(request) ? ['content-type'] : [])];
  const given = Object.entries(request.headers).filter(([name]) => !own.includes(name));
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}

/** Writes the body anew for each message, as a caller without a provider would have to. */
async function bodyOf(request: ReceivedRequest): Promise<() => string | FormData> {
  if (isForm(request)) {
    const type = request.headers['content-type'] ?? '';
    const form = await new Response(request.body, { headers: { 'content-type': type } }).formData();
    return () => form;
  }
  const fields: unknown = JSON.parse(request.body);
  return () => JSON.stringify(fields);
}
