import { expect } from 'chai';
import type { ProviderReceipt } from '../../../src/domain/receipt.ts';
import { defineSes } from '../../../src/providers/email/ses.ts';
import type { CallbackResult } from '../../../src/providers/provider.ts';
import { callback, confirmation, notification, SENT_AT, startSns, TOPIC } from '../aws-sns-double.ts';
import { openProvider } from '../open-provider.ts';

const ID = '0197f3c2-0000-7000-8000-000000000001';
const SNS_ID = '22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324';
const AT = '2026-12-31T23:59:00.500Z';
const MAILED_AT = '2026-12-31T23:58:00.000Z';

const MAIL = {
  timestamp: MAILED_AT,
  source: 'Shop <shop@example.org>',
  messageId: '0102-ses',
  destination: ['ada@example.com'],
  headersTruncated: false,
  headers: [{ name: 'Subject', value: 'Hello' }],
  tags: { 'ses:configuration-set': ['carillon'], carillon_id: [ID] },
};

async function received(
  body: Parameters<typeof callback>[0],
  topicArns: readonly string[] = [TOPIC],
): Promise<CallbackResult> {
  await using sns = await startSns();
  await using provider = await openProvider(defineSes(sns.fetch), {
    region: 'eu-west-1',
    accessKeyId: 'AKIDEXAMPLE',
    secretAccessKey: 'secret',
    topicArns,
  });
  if (provider.receive === undefined) throw new Error('it has no callbacks');
  return await provider.receive(callback(body));
}

async function receipts(event: unknown): Promise<readonly ProviderReceipt[]> {
  const result = await received(notification(typeof event === 'string' ? event : JSON.stringify(event)));
  if (result.kind !== 'genuine') throw new Error(result.why);
  return result.receipts;
}

const bounce = (given: object): object => ({
  eventType: 'Bounce',
  mail: MAIL,
  bounce: {
    bounceType: 'Permanent',
    bounceSubType: 'General',
    bouncedRecipients: [
      { emailAddress: 'ada@example.com', action: 'failed', status: '5.1.1', diagnosticCode: 'smtp; 550 5.1.1 unknown' },
    ],
    timestamp: AT,
    feedbackId: 'f-1',
    ...given,
  },
});

const complaint = (given: object): object => ({
  eventType: 'Complaint',
  mail: MAIL,
  complaint: {
    complainedRecipients: [{ emailAddress: 'ada@example.com' }],
    timestamp: AT,
    complaintFeedbackType: 'abuse',
    ...given,
  },
});

const subscription = (newTopicPreferences: object): object => ({
  eventType: 'Subscription',
  mail: MAIL,
  subscription: { contactList: 'news', timestamp: AT, source: 'UnsubscribeHeader', newTopicPreferences },
});

const base = (type: string, at = AT): object => ({
  eventId: `${SNS_ID}:${type}:0`,
  notificationId: ID,
  at: Date.parse(at),
});

/** A single receipt for the one recipient, by the event. */
const CASES: readonly (readonly [string, object, object])[] = [
  [
    'a mail that SES took',
    { eventType: 'Send', mail: MAIL, send: {} },
    { ...base('Send', MAILED_AT), kind: 'sent', address: 'ada@example.com' },
  ],
  [
    'a delivery',
    {
      eventType: 'Delivery',
      mail: MAIL,
      delivery: { timestamp: AT, recipients: ['ada@example.com'], smtpResponse: '250 ok' },
    },
    { ...base('Delivery'), kind: 'delivered', address: 'ada@example.com' },
  ],
  [
    'a bounce for good',
    bounce({}),
    {
      ...base('Bounce'),
      kind: 'bounced',
      hard: true,
      address: 'ada@example.com',
      code: '5.1.1',
      detail: 'Permanent General',
    },
  ],
  [
    'an address on a suppression list, which was not even tried',
    bounce({
      bounceSubType: 'OnAccountSuppressionList',
      bouncedRecipients: [{ emailAddress: '"Ada" <ada@example.com>', action: 'failed' }],
    }),
    {
      ...base('Bounce'),
      kind: 'bounced',
      hard: true,
      address: 'ada@example.com',
      code: 'OnAccountSuppressionList',
      detail: 'Permanent OnAccountSuppressionList',
    },
  ],
  ...['Transient', 'Undetermined'].map(
    (bounceType) =>
      [
        `a bounce that is ${bounceType}`,
        bounce({ bounceType, bounceSubType: 'MailboxFull', bouncedRecipients: [{ emailAddress: 'ada@example.com' }] }),
        {
          ...base('Bounce'),
          kind: 'bounced',
          address: 'ada@example.com',
          code: 'MailboxFull',
          detail: `${bounceType} MailboxFull`,
        },
      ] as const,
  ),
  [
    'a complaint',
    complaint({}),
    { ...base('Complaint'), kind: 'complained', address: 'ada@example.com', code: 'abuse' },
  ],
  [
    'an open',
    { eventType: 'Open', mail: MAIL, open: { timestamp: AT, ipAddress: '192.0.2.1', userAgent: 'Mail' } },
    { ...base('Open'), kind: 'opened', address: 'ada@example.com' },
  ],
  [
    'a click',
    { eventType: 'Click', mail: MAIL, click: { timestamp: AT, link: 'https://example.org/', ipAddress: '192.0.2.1' } },
    { ...base('Click'), kind: 'clicked', address: 'ada@example.com' },
  ],
  [
    'whom they unsubscribed',
    subscription({ unsubscribeAll: true, topicSubscriptionStatus: [{ topicName: 'a', subscriptionStatus: 'OptIn' }] }),
    { ...base('Subscription'), kind: 'unsubscribed', address: 'ada@example.com' },
  ],
  [
    'one topic given up',
    subscription({
      unsubscribeAll: false,
      topicSubscriptionStatus: [
        { topicName: 'a', subscriptionStatus: 'OptIn' },
        { topicName: 'b', subscriptionStatus: 'OptOut' },
      ],
    }),
    { ...base('Subscription'), kind: 'unsubscribed', address: 'ada@example.com' },
  ],
  [
    'all topics taken up',
    subscription({ unsubscribeAll: false, topicSubscriptionStatus: [{ topicName: 'a', subscriptionStatus: 'OptIn' }] }),
    { ...base('Subscription'), kind: 'resubscribed', address: 'ada@example.com' },
  ],
  [
    'a mail that SES rejected',
    { eventType: 'Reject', mail: MAIL, reject: { reason: 'Bad content' } },
    { ...base('Reject', MAILED_AT), kind: 'failed', code: 'Reject', detail: 'Bad content' },
  ],
  [
    'a template that failed',
    { eventType: 'Rendering Failure', mail: MAIL, failure: { errorMessage: 'no attribute', templateName: 't' } },
    { ...base('Rendering Failure', MAILED_AT), kind: 'failed', code: 'Rendering Failure', detail: 'no attribute' },
  ],
  [
    'the feedback of an identity, which has no tags',
    {
      notificationType: 'Delivery',
      mail: { ...MAIL, tags: undefined, headers: [...MAIL.headers, { name: 'x-carillon-id', value: ID }] },
      delivery: { timestamp: AT, recipients: ['ada@example.com'] },
    },
    { ...base('Delivery'), kind: 'delivered', address: 'ada@example.com' },
  ],
  [
    'an event without a time of its own',
    { eventType: 'Open', mail: { ...MAIL, timestamp: 'unknown' }, open: {} },
    { ...base('Open', SENT_AT), kind: 'opened', address: 'ada@example.com' },
  ],
  [
    'an open of a mail to several, which may be of any of them',
    {
      eventType: 'Open',
      mail: { ...MAIL, destination: ['ada@example.com', 'copy@example.com'] },
      open: { timestamp: AT },
    },
    { ...base('Open'), kind: 'opened' },
  ],
];

