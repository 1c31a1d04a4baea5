import type { EmailMessage, WebhookMessage } from '../../src/providers/provider.ts';

const BASE = {
  notificationId: '0197f3c2-0000-7000-8000-000000000001',
  type: 'test',
  tenant: 'default',
  priority: 'normal',
} as const;

export function email(given: Partial<EmailMessage> = {}): EmailMessage {
  return {
    ...BASE,
    channel: 'email',
    to: 'ada@example.com',
    cc: [],
    bcc: [],
    subject: 'Hello',
    text: 'A short text.\n',
    headers: {},
    attachments: [],
    ...given,
  };
}

export function webhook(to: string, given: Partial<WebhookMessage> = {}): WebhookMessage {
  return { ...BASE, channel: 'webhook', to, method: 'POST', headers: {}, body: { order: 7 }, ...given };
}
