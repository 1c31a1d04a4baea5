import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { expect } from 'chai';
import type { Senders } from '../../../src/providers/definition.ts';
import { sendgrid } from '../../../src/providers/email/sendgrid.ts';
import type { CallbackResult } from '../../../src/providers/provider.ts';
import { openProvider } from '../open-provider.ts';

const NOW = Date.UTC(2026, 10, 22, 12);
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;
const ID = '0197f3c2-0000-7000-8000-000000000001';

const ec = (): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' });
const base64 = (key: KeyObject): string => key.export({ type: 'spki', format: 'der' }).toString('base64');
const OLD = ec();
const CURRENT = ec();

/** The example that SendGrid publishes with its libraries. */
const PUBLISHED = {
  key:
    'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6w' +
    'EA3F+g==',
  signature: 'MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=',
  timestamp: '1600112502',
  body:
    '[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",' +
    '"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",' +
    '"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",' +
    '"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n',
};

interface Given {
  readonly keys?: readonly string[];
  readonly signature?: string | undefined;
  readonly timestamp?: string | undefined;
  readonly body: string | Buffer;
  readonly now?: number;
}

async function receive({
  keys = [base64(CURRENT.publicKey)],
  signature,
  timestamp,
  body,
  now = NOW,
}: Given): Promise<CallbackResult> {
  await using provider = await openProvider(sendgrid, { apiKey: 'SG.key', webhookPublicKeys: keys });
  const result = await provider.receive?.({
    url: new URL('https://hooks.example.org/callbacks/sendgrid'),
    headers: {
      'x-twilio-email-event-webhook-signature': signature,
      'x-twilio-email-event-webhook-timestamp': timestamp,
    },
    body: Buffer.from(body),
    now,
    signal: new AbortController().signal,
  });
  if (result === undefined) throw new Error('it has no callbacks');
  return result;
}

/** As SendGrid signs it: the time as text and the body's bytes, by ECDSA with SHA-256, in DER. */
function signed(
  body: string | Buffer,
  at: number | string = NOW,
  key: KeyObject = CURRENT.privateKey,
): Given & { readonly timestamp: string } {
  const timestamp = typeof at === 'string' ? at : String(Math.floor(at / SECOND));
  const signature = sign('sha256', Buffer.concat([Buffer.from(timestamp), Buffer.from(body)]), key).toString('base64');
  return { body, timestamp, signature };
}

const EVENT = { sg_event_id: 'e-1', email: 'ada@example.com', timestamp: NOW / SECOND - 5, carillon_id: ID };
const RECEIPT = { eventId: 'e-1', notificationId: ID, address: 'ada@example.com', at: NOW - 5 * SECOND };

async function receiptsOf(...events: unknown[]): Promise<unknown> {
  const result = await receive(signed(JSON.stringify(events)));
  expect(result.kind).to.equal('genuine');
  return result.kind === 'genuine' ? result.receipts : [];
}

