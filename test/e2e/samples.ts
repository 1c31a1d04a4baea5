/** What the tests send. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '@bufbuild/protobuf';
import { Channel } from '../../gen/carillon/v1/notification_pb.js';
import type { NotificationInit } from '../support/start-carillon.ts';
import type { StartedHttp } from '../support/start-http.ts';
import type { StartedSmtp } from '../support/start-smtp.ts';

const TEMPLATES = join(import.meta.dirname, '..', '..', 'templates');

/** The sample data of a shipped template. */
export function sampleData(template: string): JsonObject {
  // A file of this repository, which holds an object.
  return JSON.parse(readFileSync(join(TEMPLATES, template, 'sample.json'), 'utf8')) as JsonObject;
}

export const RECIPIENT = { id: 'customer-1', email: 'ada@example.com', firstName: 'Ada', lastName: 'Lovelace' };

/** An in-app message, which needs no server. */
export function inApp(more: NotificationInit = {}): NotificationInit {
  return { type: 'note', channels: [Channel.IN_APP], recipient: RECIPIENT, content: { textBody: 'hello' }, ...more };
}

/** An e-mail with content of its own. */
export function mail(more: NotificationInit = {}): NotificationInit {
  return {
    type: 'note',
    channels: [Channel.EMAIL],
    recipient: RECIPIENT,
    content: { subject: 'Hello', textBody: 'hello' },
    ...more,
  };
}

export function sms(more: NotificationInit = {}): NotificationInit {
  return {
    type: 'note',
    channels: [Channel.SMS],
    recipient: { phone: '+15551230000' },
    content: { smsBody: 'hello' },
    ...more,
  };
}

export function webhook(url: string, more: NotificationInit = {}): NotificationInit {
  return { type: 'note', channels: [Channel.WEBHOOK], recipient: { webhookUrl: url }, data: { a: 1 }, ...more };
}

export const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

/** Real calls to servers on this machine. */
export const realWebhooks: readonly string[] = [
  'notifications.webhooks.providers=http',
  'notifications.webhooks.allow_private=127.0.0.1',
  `notifications.webhooks.secrets=${SECRET}`,
];

export function realMail(smtp: StartedSmtp): string[] {
  return [
    'notifications.email.providers=smtp',
    `notifications.email.smtp.host=${smtp.host}`,
    `notifications.email.smtp.port=${smtp.port}`,
    'notifications.email.smtp.from_address=shop@example.com',
    'notifications.store_name=The Shop',
  ];
}

/** Requests that a webhook server has got, by notification. */
export function requestsFor(http: StartedHttp, id: string): StartedHttp['requests'] {
  return http.requests.filter((request) => request.headers['webhook-id'] === id);
}

/** Repeats come at once; half of each delay is by chance. */
export const quickRetries: readonly string[] = [
  'retry.base_seconds=0.02',
  'retry.urgent_base_seconds=0.02',
  'retry.factor=1',
  'retry.cap_seconds=0.05',
];
