/** Values of the domain that are valid by their types, each with what a test wants to be different. */
import { HOUR, MINUTE, SECOND } from '../../src/domain/clock.ts';
import { systemRandom } from '../../src/domain/id.ts';
import { openTargets } from '../../src/domain/notification.ts';
import type {
  Attempt,
  Notification,
  NotificationSpec,
  NotificationState,
  RenderedContent,
} from '../../src/domain/notification.ts';
import type { Receipt } from '../../src/domain/receipt.ts';
import type { BackoffOptions } from '../../src/domain/retry.ts';
import type { Suppression } from '../../src/domain/suppression.ts';
import type { PlannedCall } from '../../src/domain/transitions.ts';
import type { FeedEvent } from '../../src/feed/feed.ts';
import type { Hint } from '../../src/queue/queue.ts';
import type { KeyRecord } from '../../src/storage/storage.ts';

/** As in carillon.default.toml. A NORMAL notification outlives an outage of 20 minutes with it. */
export const DEFAULT_BACKOFF: BackoffOptions = {
  baseMs: 30 * SECOND,
  urgentBaseMs: 2 * SECOND,
  factor: 4,
  capMs: HOUR,
};

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
      receipts: [],
      history: [{ version: 1, at: createdAt, status: 'queued' }],
      updatedAt: createdAt,
      ...state,
    },
    ...(rendered ? { rendered } : {}),
  };
}

/** With every optional field. */
export function aFullNotification(): Notification {
  const attempt: Attempt = {
    run: 1,
    number: 1,
    provider: 'smtp',
    choice: 'fail_over',
    skipped: [{ provider: 'ses', reason: 'circuit_open' }],
    targets: [0],
    startedAt: SAMPLE_TIME,
    endedAt: SAMPLE_TIME + 1,
    results: [{ target: 0, outcome: 'sent', code: '250', detail: 'ok' }],
  };
  const device = { token: 't1', p256dh: 'p', auth: 'a', registeredAt: SAMPLE_TIME };
  return aNotification({
    spec: {
      recipient: {
        id: 'r',
        email: 'a@b.c',
        phone: '+5511999990000',
        devices: [
          { kind: 'web_push', ...device },
          { kind: 'apns', token: 't2' },
        ],
        locale: 'pt-BR',
      },
      templateId: 'order',
      data: { nothing: null, yes: true, n: 1.5, list: [1, 'two', { three: [] }], empty: {} },
      content: {
        subject: 's',
        push: { title: 't', body: 'b', actions: [{ action: 'a', title: 't' }] },
        webhookBody: [1],
      },
      scheduledFor: SAMPLE_TIME + MINUTE,
      expiresAt: SAMPLE_TIME + 2 * MINUTE,
      unknownOutcome: 'hold',
      metadata: { order: '1' },
      email: { from: { email: 'x@y.z', name: 'X' }, cc: [{ email: 'c@c.c' }], bcc: [], headers: { 'X-A': 'b' } },
      webhook: { method: 'PUT', headers: {}, retryPolicy: { backoff: 'linear', initialDelayMs: 1, maxDelayMs: 2 } },
      sms: { type: 'unicode', from: 'Acme' },
      attachmentCount: 2,
    },
    state: {
      version: 4,
      published: 2,
      status: 'pending',
      reason: 'retrying',
      detail: 'the provider asked to wait',
      naked: true,
      run: 2,
      attempt: 3,
      starts: 1,
      heldSince: SAMPLE_TIME,
      cancelRequested: true,
      lease: { id: 'lease', until: SAMPLE_TIME + MINUTE },
      targets: [{ address: 'a@b.c', outcome: 'sent', provider: 'smtp', messageId: 'm' }, { address: 'd@e.f' }],
      attempts: [attempt],
      receipts: [aFullReceipt()],
      history: [
        {
          version: 4,
          at: SAMPLE_TIME,
          status: 'pending',
          reason: 'retrying',
          attempt: 3,
          provider: 'smtp',
          receipt: 'bounced',
        },
      ],
    },
    rendered: aRendered({
      templateId: 'order',
      templateVersion: '3',
      locale: 'pt-BR',
      sms: { type: 'unicode', characters: 71, segments: 2 },
    }),
  });
}

/** One call of a provider for some targets, as a plan has it. */
export function aCall(provider: string = 'smtp', targets: readonly number[] = [0]): PlannedCall {
  return { provider, choice: 'first', skipped: [], targets };
}

/** One call of a provider for all that is open. */
export const aCallFor = (row: Notification): PlannedCall => aCall('smtp', openTargets(row.state.targets));

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

/** Of the provider `smtp`, under a new event id. */
export function aReceipt(overrides: Partial<Receipt> = {}): Receipt {
  const eventId = overrides.eventId ?? systemRandom.id(SAMPLE_TIME);
  const provider = overrides.provider ?? 'smtp';
  return {
    id: `${provider}:${eventId}`,
    eventId,
    provider,
    kind: 'delivered',
    notificationId: systemRandom.id(SAMPLE_TIME),
    at: SAMPLE_TIME,
    receivedAt: SAMPLE_TIME + 1_000,
    ...overrides,
  };
}

/** With every optional field. */
export function aFullReceipt(overrides: Partial<Receipt> = {}): Receipt {
  return aReceipt({
    kind: 'bounced',
    hard: true,
    wholeChannel: true,
    address: 'ana@example.com',
    code: '550',
    detail: 'no such user: añejo "x" \\ \u2028',
    machine: false,
    ...overrides,
  });
}

/** Of an e-mail address, whatever the category. */
export function aSuppression(overrides: Partial<Suppression> = {}): Suppression {
  return {
    tenant: 'default',
    channel: 'email',
    addressHash: 'a'.repeat(64),
    reason: 'hard_bounce',
    source: 'smtp',
    createdAt: SAMPLE_TIME,
    saidAt: SAMPLE_TIME,
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
