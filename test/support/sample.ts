/** Values of the domain that are valid by their types, each with what a test wants to be different. */
import { MINUTE } from '../../src/domain/clock.ts';
import { systemRandom } from '../../src/domain/id.ts';
import type {
  Notification,
  NotificationSpec,
  NotificationState,
  RenderedContent,
} from '../../src/domain/notification.ts';
import type { FeedEvent } from '../../src/feed/feed.ts';
import type { Hint } from '../../src/queue/queue.ts';
import type { KeyRecord } from '../../src/storage/storage.ts';

/** 2026-01-02T03:04:05Z. */
export const SAMPLE_TIME = Date.UTC(2026, 0, 2, 3, 4, 5);

export interface NotificationOverrides {
  readonly spec?: Partial<NotificationSpec>;
  readonly state?: Partial<NotificationState>;
  readonly rendered?: RenderedContent;
}

/** A mail that was just accepted, with nothing optional in it. Its id is new and of the time it was created. */
export function aNotification({ spec, state, rendered }: NotificationOverrides = {}): Notification {
  const createdAt = spec?.createdAt ?? SAMPLE_TIME;
  return {
    spec: {
      id: systemRandom.id(createdAt),
      tenant: 'default',
      groupId: systemRandom.id(createdAt),
      type: 'order_confirmation',
      channel: 'email',
      priority: 'normal',
      category: 'order_updates',
      recipient: { id: 'customer-1', email: 'ana@example.com' },
      unknownOutcome: 'retry',
      metadata: {},
      attachmentCount: 0,
      createdAt,
      ...spec,
    },
    state: {
      version: 1,
      published: 0,
      status: 'queued',
      dueAt: createdAt,
      wakeAt: createdAt + MINUTE,
      enqueuedAt: createdAt,
      run: 1,
      attempt: 0,
      starts: 0,
      cancelRequested: false,
      targets: [{ address: 'ana@example.com' }],
      attempts: [],
      history: [{ version: 1, at: createdAt, status: 'queued' }],
      updatedAt: createdAt,
      ...state,
    },
    ...(rendered ? { rendered } : {}),
  };
}

/** The same row with another state. */
export function withState({ state, ...row }: Notification, changes: Partial<NotificationState>): Notification {
  return { ...row, state: { ...state, ...changes } };
}

/** A mail that was sent, with nothing left to do. */
export function aSentNotification({ spec, state, rendered }: NotificationOverrides = {}): Notification {
  const { wakeAt: _wakeAt, enqueuedAt: _enqueuedAt, ...settled } = aNotification({ ...(spec && { spec }) }).state;
  const row = aNotification({ ...(spec && { spec }), ...(rendered && { rendered }) });
  return { ...row, state: { ...settled, status: 'sent', ...state } };
}

export function aRendered(overrides: Partial<RenderedContent> = {}): RenderedContent {
  return { content: { subject: 'Your order', htmlBody: '<p>Thanks</p>' }, renderedAt: SAMPLE_TIME, ...overrides };
}

export function aKey(overrides: Partial<KeyRecord> = {}): KeyRecord {
  return {
    tenant: 'default',
    key: 'order-1',
    fingerprint: 'a'.repeat(64),
    groupId: systemRandom.id(SAMPLE_TIME),
    ids: [systemRandom.id(SAMPLE_TIME)],
    watchToken: 'token',
    createdAt: SAMPLE_TIME,
    expiresAt: SAMPLE_TIME + 1_000,
    ...overrides,
  };
}

export function aHint(overrides: Partial<Hint> = {}): Hint {
  return {
    id: systemRandom.id(SAMPLE_TIME),
    version: 1,
    lane: { channel: 'email', priority: 'normal' },
    enqueuedAt: SAMPLE_TIME,
    ...overrides,
  };
}

export function anEvent(overrides: Partial<FeedEvent> = {}): FeedEvent {
  return {
    tenant: 'default',
    notificationId: systemRandom.id(SAMPLE_TIME),
    groupId: systemRandom.id(SAMPLE_TIME),
    channel: 'email',
    type: 'order_confirmation',
    version: 1,
    at: SAMPLE_TIME,
    status: 'queued',
    attempt: 0,
    ...overrides,
  };
}
