/** What SES publishes about a mail: events of a configuration set (`eventType`), or an identity's feedback. */
import type { ProviderReceipt } from '../../domain/receipt.ts';
import type { SnsNotification } from '../aws-sns-inbox.ts';
import { field, listOf, textOf } from '../json.ts';
import { parseJson } from '../parse-json.ts';

/** Comes back with events that are published through a configuration set. */
export const ID_TAG = 'carillon_id';
/** Comes back with the feedback of an identity, which has no tags, where its headers are included. */
export const ID_HEADER = 'X-Carillon-Id';

/** What one kind of event adds. */
type Particulars = Omit<ProviderReceipt, 'eventId' | 'notificationId' | 'at'>;

interface Reader {
  /** The event's own object, which has its time. */
  readonly part: string;
  /** One for each recipient it is about. */
  read(part: unknown, event: unknown): readonly Particulars[];
}

/** Events that are not here, such as DeliveryDelay, say nothing that changes a notification. */
const READERS: ReadonlyMap<string, Reader> = new Map([
  ['Send', { part: 'send', read: (_part, event) => [{ kind: 'sent', ...onlyRecipient(event) }] }],
  ['Delivery', { part: 'delivery', read: deliveries }],
  ['Bounce', { part: 'bounce', read: bounces }],
  ['Complaint', { part: 'complaint', read: complaints }],
  ['Open', { part: 'open', read: (_part, event) => [{ kind: 'opened', ...onlyRecipient(event) }] }],
  ['Click', { part: 'click', read: (_part, event) => [{ kind: 'clicked', ...onlyRecipient(event) }] }],
  ['Subscription', { part: 'subscription', read: preferences }],
  [
    'Reject',
    { part: 'reject', read: (part) => [{ kind: 'failed', code: 'Reject', ...detailOf(textOf(part, 'reason')) }] },
  ],
  [
    'Rendering Failure',
    {
      part: 'failure',
      read: (part) => [{ kind: 'failed', code: 'Rendering Failure', ...detailOf(textOf(part, 'errorMessage')) }],
    },
  ],
] as const satisfies readonly (readonly [string, Reader])[]);

/** One for each recipient it tells of; none where it is about no notification of ours. */
export function receiptsOf({ messageId, at, message }: SnsNotification): readonly ProviderReceipt[] {
  // To a new topic SES sends a sentence instead of an event.
  const event = parseJson(message);
  const type = textOf(event, 'eventType') ?? textOf(event, 'notificationType') ?? '';
  const reader = READERS.get(type);
  const notificationId = notificationOf(event);
  if (reader === undefined || notificationId === undefined) return [];
  const part = field(event, reader.part);
  const time = timeOf(part) ?? timeOf(field(event, 'mail')) ?? at;
  return reader.read(part, event).map((particulars, index) => ({
    eventId: `${messageId}:${type}:${index}`,
    notificationId,
    at: time,
    ...particulars,
  }));
}

function notificationOf(event: unknown): string | undefined {
  const tag = textOf(event, 'mail', 'tags', ID_TAG, 0);
  if (tag !== undefined) return tag;
  const header = listOf(event, 'mail', 'headers').find(
    (one) => textOf(one, 'name')?.toLowerCase() === ID_HEADER.toLowerCase(),
  );
  return textOf(header, 'value');
}

function timeOf(part: unknown): number | undefined {
  const time = Date.parse(textOf(part, 'timestamp') ?? '');
  return Number.isNaN(time) ? undefined : time;
}

function deliveries(part: unknown): Particulars[] {
  return listOf(part, 'recipients').map((recipient) => ({ kind: 'delivered', ...addressOf(textOf(recipient)) }));
}

function bounces(part: unknown): Particulars[] {
  const hard = textOf(part, 'bounceType') === 'Permanent';
  const subType = textOf(part, 'bounceSubType');
  const words = [textOf(part, 'bounceType'), subType].filter((word) => word !== undefined).join(' ');
  return listOf(part, 'bouncedRecipients').map((recipient) => ({
    kind: 'bounced',
    ...(hard ? { hard } : {}),
    ...addressOf(textOf(recipient, 'emailAddress')),
    ...codeOf(textOf(recipient, 'status') ?? subType),
    ...detailOf(words || undefined),
  }));
}

function complaints(part: unknown): Particulars[] {
  const type = textOf(part, 'complaintFeedbackType');
  // Says the opposite (RFC 5965 §7.3): the recipient took it out of the spam.
  if (type === 'not-spam') return [];
  const subType = textOf(part, 'complaintSubType');
  return listOf(part, 'complainedRecipients').flatMap((recipient): Particulars[] => {
    const told = { ...addressOf(textOf(recipient, 'emailAddress')), ...codeOf(type), ...detailOf(subType) };
    // It was not even tried: the complaint alone would look like one of a mail that had arrived.
    const untried = subType === 'OnAccountSuppressionList';
    return [...(untried ? [{ kind: 'bounced' as const, ...told }] : []), { kind: 'complained', ...told }];
  });
}

/** Preferences of SES's own contact lists, set by whoever followed its unsubscribe link. */
function preferences(part: unknown, event: unknown): Particulars[] {
  const wanted = field(part, 'newTopicPreferences');
  const topics = listOf(wanted, 'topicSubscriptionStatus').map((topic) => textOf(topic, 'subscriptionStatus'));
  const all =
    field(wanted, 'unsubscribeAll') === false && topics.length > 0 && topics.every((status) => status === 'OptIn');
  return [{ kind: all ? 'resubscribed' : 'unsubscribed', ...onlyRecipient(event) }];
}

/** An event that names nobody is about the one recipient there was, or it cannot be told about whom. */
function onlyRecipient(event: unknown): { readonly address?: string } {
  const [first, ...others] = listOf(event, 'mail', 'destination');
  return others.length === 0 ? addressOf(textOf(first)) : {};
}

/** Without the name that may stand around it. */
function addressOf(text: string | undefined): { readonly address?: string } {
  return text === undefined ? {} : { address: /<([^<>]+)>\s*$/.exec(text)?.[1] ?? text };
}

const codeOf = (code: string | undefined): { readonly code?: string } => (code === undefined ? {} : { code });
const detailOf = (detail: string | undefined): { readonly detail?: string } => (detail === undefined ? {} : { detail });
