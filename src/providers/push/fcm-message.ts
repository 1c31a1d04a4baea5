/** From a push message to the `message` of FCM's HTTP v1 API. */
import { isImportant, type Json, type JsonObject, type Priority, type PushData } from '../../domain/notification.ts';
import type { PushMessage } from '../provider.ts';
import { badgeCount } from './badge.ts';

/** FCM's limit, over keys and values. */
const MAX_PAYLOAD_BYTES = 4_096;
/** Four weeks, the longest FCM keeps a message. */
const MAX_TTL_SECONDS = 2_419_200;

/** The urgency of Web Push (RFC 8030 §5.3). */
const URGENCY: Readonly<Record<Priority, string>> = { urgent: 'high', high: 'high', normal: 'normal', low: 'low' };

/** Undefined when it is more than FCM takes. */
export function messageOf(message: PushMessage, now: number): JsonObject | undefined {
  const { device, to, push } = message;
  const notification = { title: push.title, body: push.body, ...(isUrl(push.icon) ? { image: push.icon } : {}) };
  const data = dataOf(push);
  if (bytesOf(notification) + bytesOf(data) > MAX_PAYLOAD_BYTES) return undefined;
  return {
    [device.kind === 'fcm_id' ? 'fid' : 'token']: to,
    notification,
    ...(Object.keys(data).length === 0 ? {} : { data }),
    android: android(message, now),
    apns: apns(message),
    webpush: webPush(message, now),
  };
}

/**
 * FCM has no idempotency key and no place for our id. As the tag it makes a message that arrives twice show once, and
 * the app can read it.
 */
function android({ notificationId, priority, expiresAt, push }: PushMessage, now: number): JsonObject {
  const count = badgeCount(push.badge);
  return {
    priority: isImportant(priority) ? 'HIGH' : 'NORMAL',
    ...(expiresAt === undefined ? {} : { ttl: `${ttl(expiresAt, now)}s` }),
    notification: {
      tag: notificationId,
      // Android knows icons by their names in the app; one at a URL is the image.
      ...(push.icon === undefined || isUrl(push.icon) ? {} : { icon: push.icon }),
      ...(count === undefined ? {} : { notification_count: count }),
    },
  };
}

function apns({ notificationId, priority, expiresAt, push }: PushMessage): JsonObject {
  const count = badgeCount(push.badge);
  return {
    headers: {
      'apns-priority': isImportant(priority) ? '10' : '5',
      'apns-collapse-id': notificationId,
      ...(expiresAt === undefined ? {} : { 'apns-expiration': String(Math.floor(expiresAt / 1_000)) }),
    },
    ...(count === undefined ? {} : { payload: { aps: { badge: count } } }),
  };
}

function webPush({ notificationId, priority, expiresAt, push }: PushMessage, now: number): JsonObject {
  const { icon, badge, actions } = push;
  return {
    headers: {
      Urgency: URGENCY[priority],
      ...(expiresAt === undefined ? {} : { TTL: String(ttl(expiresAt, now)) }),
    },
    notification: {
      tag: notificationId,
      ...(icon === undefined ? {} : { icon }),
      // A browser's badge is an image; the number is for the apps.
      ...(badge === undefined || badgeCount(badge) !== undefined ? {} : { badge }),
      ...(actions.length === 0 ? {} : { actions: actions.map(({ action, title }) => ({ action, title })) }),
    },
  };
}

/** FCM takes strings only. It knows no buttons on mobile devices: the app finds them here and shows them itself. */
function dataOf({ data = {}, actions }: PushData): Record<string, string> {
  const all: JsonObject = actions.length === 0 ? data : { actions: actions.map((one) => ({ ...one })), ...data };
  return Object.fromEntries(Object.entries(all).map(([name, value]) => [name, asText(value)]));
}

const asText = (value: Json): string => (typeof value === 'string' ? value : JSON.stringify(value));
const isUrl = (text: string | undefined): text is string => text !== undefined && /^https?:\/\//i.test(text);
const bytesOf = (fields: Readonly<Record<string, string>>): number =>
  Buffer.byteLength(Object.entries(fields).flat().join(''));

/** Seconds from now. What expires right now may still reach a device that is connected. */
const ttl = (expiresAt: number, now: number): number =>
  Math.min(Math.max(0, Math.floor((expiresAt - now) / 1_000)), MAX_TTL_SECONDS);
