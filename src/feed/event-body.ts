import type { FeedEvent } from './feed.ts';

/** Version of the shape of an event on the wire. */
const EVENT_SCHEMA = 1;

export function eventBody(event: FeedEvent): string {
  return JSON.stringify({ schema: EVENT_SCHEMA, ...event });
}

/** Undefined for what `eventBody` of this version cannot have written. */
export function parseEvent(body: string): FeedEvent | undefined {
  const parsed = parse(body);
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { schema, ...event } = parsed as Partial<Record<string, unknown>>;
  if (schema !== EVENT_SCHEMA || typeof event['notificationId'] !== 'string') return undefined;
  // Only this service writes to the stream, and the schema names the type.
  return event as unknown as FeedEvent;
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

export function eventSubject({ tenant, groupId, notificationId }: FeedEvent): string {
  return `events.${token(tenant)}.${token(groupId)}.${token(notificationId)}`;
}

export function filterSubject(filter: { tenant: string; groupId?: string; notificationId?: string }): string {
  const { tenant, groupId, notificationId } = filter;
  const ids = [groupId, notificationId].map((id) => (id === undefined ? '*' : token(id)));
  return `events.${token(tenant)}.${ids.join('.')}`;
}

/** Any text as one token of a subject: `.`, `*`, `>` and blanks have a meaning there, and no token is empty. */
function token(text: string): string {
  const escaped = encodeURIComponent(text).replace(/[.*]/g, (c) => (c === '.' ? '%2E' : '%2A'));
  return escaped === '' ? '%' : escaped;
}
