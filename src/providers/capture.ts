import { CHANNELS } from '../domain/notification.ts';
import { defineProvider } from './definition.ts';

/**
 * Takes every message and sends nothing: for development and trials. What would have gone out is the rendered content
 * in the notification's row, which `carillon outbox` shows, so nothing is kept here.
 */
export const capture = defineProvider({
  name: 'capture',
  channels: CHANNELS,
  unlimited: true,
  doc: 'Keeps what would have been sent, for development.',
  settings: {},
  open: (_settings, { name, channel }) => ({
    name,
    channel,
    send: async (_message, { key }) => ({ outcome: 'sent', messageId: key }),
    async [Symbol.asyncDispose]() {},
  }),
});