describe('sendgrid tells its own callbacks from others', () => {
  it('and takes the published example', async () => {
    const { key, ...published } = PUBLISHED;
    const result = await receive({ ...published, keys: [key], now: 1_600_112_503_000 });
    // It carries no id of a notification, so it says nothing here.
    expect(result).to.deep.equal({ kind: 'genuine', receipts: [] });
  });

  const { key, ...published } = PUBLISHED;
  const example = { ...published, keys: [key], now: 1_600_112_503_000 };
  const body = JSON.stringify([{ ...EVENT, event: 'delivered' }]);
  const good = signed(body);
  const refused: readonly (readonly [string, Given, number])[] = [
    [
      'the published example with another body',
      { ...example, body: published.body.replace('dropped', 'clicked') },
      401,
    ],
    ['the published example with another time', { ...example, timestamp: '1600112503' }, 401],
    ['the published example without its last line break', { ...example, body: published.body.trimEnd() }, 401],
    ['a body that was changed', { ...good, body: body.replace('delivered', 'open') }, 401],
    ['a signature by another key', signed(body, NOW, OLD.privateKey), 401],
    ['any callback where no key is configured', { ...good, keys: [] }, 401],
    ['no signature', { ...good, signature: undefined }, 401],
    ['no time', { ...good, timestamp: undefined }, 401],
    ['a signature that is no base64', { ...good, signature: '%%%' }, 401],
    ['a signature that is no DER', { ...good, signature: 'AAAA' }, 401],
    ['a signature of zeros', { ...good, signature: Buffer.alloc(72).toString('base64') }, 401],
    ['a time that is no number', signed(body, 'now'), 401],
    ['a time in milliseconds', signed(body, String(NOW)), 401],
    ['one that is older than SendGrid repeats it', signed(body, NOW - DAY - 6 * MINUTE), 401],
    ['one from the future', signed(body, NOW + 6 * MINUTE), 401],
    ['a signed body that is not JSON', signed('<xml/>'), 400],
    ['a signed body that is no list', signed('{"event":"delivered"}'), 400],
    ['an empty body', signed(''), 400],
  ];
  for (const [what, given, status] of refused) {
    it(`and refuses ${what}`, async () => {
      expect(await receive(given)).to.deep.include({ kind: 'refused', status });
    });
  }

  it('and takes either key while one is changed for another', async () => {
    const keys = [base64(OLD.publicKey), base64(CURRENT.publicKey)];
    expect((await receive({ ...signed(body, NOW, OLD.privateKey), keys })).kind).to.equal('genuine');
    expect((await receive({ ...good, keys })).kind).to.equal('genuine');
  });

  it('and takes one that comes at last after a day, or from a clock that is ahead', async () => {
    expect((await receive(signed(body, NOW - DAY - 4 * MINUTE))).kind).to.equal('genuine');
    expect((await receive(signed(body, NOW + 4 * MINUTE))).kind).to.equal('genuine');
  });

  it('by the bytes, also such that are no UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from('[{"useragent":"'), Buffer.of(0xff, 0xfe), Buffer.from('"}]')]);
    expect((await receive(signed(bytes))).kind).to.equal('genuine');
  });
});

