import { expect } from 'chai';
import type { SendResult } from '../../../src/providers/provider.ts';
import { slackWebhook } from '../../../src/providers/slack/webhook.ts';
import { startHttp } from '../../support/start-http.ts';
import { KEY } from '../conformance.ts';
import { downFor, answered, describeHttpProvider, outcome, providerDown, type HttpSubject } from '../http-provider.ts';
import { chat } from '../messages.ts';
import { openProvider } from '../open-provider.ts';

const TOKEN = 'XyZ0123456789abcdefghijk';
const PATH = `/services/T0001/B0001/${TOKEN}`;

/** The recipient's URL is below the base URL, which is known when the service has a port: the settings tell it. */
const recipient = { base: '' };
const message = {
  ...chat('slack', ''),
  get to(): string {
    return recipient.base + PATH;
  },
};

const subject: HttpSubject = {
  definition: slackWebhook,
  settings: (baseUrl) => {
    recipient.base = baseUrl;
    return { baseUrl };
  },
  message,
  accepted: { status: 200, body: 'ok' },
  credentials: [PATH, TOKEN],
  pathIsOfRecipient: true,
  check({ method, path, headers, body }) {
    expect(method).to.equal('POST');
    expect(path).to.equal(PATH);
    expect(headers['content-type']).to.equal('application/json');
    expect(JSON.parse(body)).to.deep.equal({ text: 'Order A-7 has left.' });
  },
  answers: [
    ['ok', { status: 200, body: 'ok' }, { outcome: 'sent', code: '200' }],
    ['a 200 that says something else', { status: 200, body: 'okay' }, outcome('unknown')],
    ['invalid_payload', { status: 400, body: 'invalid_payload' }, refused('permanent_failure', 'invalid_payload')],
    [
      'too_many_attachments',
      { status: 400, body: 'too_many_attachments' },
      refused('permanent_failure', 'too_many_attachments'),
    ],
    ['no_text', { status: 400, body: 'no_text' }, refused('permanent_failure', 'no_text')],
    ['action_prohibited', { status: 403, body: 'action_prohibited' }, closed('action_prohibited')],
    ['channel_is_archived', { status: 410, body: 'channel_is_archived' }, closed('channel_is_archived')],
    ['channel_not_found', { status: 404, body: 'channel_not_found' }, closed('channel_not_found')],
    ['user_not_found', { status: 400, body: 'user_not_found' }, closed('user_not_found')],
    ['no_active_hooks', { status: 404, body: 'no_active_hooks' }, closed('no_active_hooks')],
    ['team_disabled', { status: 403, body: 'team_disabled' }, closed('team_disabled')],
    [
      'posting_to_general_channel_denied',
      { status: 403, body: 'posting_to_general_channel_denied' },
      closed('posting_to_general_channel_denied'),
    ],
    ['a 410 without a word', { status: 410, body: '' }, outcome('invalid_recipient')],
    ['no_service', { status: 404, body: 'no_service' }, dead('no_service')],
    ['no_team', { status: 404, body: 'no_team\n' }, dead('no_team')],
    ['invalid_token', { status: 403, body: 'invalid_token' }, dead('invalid_token')],
    [
      'the limit of the webhook',
      { status: 429, headers: { 'retry-after': '30' }, body: 'rate_limited' },
      (result) => expect(result).to.include({ outcome: 'rate_limited', retryAfterMs: 30_000, recipientOnly: true }),
    ],
    [
      'a 503 that asks to wait, which is not the webhook',
      { status: 503, headers: { 'retry-after': '30' }, body: '' },
      downFor(30_000),
    ],
    ['rollup_error', { status: 500, body: 'rollup_error' }, providerDown],
  ],
};

function refused(wanted: SendResult['outcome'], code: string) {
  return (result: SendResult): void => {
    expect(result).to.include({ outcome: wanted, code });
  };
}

function closed(code: string) {
  return (result: SendResult): void => {
    refused('invalid_recipient', code)(result);
    expect(result).not.to.have.property('suppress');
  };
}

function dead(code: string) {
  return (result: SendResult): void => {
    expect(result).to.include({ outcome: 'invalid_recipient', code, suppress: 'invalid_token' });
  };
}

describeHttpProvider(subject);

describe('slack_webhook calls nothing but what is below its base URL', () => {
  for (const to of [
    '',
    'C0123456789',
    `http://hooks.slack.com${PATH}`,
    `https://hooks.slack.com.example.org${PATH}`,
    `https://hooks.slack.com@127.0.0.1${PATH}`,
    `https://hooks.slack.com:8443${PATH}`,
    `https://127.0.0.1${PATH}`,
    'https://hooks.slack.com',
    'https://hooks.slack.com/',
  ]) {
    it(`refuses ${JSON.stringify(to)}`, async () => {
      await using provider = await openProvider(slackWebhook, {});
      // Aborted, so that no wrong answer could reach anything.
      const result = await provider.send(chat('slack', to), { key: KEY, signal: AbortSignal.abort() });
      expect(result).to.include({ outcome: 'invalid_recipient', code: 'not_a_slack_webhook' });
    });
  }

  it('takes a URL of Slack itself unless configured otherwise', async () => {
    await using provider = await openProvider(slackWebhook, {});
    const result = await provider.send(chat('slack', `https://hooks.slack.com${PATH}`), {
      key: KEY,
      signal: AbortSignal.abort(),
    });
    expect(result.outcome).to.equal('temporary_failure');
  });

  it('refuses a path that climbs out of the one of the base URL', async () => {
    await using server = await startHttp(() => ({ status: 200, body: 'ok' }));
    await using provider = await openProvider(slackWebhook, { baseUrl: `${server.url}/slack` });
    for (const path of ['/slack/../admin', '/slack/%2e%2e/admin', '/slackers/x', '/slack']) {
      const result = await provider.send(chat('slack', server.url + path), {
        key: KEY,
        signal: new AbortController().signal,
      });
      expect(result.outcome, path).to.equal('invalid_recipient');
    }
    expect(server.requests).to.be.empty;
  });

  it('serves URLs and leaves ids to the Web API', async () => {
    await using provider = await openProvider(slackWebhook, {});
    expect(provider.serves?.({ address: `https://hooks.slack.com${PATH}` })).to.be.true;
    expect(provider.serves?.({ address: 'C0123456789' })).to.be.false;
  });
});

describe('slack_webhook keeps the URL of a webhook to itself', () => {
  for (const [what, status] of [
    ['an answer that cannot be read', 200],
    ['a refusal', 400],
  ] as const) {
    it(`in ${what}`, async () => {
      const result = await answered(subject, { status, body: `see https://hooks.slack.com${PATH} and ${TOKEN}` });
      expect(result.detail).to.be.a('string').that.does.not.contain(TOKEN);
      expect(result.detail).not.to.contain(PATH);
    });
  }
});
