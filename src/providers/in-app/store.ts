import type { InAppMessage, Provider, SendResult } from '../provider.ts';

/**
 * The inbox inside the product. The inbox is read from the notifications' own rows, and the row with its rendered content
 * is durable before this is called: there is nowhere else to send it to and nothing that can fail, so it is sent at once.
 */
export function createInApp(): Provider<InAppMessage> {
  return {
    name: 'store',
    channel: 'in_app',
    async send(message: InAppMessage): Promise<SendResult> {
      return { outcome: 'sent', messageId: message.notificationId };
    },
    async [Symbol.asyncDispose]() {},
  };
}
