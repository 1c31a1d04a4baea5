/** What callers ask for: all kinds of sends, made from a seed. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Channel, Priority, UnknownOutcomePolicy } from '../../gen/carillon/v1/notification_pb.js';
import type { SendNotificationRequestSchema } from '../../gen/carillon/v1/notification_service_pb.js';
import { HELD, PLANS } from '../support/crash-plans.ts';
import type { PlanName } from '../support/crash-plans.ts';

export type SendInit = MessageInitShape<typeof SendNotificationRequestSchema>;

export interface Order {
  readonly plan: PlanName;
  readonly key: string;
  readonly request: SendInit;
  /** The caller thinks better of it. */
  readonly cancel: boolean;
}

/** Uniform in [0, 1), the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Of a hundred sends. */
const WEIGHTS: Readonly<Record<PlanName, number>> = {
  sent: 60,
  'retried.then.sent': 6,
  'failed.over': 5,
  'refused.by.all': 3,
  'rate.limited': 3,
  rejected: 3,
  'invalid.recipient': 2,
  'answer.lost': 4,
  'answer.lost.hold': 3,
  'never.answered': 1,
  delivered: 2,
  'proven.by.report': 2,
  'at.last.on.re-drive': 2,
  partial: 4,
};
const SINGLE = [Channel.EMAIL, Channel.SMS, Channel.WEBHOOK, Channel.IN_APP, Channel.SLACK, Channel.DISCORD];
const PRIORITIES = [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.URGENT];
const GROUP_SHARE = 0.1;
const SCHEDULED_SHARE = 0.05;
const CANCELLED_SHARE = 0.05;
/** The service's milliseconds. */
const SCHEDULED_AHEAD = 20_000;

export interface OrderOptions {
  readonly plan: PlanName;
  readonly channels: readonly Channel[];
  readonly priority?: Priority;
  readonly scheduledFor?: number;
  readonly cancel?: boolean;
}

/** @param name unique within a test: letters and digits */
export function order(name: string, options: OrderOptions): Order {
  const { plan, channels, priority = Priority.NORMAL, scheduledFor, cancel = false } = options;
  const number = name.replaceAll(/\D/g, '');
  const request: SendInit = {
    idempotencyKey: name,
    notification: {
      type: plan,
      channels: [...channels],
      priority,
      recipient: {
        id: `customer-${name}`,
        email: `${name}@example.com`,
        phone: `+1555${number.padStart(7, '0').slice(-7)}`,
        devices: PLANS[plan].map((_, target) => ({ token: `device-${number}-${target}` })),
        webhookUrl: `https://hooks.example.com/${name}`,
        slackAddress: `C${number}`,
        discordWebhookUrl: `https://discord.example.com/${name}`,
      },
      content: { subject: 'Your order', textBody: 'It is on its way.', push: { title: 'Your order', body: 'Sent' } },
      ...(scheduledFor !== undefined && { scheduledFor: timestampFromMs(scheduledFor) }),
      ...(HELD.has(plan) && { unknownOutcome: UnknownOutcomePolicy.HOLD }),
    },
  };
  return { plan, key: name, request, cancel };
}

/** @param now by the service's clock */
export function randomOrder(name: string, random: () => number, now: number): Order {
  const plan = pickPlan(random);
  const first = plan === 'partial' ? Channel.PUSH : pick(SINGLE, random);
  const second = SINGLE.find((channel) => channel !== first);
  const grouped = plan !== 'partial' && second !== undefined && random() < GROUP_SHARE;
  return order(name, {
    plan,
    channels: grouped ? [first, second] : [first],
    // So that its first run has exactly as many attempts as its plan fails.
    priority: plan === 'at.last.on.re-drive' ? Priority.LOW : pick(PRIORITIES, random),
    ...(random() < SCHEDULED_SHARE && { scheduledFor: now + Math.floor(SCHEDULED_AHEAD * random()) }),
    cancel: random() < CANCELLED_SHARE,
  });
}

function pickPlan(random: () => number): PlanName {
  const weights = Object.entries(WEIGHTS);
  let left = random() * weights.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of weights) {
    left -= weight;
    // The keys of WEIGHTS are the names of the plans.
    if (left < 0) return name as PlanName;
  }
  return 'sent';
}

function pick<T>(values: readonly T[], random: () => number): T {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new Error('nothing to pick from');
  return value;
}