describe('sendgrid reads its events', () => {
  const cases: readonly (readonly [string, Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>])[] = [
    ['processed', { event: 'processed' }, { kind: 'sent' }],
    ['delivered', { event: 'delivered', response: '250 OK' }, { kind: 'delivered' }],
    ['open', { event: 'open' }, { kind: 'opened' }],
    ['open by a person', { event: 'open', sg_machine_open: false }, { kind: 'opened' }],
    ['open by a machine', { event: 'open', sg_machine_open: true }, { kind: 'opened', machine: true }],
    ['click', { event: 'click', url: 'https://example.org/' }, { kind: 'clicked' }],
    [
      'bounce',
      {
        event: 'bounce',
        type: 'bounce',
        status: '5.1.1',
        bounce_classification: 'Invalid Address',
        reason: '550 5.1.1 <ada@example.com> unknown',
      },
      { kind: 'bounced', hard: true, code: '5.1.1', detail: 'Invalid Address' },
    ],
    [
      'bounce of type blocked',
      { event: 'bounce', type: 'blocked', status: '4.7.1' },
      { kind: 'bounced', code: '4.7.1' },
    ],
    ['bounce of no type', { event: 'bounce' }, { kind: 'bounced' }],
    [
      'dropped: Bounced Address',
      { event: 'dropped', reason: 'Bounced Address' },
      { kind: 'bounced', hard: true, detail: 'Bounced Address' },
    ],
    ['dropped: Invalid', { event: 'dropped', reason: 'Invalid' }, { kind: 'bounced', hard: true, detail: 'Invalid' }],
    ['dropped: Spam Content', { event: 'dropped', reason: 'Spam Content' }, { kind: 'failed', detail: 'Spam Content' }],
    [
      'dropped: Invalid SMTPAPI header',
      { event: 'dropped', reason: 'Invalid SMTPAPI header' },
      { kind: 'failed', detail: 'Invalid SMTPAPI header' },
    ],
    ['dropped without a reason', { event: 'dropped' }, { kind: 'failed' }],
    ['spamreport', { event: 'spamreport' }, { kind: 'complained' }],
    ['unsubscribe', { event: 'unsubscribe' }, { kind: 'unsubscribed' }],
    ['group_unsubscribe', { event: 'group_unsubscribe', asm_group_id: 1 }, { kind: 'unsubscribed' }],
    ['group_resubscribe', { event: 'group_resubscribe', asm_group_id: 1 }, { kind: 'resubscribed' }],
  ];
  for (const [name, event, expected] of cases) {
    it(`${name}: ${String(expected['kind'])}`, async () => {
      expect(await receiptsOf({ ...EVENT, ...event })).to.deep.equal([{ ...RECEIPT, ...expected }]);
    });
  }

  for (const [reason, kind] of [
    ['Unsubscribed Address', 'unsubscribed'],
    ['Spam Reporting Address', 'complained'],
  ] as const) {
    it(`dropped: ${reason}: it came back, as it was not even tried, and the recipient wants none`, async () => {
      const first = { ...RECEIPT, kind: 'bounced', detail: reason };
      const second = { ...first, kind, eventId: `${RECEIPT.eventId}.${kind}` };
      expect(await receiptsOf({ ...EVENT, event: 'dropped', reason })).to.deep.equal([first, second]);
    });
  }

  it('and leaves out what says nothing', async () => {
    const { sg_event_id: _event, ...nameless } = EVENT;
    const { carillon_id: _id, ...foreign } = EVENT;
    const events = [
      { ...EVENT, event: 'deferred' },
      { ...EVENT, event: 'account_status_change' },
      { ...EVENT, event: 'toString' },
      { ...EVENT },
      { ...nameless, event: 'delivered' },
      { ...foreign, event: 'delivered' },
      null,
      7,
      'delivered',
      [],
    ];
    expect(await receiptsOf(...events)).to.deep.equal([]);
  });

  it('and takes many at once, each with its own', async () => {
    const receipts = await receiptsOf(
      { ...EVENT, event: 'delivered' },
      { ...EVENT, event: 'deferred' },
      { ...EVENT, event: 'open', sg_event_id: 'e-2', email: 'cc@example.com' },
    );
    expect(receipts).to.deep.equal([
      { ...RECEIPT, kind: 'delivered' },
      { ...RECEIPT, kind: 'opened', eventId: 'e-2', address: 'cc@example.com' },
    ]);
  });

  it('and takes a time with a fraction to the millisecond', async () => {
    const receipts = await receiptsOf({ ...EVENT, event: 'delivered', timestamp: EVENT.timestamp + 0.0001 });
    expect(receipts).to.deep.equal([{ ...RECEIPT, kind: 'delivered' }]);
  });

  it('and gives one without a time the present one', async () => {
    const { timestamp: _, ...timeless } = EVENT;
    expect(await receiptsOf({ ...timeless, event: 'delivered' })).to.deep.equal([
      { ...RECEIPT, kind: 'delivered', at: NOW },
    ]);
  });
});

describe('the settings of sendgrid', () => {
  const faults = (webhookPublicKeys: readonly string[], senders: Senders): readonly string[] => {
    const given: Readonly<Record<string, readonly string[]>> = { webhookPublicKeys };
    return sendgrid.configure((name) => given[name] ?? sendgrid.settings[name]?.fallback ?? '').faults(senders);
  };
  const senders = { emailAddress: 'shop@example.org' };

  it('take keys as SendGrid shows them', () => {
    expect(faults([PUBLISHED.key, base64(CURRENT.publicKey)], senders)).to.be.empty;
  });

  const rsa = generateKeyPairSync('rsa', { modulusLength: 1_024 }).publicKey;
  for (const [what, key] of [
    ['is none', 'a key'],
    ['is empty', ''],
    ['is of another kind', base64(rsa)],
  ] as const) {
    it(`refuse a key that ${what}`, () => {
      expect(faults([PUBLISHED.key, key], senders)).to.have.length(1);
    });
  }

  it('need a sender, of their own or the general one', () => {
    expect(faults([], {})).to.have.length(1);
  });
});
