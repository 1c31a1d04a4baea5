import type { Channel } from '../domain/notification.ts';
import type { Call, Message, Provider, SendResult } from './provider.ts';

/**
 * Takes every message and sends nothing: for development and trials. What would have gone out is the rendered content
 * in the notification's row, which `carillon outbox` shows, so nothing is kept here.
 */
export function createCapture(channel: Channel): Provider {
  return {
    name: 'capture',
    channel,
    async send(_message: Message, call: Call): Promise<SendResult> {
      return { outcome: 'sent', messageId: call.key };
    },
    async [Symbol.asyncDispose]() {},
  };
}
