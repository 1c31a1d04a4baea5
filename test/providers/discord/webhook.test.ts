import { expect } from 'chai';
import { discord } from '../../../src/providers/discord/webhook.ts';
import type { SendResult } from '../../../src/providers/provider.ts';
import { startHttp } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { answered, describeHttpProvider, outcome, providerDown, type HttpSubject } from '../http-provider.ts';
import { chat } from '../messages.ts';
import { openProvider } from '../open-provider.ts';

const TOKEN = 'Zm9v-bar_Baz0123456789';
const URL_OF_WEBHOOK = `https://discord.com/api/webhooks/1234567890/${TOKEN}`;
const ACCEPTED = { status: 200, body: '{"id":"9001","channel_id":"42"}' };

const subject: HttpSubject = {
  definition: discord,
  settings: (baseUrl) => ({ baseUrl }),
  message: chat('discord', URL_OF_WEBHOOK),
  accepted: ACCEPTED,
  credentials: [URL_OF_WEBHOOK, TOKEN],
  check({ method, path, headers, body }) {
    expect(method).to.equal('POST');
    expect(path).to.equal(`/webhooks/1234567890/${TOKEN}?wait=true`);
    expect(headers['content-type']).to.equal('application/json');
    expect(JSON.parse(body)).to.deep.equal({ content: 'Order A-7 has left.', allowed_mentions: { parse: [] } });
  },
  answers: [
    ['a message id', ACCEPTED, { outcome: 'sent', code: '200', messageId: '9001' }],
    ['a 204, as nobody asked to wait', { status: 204 }, outcome('unknown')],
    ['an unknown webhook', { status: 404, body: '{"message":"Unknown Webhook","code":10015}' }, dead('10015')],
    ['an invalid token with 401', { status: 401, body: '{"message":"no","code":50027}' }, dead('50027')],
    ['an invalid token with 403', { status: 403, body: '{"message":"no","code":50027}' }, dead('50027')],
    [
      'a 401 without a code of its own',
      { status: 401, body: '{"message":"401: Unauthorized","code":0}' },
      (result) => expect(result).to.include({ outcome: 'provider_error', code: '401' }),
    ],
    ['a 404 that is not about the webhook', { status: 404, body: '{"code":0}' }, outcome('provider_error')],
    [
      'a message it does not take',
      { status: 400, body: '{"message":"Invalid Form Body","code":50035}' },
      (result) => expect(result).to.include({ outcome: 'permanent_failure', code: '50035' }),
    ],
    [
      'the limit of the webhook',
      {
        status: 429,
        headers: { 'retry-after': '1' },
        body: '{"message":"slow down","retry_after":0.3361,"global":false}',
      },
      (result) => expect(result).to.include({ outcome: 'rate_limited', retryAfterMs: 337, recipientOnly: true }),
    ],
    [
      'the limit of everything',
      { status: 429, body: '{"message":"slow down","retry_after":64.5,"global":true}' },
      (result) => {
        expect(result).to.include({ outcome: 'rate_limited', retryAfterMs: 64_500 });
        expect(result).not.to.have.property('recipientOnly');
      },
    ],
    [
      'a 429 of what stands in front of the API',
      { status: 429, headers: { 'retry-after': '600' }, body: '<html>banned</html>' },
      (result) => {
        expect(result).to.include({ outcome: 'rate_limited', retryAfterMs: 600_000 });
        expect(result).not.to.have.property('recipientOnly');
      },
    ],
    ['500 with a code', { status: 500, body: '{"code":0,"message":"500: Internal Server Error"}' }, providerDown],
  ],
};

function dead(code: string) {
  return (result: SendResult): void => {
    expect(result).to.include({ outcome: 'invalid_recipient', suppress: 'invalid_token', code });
  };
}

describeHttpProvider(subject);

async function sentTo(
  to: string,
  text = 'Hello',
): Promise<{ result: SendResult; paths: string[]; contents: unknown[] }> {
  await using server = await startHttp(() => ACCEPTED);
  await using provider = await openProvider(discord, { baseUrl: `${server.url}/api/v10` });
  const result = await provider.send(chat('discord', to, { text }), { key: KEY, signal: new AbortController().signal });
  return {
    result,
    paths: server.requests.map(({ path }) => path),
    contents: server.requests.map(({ body }) => (JSON.parse(body) as { content?: unknown }).content),
  };
}

describe('discord calls nothing but webhooks of Discord', () => {
  for (const host of ['discord.com', 'discordapp.com', 'ptb.discord.com', 'canary.discord.com']) {
    for (const version of ['', '/v10']) {
      it(`takes https://${host}/api${version}/webhooks, and calls its own base URL`, async () => {
        const { result, paths } = await sentTo(`https://${host}/api${version}/webhooks/77/${TOKEN}`);
        expect(result.outcome).to.equal('sent');
        expect(paths).to.deep.equal([`/api/v10/webhooks/77/${TOKEN}?wait=true`]);
      });
    }
  }

  for (const to of [
    '',
    'discord',
    `http://discord.com/api/webhooks/77/${TOKEN}`,
    `https://discord.com.example.org/api/webhooks/77/${TOKEN}`,
    `https://example.org/https://discord.com/api/webhooks/77/${TOKEN}`,
    `https://example.org@discord.com/api/webhooks/77/${TOKEN}`,
    `https://discordXcom/api/webhooks/77/${TOKEN}`,
    `https://discord.com/api/webhooks/x77/${TOKEN}`,
    `https://discord.com/api/webhooks/77/${TOKEN}/slack`,
    `https://discord.com/api/webhooks/77/${TOKEN}?thread_id=1`,
    `https://discord.com/api/webhooks/77/..%2F..%2Fusers`,
    `https://discord.com/api/webhooks/77/${TOKEN}\n`,
    'https://discord.com/api/webhooks/77/',
    `https://discord.com/webhooks/77/${TOKEN}`,
  ]) {
    it(`refuses ${JSON.stringify(to)} without a call`, async () => {
      const { result, paths } = await sentTo(to);
      expect(result).to.deep.equal({ outcome: 'invalid_recipient', code: 'not_a_discord_webhook', notAsked: true });
      expect(paths).to.be.empty;
    });
  }
});

describe('discord takes no more than 2,000 characters', () => {
  it('sends as many, emoji counted once', async () => {
    const text = '🎉'.repeat(2_000);
    const { result, contents } = await sentTo(URL_OF_WEBHOOK, text);
    expect(result.outcome).to.equal('sent');
    expect(contents).to.deep.equal([text]);
  });

  it('refuses one more without a call', async () => {
    const { result, paths } = await sentTo(URL_OF_WEBHOOK, 'a'.repeat(2_001));
    expect(result).to.deep.equal({ outcome: 'permanent_failure', code: 'too_long', notAsked: true });
    expect(paths).to.be.empty;
  });
});

describe('discord keeps the token of a webhook to itself', () => {
  it('in an answer that cannot be read', async () => {
    const result = await answered(subject, { status: 200, body: `see ${URL_OF_WEBHOOK} and ${TOKEN}` });
    expect(result.outcome).to.equal('unknown');
    expect(result.detail).to.be.a('string').that.does.not.contain(TOKEN);
  });
});
