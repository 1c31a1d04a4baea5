import { expect } from 'chai';
import type { SendResult } from '../../../src/providers/provider.ts';
import { slackApi } from '../../../src/providers/slack/api.ts';
import { startHttp, type HttpAnswer } from '../../support/start-http.ts';
import { describeHttpProvider, outcome, providerDown, type HttpSubject } from '../http-provider.ts';
import { chat } from '../messages.ts';
import { openProvider } from '../open-provider.ts';

const TOKEN = 'xoxb-000000000000-abcdefghijklmnop';

const saysNo = (error: string): HttpAnswer => ({ status: 200, body: JSON.stringify({ ok: false, error }) });

const rows = (
  errors: readonly string[],
  expected: (code: string) => (result: SendResult) => void,
): HttpSubject['answers'] => errors.map((error) => [error, saysNo(error), expected(error)] as const);

const refused = (wanted: SendResult['outcome']) => (code: string) => (result: SendResult) => {
  expect(result).to.include({ outcome: wanted, code });
  expect(result).not.to.have.property('suppress');
};

describeHttpProvider({
  definition: slackApi,
  settings: (baseUrl) => ({ baseUrl, token: TOKEN }),
  message: chat('slack', 'C0123456789'),
  accepted: { status: 200, body: '{"ok":true,"channel":"C0123456789","ts":"1503435956.000247"}' },
  credentials: [TOKEN],
  check({ method, path, headers, body }) {
    expect(method).to.equal('POST');
    expect(path).to.equal('/chat.postMessage');
    expect(headers.authorization).to.equal(`Bearer ${TOKEN}`);
    expect(headers['content-type']).to.equal('application/json; charset=utf-8');
    expect(JSON.parse(body)).to.deep.equal({ channel: 'C0123456789', text: 'Order A-7 has left.' });
  },
  answers: [
    [
      'a time stamp',
      { status: 200, body: '{"ok":true,"ts":"1503435956.000247"}' },
      { outcome: 'sent', code: '200', messageId: '1503435956.000247' },
    ],
    ['yes without a time stamp', { status: 200, body: '{"ok":true}' }, outcome('unknown')],
    ['JSON that is no answer of Slack', { status: 200, body: '{"ts":"1"}' }, outcome('unknown')],
    ['no without a word', { status: 200, body: '{"ok":false}' }, outcome('unknown')],
    ...rows(
      ['channel_not_found', 'is_archived', 'not_in_channel', 'user_not_found', 'cannot_dm_bot'],
      refused('invalid_recipient'),
    ),
    ...rows(
      ['invalid_auth', 'token_revoked', 'token_expired', 'account_inactive', 'missing_scope', 'not_authed'],
      refused('provider_error'),
    ),
    ...rows(['msg_too_long', 'invalid_blocks', 'no_text', 'a_word_of_tomorrow'], refused('permanent_failure')),
    ...rows(['fatal_error', 'internal_error', 'service_unavailable'], () => providerDown),
    ...rows(['ratelimited', 'rate_limited'], (code) => (result) => {
      expect(result).to.include({ outcome: 'rate_limited', code, recipientOnly: true });
    }),
    [
      'the limit of the channel',
      { status: 429, headers: { 'retry-after': '3' }, body: '{"ok":false,"error":"ratelimited"}' },
      (result) =>
        expect(result).to.include({
          outcome: 'rate_limited',
          code: 'ratelimited',
          retryAfterMs: 3_000,
          recipientOnly: true,
        }),
    ],
    ['an unknown word with 500', { status: 500, body: '{"ok":false,"error":"odd"}' }, providerDown],
  ],
});

describe('slack_api', () => {
  it('serves ids and leaves URLs to the webhooks', async () => {
    await using provider = await openProvider(slackApi, { token: TOKEN });
    expect(provider.serves?.({ address: 'U0123456789' })).to.be.true;
    expect(provider.serves?.({ address: 'https://hooks.slack.com/services/T/B/x' })).to.be.false;
  });

  for (const [what, answer, ok] of [
    ['a good token', { status: 200, body: '{"ok":true,"user":"bot","team":"Shop"}' }, true],
    ['a revoked token, in a 200', saysNo('token_revoked'), false],
    ['something else that answers', { status: 200, body: '<html>' }, false],
    ['a Slack that is down', { status: 500, body: '' }, false],
  ] as const) {
    it(`asks whose token it is: ${what}`, async () => {
      await using server = await startHttp(() => answer);
      await using provider = await openProvider(slackApi, { baseUrl: `${server.url}/api`, token: TOKEN });
      const check = await provider.check?.(new AbortController().signal);
      expect(check?.ok).to.equal(ok);
      expect(check?.detail).to.be.a('string').that.is.not.empty;
      expect(server.requests.map(({ path }) => path)).to.deep.equal(['/api/auth.test']);
      expect(server.requests.map(({ headers }) => headers.authorization)).to.deep.equal([`Bearer ${TOKEN}`]);
    });
  }

  it('says that nobody answers', async () => {
    await using provider = await openProvider(slackApi, { baseUrl: 'http://127.0.0.1:9/api', token: TOKEN });
    expect((await provider.check?.(new AbortController().signal))?.ok).to.be.false;
  });
});
