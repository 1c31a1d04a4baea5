import type {
  ChatMessage,
  EmailMessage,
  PushMessage,
  SmsMessage,
  WebhookMessage,
} from '../../src/providers/provider.ts';

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

export function sms(given: Partial<SmsMessage> = {}): SmsMessage {
  return { ...BASE, channel: 'sms', to: '+15551230000', coding: 'text', text: 'Your order is on its way.', ...given };
}

export function push(device: PushMessage['device'], given: Partial<PushMessage> = {}): PushMessage {
  return {
    ...BASE,
    channel: 'push',
    to: device.token,
    device,
    push: {
      title: 'On its way',
      body: 'Your order has left.',
      icon: 'https://example.com/icon.png',
      badge: '3',
      data: { order: 'A-7', items: 2 },
      actions: [{ action: 'track', title: 'Track' }],
    },
    ...given,
  };
}

export function chat(channel: ChatMessage['channel'], to: string, given: Partial<ChatMessage> = {}): ChatMessage {
  return { ...BASE, channel, to, text: 'Order A-7 has left.', ...given };
}
