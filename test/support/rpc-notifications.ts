import { type ServiceHandlers, implement, type ServiceImplementation } from '../../src/rpc/handler.ts';
import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';
import { Channel, Status } from '../../gen/carillon/v1/notification_pb.js';
import { CarillonError } from '../../src/errors.ts';

export type NotificationHandlers = ServiceHandlers<typeof NotificationService>;

/** A valid id. */
export const SOME_ID = '019a0000-0000-7000-8000-000000000000';

/** A request that keeps every rule. */
export const validSend = {
  notification: { type: 'order.shipped', channels: [Channel.EMAIL], recipient: { email: 'ana@example.com' } },
  idempotencyKey: 'key-1',
};

const notFound = (): CarillonError => new CarillonError('NOTIFICATION_NOT_FOUND', 'there is no such notification');

/** The service with answers made from the request alone; a test replaces the methods it is about. */
export function notifications(replaced: Partial<NotificationHandlers> = {}): ServiceImplementation {
  return implement(NotificationService, {
    async sendNotification(request) {
      return {
        groupId: SOME_ID,
        watchToken: `${request.idempotencyKey}-é😀`,
        notifications: [{ id: SOME_ID, channel: Channel.EMAIL, status: Status.QUEUED }],
      };
    },
    async batchSendNotifications(request) {
      return { results: request.requests.map(() => ({ result: { case: 'accepted', value: { groupId: SOME_ID } } })) };
    },
    async *sendNotificationStream(requests) {
      for await (const { sequence } of requests) {
        yield { sequence, result: { result: { case: 'accepted', value: { groupId: SOME_ID } } } };
      }
    },
    async getNotification(request) {
      return { notification: { id: request.id, version: 9_007_199_254_740_993n, metadata: { a: 'b' } } };
    },
    async listNotifications() {
      throw notFound();
    },
    async cancelNotification() {
      throw notFound();
    },
    async retryNotifications() {
      throw notFound();
    },
    async *watchNotifications(request) {
      for (const id of request.notificationIds) yield { token: 't', event: { notificationId: id, version: 1n } };
    },
    async explainNotification() {
      throw notFound();
    },
    ...replaced,
  });
}
