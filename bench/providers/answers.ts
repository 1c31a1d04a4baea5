import type { HttpAnswer } from '../../test/support/start-http.ts';

const json = (status: number, body: object): HttpAnswer => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** What each service says when it takes a message, by the first part of the path that its calls have here. */
const ANSWERS: Readonly<Record<string, HttpAnswer>> = {
  sendgrid: { status: 202, headers: { 'x-message-id': 'LRzXl_NHStOGhQ4kofSm_A' } },
  ses: json(200, { MessageId: '0102018d-ses' }),
  mailgun: json(200, { id: '<20261122.1@mg.example.org>', message: 'Queued. Thank you.' }),
  twilio: json(201, { sid: 'SM00000000000000000000000000000001', status: 'queued', error_code: null }),
  sns: {
    status: 200,
    headers: { 'content-type': 'text/xml' },
    body:
      '<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>94f20ce6</MessageId>' +
      '</PublishResult><ResponseMetadata><RequestId>f187a3c1</RequestId></ResponseMetadata></PublishResponse>',
  },
  vonage: json(202, { message_uuid: 'bbbbbbbb-bbbb-cccc-dddd-0123456789ab' }),
  custom: json(200, { message_id: 'm-1' }),
  token: json(200, { access_token: 'ya29.access-token', expires_in: 3_599, token_type: 'Bearer' }),
  fcm: json(200, { name: 'projects/shop-1/messages/0:1500' }),
  // The path of APNs is /3/device/<token>, and its library has no other.
  3: { status: 200, headers: { 'apns-id': 'eabeae54-14a8-11e5-b60b-1697f925ec7b' } },
  web_push: { status: 201, headers: { location: 'https://push.example/m/1' } },
  onesignal: json(200, { id: 'm-1' }),
  slack_webhook: { status: 200, headers: { 'content-type': 'text/html' }, body: 'ok' },
  slack_api: json(200, { ok: true, channel: 'C0123456789', ts: '1503435956.000247' }),
  discord: json(200, { id: '1142' }),
  http: { status: 204 },
};

export const answerTo = (path: string): HttpAnswer => ANSWERS[/^\/(\w+)/.exec(path)?.[1] ?? ''] ?? { status: 404 };
