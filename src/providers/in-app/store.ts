import { defineProvider } from '../definition.ts';

/**
 * The inbox inside the product. The inbox is read from the notifications' own rows, and the row with its rendered content
 * is durable before this is called: there is nowhere else to send it to and nothing that can fail, so it is sent at once.
 */
export const store = defineProvider({
  name: 'store',
  channels: ['in_app'],
  unlimited: true,
  doc: 'The notification itself, read through the API, is the inbox.',
  settings: {},
  open: (_settings, { name }) => ({
    name,
    channel: 'in_app',
    send: async ({ notificationId }) => ({ outcome: 'sent', messageId: notificationId }),
    async [Symbol.asyncDispose]() {},
  }),
});
