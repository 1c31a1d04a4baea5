import { expect } from 'chai';
import { Webhook } from 'standardwebhooks';
import type { CallbackResult } from '../../../src/providers/provider.ts';
import { custom } from '../../../src/providers/sms/custom.ts';
import { describeHttpProvider, outcome } from '../http-provider.ts';
import { KEY } from '../conformance.ts';
import { sms } from '../messages.ts';
import { openProvider } from '../open-provider.ts';

const SECRET = `whsec_${Buffer.alloc(32, 3).toString('base64')}`;
const NOW = Date.now();
const ID = '0197f3c2-0000-7000-8000-000000000001';

describeHttpProvider({
  definition: custom,
  settings: (baseUrl) => ({ url: `${baseUrl}/sms`, secrets: [SECRET] }),
  message: sms(),
  accepted: { status: 202, body: '{"message_id":"m-1"}' },
  credentials: [SECRET],
  context: { callbackUrl: 'https://hooks.example.org/callbacks/custom' },
  check({ path, headers, body }) {
    expect(path).to.equal('/sms');
    // The signature is checked with the vendors' own library, not with ours.
    const signed = new Webhook(SECRET).verify(
      body,
      Object.fromEntries(Object.entries(headers)) as Record<string, string>,
    );
    expect(signed).to.deep.equal({
      id: KEY,
      notification_id: ID,
      to: '+15551230000',
      from: '+15550000001',
      type: 'text',
      text: 'Your order is on its way.',
      callback_url: 'https://hooks.example.org/callbacks/custom',
    });
  },
  answers: [
    ['a message id', { status: 200, body: '{"message_id":"m-1"}' }, { outcome: 'sent', code: '200', messageId: 'm-1' }],
    ['a 200 without a message id', { status: 200, body: '{"ok":true}' }, outcome('unknown')],
    ['a 200 with an empty message id', { status: 200, body: '{"message_id":""}' }, outcome('unknown')],
    ['an error of null', { status: 200, body: '{"message_id":"m-1","error":null}' }, outcome('sent')],
    [
      'a 200 that has both a message id and an error',
      { status: 200, body: '{"message_id":"m-1","error":{"code":"no_credit"}}' },
      outcome('unknown'),
    ],
    [
      'an invalid recipient',
      { status: 422, body: '{"error":{"code":"invalid_recipient","message":"no such number"}}' },
      { outcome: 'invalid_recipient', code: 'invalid_recipient', detail: 'no such number' },
    ],
    [
      'a recipient who said STOP, in a 200',
      { status: 200, body: '{"error":{"code":"unsubscribed"}}' },
      (result) => expect(result).to.include({ outcome: 'invalid_recipient', suppress: 'unsubscribed' }),
    ],
    [
      'any other 4xx',
      { status: 400, body: '{"error":{"code":"too_long","message":"over 10 segments"}}' },
      { outcome: 'permanent_failure', code: 'too_long', detail: 'over 10 segments' },
    ],
  ],
});

describe('custom reads its callbacks', () => {
  const body = JSON.stringify({
    events: [
      { id: 'e-1', notification_id: ID, kind: 'delivered', at: NOW - 5 },
      { id: 'e-2', notification_id: ID, kind: 'bounced', hard: true, code: 'absent' },
      { id: 'e-3', notification_id: ID, kind: 'teleported' },
      { id: 'e-4', kind: 'delivered' },
    ],
  });

  async function receive(given: {
    body?: string;
    signedBody?: string;
    at?: number;
    secret?: string;
  }): Promise<CallbackResult> {
    await using provider = await openProvider(custom, { url: 'http://127.0.0.1:9/', secrets: [SECRET] });
    // The library reads the real clock, and the whole suite may take longer than its five minutes.
    const at = new Date(given.at ?? Date.now());
    const signature = new Webhook(given.secret ?? SECRET).sign('msg_1', at, given.signedBody ?? body);
    const result = await provider.receive?.({
      url: new URL('https://hooks.example.org/callbacks/custom'),
      headers: {
        'webhook-id': 'msg_1',
        'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
        'webhook-signature': signature,
      },
      body: Buffer.from(given.body ?? body),
      now: NOW,
      signal: new AbortController().signal,
    });
    if (result === undefined) throw new Error('it has no callbacks');
    return result;
  }

  it('takes the events it knows', async () => {
    expect(await receive({})).to.deep.equal({
      kind: 'genuine',
      nonce: 'msg_1',
      receipts: [
        { eventId: 'e-1', kind: 'delivered', notificationId: ID, at: NOW - 5 },
        { eventId: 'e-2', kind: 'bounced', notificationId: ID, at: NOW, hard: true, code: 'absent' },
      ],
    });
  });

  for (const [what, given] of [
    ['a body that was changed', { body: body.replace('delivered', 'opened') }],
    ['another key', { secret: `whsec_${Buffer.alloc(32, 4).toString('base64')}` }],
    ['a time long past', { at: NOW - 10 * 60_000 }],
    ['a body that is not JSON', { body: '<xml/>', signedBody: '<xml/>' }],
  ] as const) {
    it(`refuses ${what}`, async () => {
      expect((await receive(given)).kind).to.equal('refused');
    });
  }

  it('refuses an empty body, however it is signed', async () => {
    expect(await receive({ body: '', signedBody: '' })).to.include({ kind: 'refused', status: 400 });
  });

  for (const [what, at, expected] of [
    ['with a fraction to the millisecond', NOW - 5.3, NOW - 5],
    ['in another unit, which lies ahead, as now', NOW * 1_000, NOW],
    ['before 1970 as now', -1, NOW],
  ] as const) {
    it(`takes a time ${what}`, async () => {
      const events = JSON.stringify({ events: [{ id: 'e-1', notification_id: ID, kind: 'delivered', at }] });
      const result = await receive({ body: events, signedBody: events });
      expect(result).to.have.nested.property('receipts[0].at', expected);
    });
  }
});