describe('ses reads its callbacks', () => {
  for (const [what, event, receipt] of CASES) {
    it(`takes ${what}`, async () => {
      expect(await receipts(event)).to.deep.equal([receipt]);
    });
  }

  it('makes a receipt of each recipient that bounced', async () => {
    const found = await receipts(
      bounce({ bouncedRecipients: [{ emailAddress: 'ada@example.com' }, { emailAddress: 'copy@example.com' }] }),
    );
    expect(found.map(({ eventId, address }) => [eventId, address])).to.deep.equal([
      [`${SNS_ID}:Bounce:0`, 'ada@example.com'],
      [`${SNS_ID}:Bounce:1`, 'copy@example.com'],
    ]);
  });

  it('makes a receipt of each recipient that complained and of each delivery', async () => {
    const two = ['ada@example.com', 'copy@example.com'];
    const complaints = await receipts(
      complaint({ complainedRecipients: two.map((emailAddress) => ({ emailAddress })) }),
    );
    const deliveries = await receipts({
      eventType: 'Delivery',
      mail: MAIL,
      delivery: { timestamp: AT, recipients: two },
    });
    expect(complaints.map(({ address }) => address)).to.deep.equal(two);
    expect(deliveries.map(({ address }) => address)).to.deep.equal(two);
  });

  for (const [what, event] of [
    ['a delay', { eventType: 'DeliveryDelay', mail: MAIL, deliveryDelay: { timestamp: AT, delayType: 'MailboxFull' } }],
    ['a report that it is no spam', complaint({ complaintFeedbackType: 'not-spam' })],
    ['an event of a mail that somebody else sent', { eventType: 'Open', mail: { ...MAIL, tags: {} }, open: {} }],
    ['an event of an unknown type', { eventType: 'toString', mail: MAIL }],
    ['the sentence that SES sends to a new topic', 'Successfully validated SNS topic for Amazon SES event publishing.'],
    [
      'the greeting of an identity',
      { notificationType: 'AmazonSnsSubscriptionSucceeded', message: 'You have subscribed' },
    ],
    ['a bounce without its particulars', { eventType: 'Bounce', mail: MAIL }],
    ['JSON that is no event', '[null]'],
  ] as const) {
    it(`leaves out ${what}`, async () => {
      expect(await receipts(event)).to.deep.equal([]);
    });
  }

  it('confirms a subscription', async () => {
    expect(await received(confirmation('SubscriptionConfirmation'))).to.deep.equal({ kind: 'genuine', receipts: [] });
  });

  it('refuses an event that was changed', async () => {
    const changed = { ...notification(JSON.stringify(bounce({}))), Message: JSON.stringify(complaint({})) };
    expect(await received(changed)).to.include({ kind: 'refused', status: 401 });
  });

  it('refuses every topic where none is configured', async () => {
    expect(await received(notification('{}'), [])).to.include({ kind: 'refused', status: 401 });
  });

  it('refuses what is malformed', async () => {
    expect(await received('{')).to.include({ kind: 'refused', status: 400 });
  });
});
