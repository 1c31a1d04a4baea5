import type { NotificationRequest } from '../../src/pipeline/resolve.ts';

/** A request for one mail to a recipient that has most addresses; no devices, so that a push has nowhere to go. */
export function aRequest(overrides: Partial<NotificationRequest> = {}): NotificationRequest {
  return {
    type: 'order_confirmation',
    channels: ['email'],
    recipient: { id: 'ana', email: 'ana@example.com', phone: '+15551230000', webhookUrl: 'https://example.com/hook' },
    priority: 'normal',
    category: 'order_updates',
    unknownOutcome: 'retry',
    metadata: {},
    attachments: [],
    ...overrides,
  };
}
