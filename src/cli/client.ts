/** The commands that call a running service. */
import { ValueSchema, timestampDate } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import type { Client, Interceptor } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { toJson } from '@bufbuild/protobuf';
import type { JsonObject, MessageInitShape } from '@bufbuild/protobuf';
import {
  Channel,
  NotificationEventSchema,
  NotificationSchema,
  Priority,
  Reason,
  Status,
} from '../../gen/carillon/v1/notification_pb.js';
import type { Notification, NotificationEvent, RecipientSchema } from '../../gen/carillon/v1/notification_pb.js';
import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';

export const DEFAULT_SERVER = 'http://127.0.0.1:8080';

interface ClientFlags {
  readonly server: string;
  readonly key?: string;
}

export interface SendFlags extends ClientFlags {
  readonly channel: readonly string[];
  readonly to?: string;
  readonly recipientId?: string;
  readonly data?: string;
  readonly text?: string;
  readonly subject?: string;
  readonly priority: string;
  readonly idempotencyKey?: string;
}

export interface WatchFlags extends ClientFlags {
  readonly group?: string;
  readonly recipient?: string;
  readonly after?: string;
  readonly json?: boolean;
}

export interface OutboxFlags extends ClientFlags {
  readonly limit: string;
  readonly json?: boolean;
}

type Address = 'email' | 'phone' | 'webhookUrl' | 'id' | 'slackAddress' | 'discordWebhookUrl';

/** Where `--to` goes, by channel; the tokens of push devices have a shape of their own. */
const ADDRESS: Readonly<Record<string, Address>> = {
  EMAIL: 'email',
  SMS: 'phone',
  WEBHOOK: 'webhookUrl',
  IN_APP: 'id',
  SLACK: 'slackAddress',
  DISCORD: 'discordWebhookUrl',
};

export async function send(type: string, flags: SendFlags): Promise<void> {
  await withClient(flags, async (client) => {
    const names = (flags.channel.length > 0 ? flags.channel : ['email']).map((name) => name.toUpperCase());
    const { notifications, groupId, watchToken } = await client.sendNotification({
      idempotencyKey: flags.idempotencyKey ?? '',
      notification: {
        type,
        channels: names.map((name) => valueOf(Channel, name, '--channel')),
        priority: valueOf(Priority, flags.priority.toUpperCase(), '--priority'),
        recipient: recipientOf(names[0] ?? '', flags),
        ...(flags.data !== undefined && { data: parseData(flags.data) }),
        ...(flags.text !== undefined && {
          content: {
            textBody: flags.text,
            subject: flags.subject ?? '',
            push: { title: flags.subject ?? type, body: flags.text },
          },
        }),
      },
    });
    for (const n of notifications) print(`${n.id}  ${Channel[n.channel]}  ${told(n.status, n.reason)}`);
    print(`group ${groupId}`);
    const place = flags.server === DEFAULT_SERVER ? '' : ` --server ${flags.server}`;
    const key = flags.key === undefined ? '' : ' --key …';
    print(`follow it: npx carillon watch --group ${groupId} --after ${watchToken}${place}${key}`);
  });
}

function recipientOf(channel: string, { to, recipientId }: SendFlags): MessageInitShape<typeof RecipientSchema> {
  const id = recipientId ? { id: recipientId } : {};
  if (to === undefined) return id;
  if (channel === 'PUSH') return { ...id, devices: [{ token: to }] };
  const field = ADDRESS[channel];
  return field ? { ...id, [field]: to } : id;
}

function parseData(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError('--data is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UsageError('--data is not an object');
  return value as JsonObject; // what JSON.parse made is JSON
}

export async function watch(flags: WatchFlags): Promise<void> {
  await withClient(flags, async (client, signal) => {
    const request = {
      groupId: flags.group ?? '',
      recipientId: flags.recipient ?? '',
      afterToken: flags.after ?? '',
    };
    for await (const { event, token } of client.watchNotifications(request, { signal })) {
      if (event) print(flags.json ? JSON.stringify({ ...eventJson(event), token }) : eventLine(event));
      else if (!flags.json) process.stderr.write('watching what happens from here on; Ctrl-C ends it\n');
    }
  });
}

export async function outbox(flags: OutboxFlags): Promise<void> {
  await withClient(flags, async (client) => {
    const filter = { status: Status.SENT };
    const pageSize = Number(flags.limit);
    if (!Number.isInteger(pageSize) || pageSize < 1 || pageSize > 100) throw new UsageError('--limit is from 1 to 100');
    const { notifications } = await client.listNotifications({ filter, pageSize });
    const kept = notifications.filter((n) => n.targets.some((target) => target.provider === 'capture'));
    if (kept.length === 0 && !flags.json) process.stderr.write('the outbox is empty\n');
    for (const n of kept) print(flags.json ? JSON.stringify(toJson(NotificationSchema, n)) : letter(n));
  });
}

function eventJson(event: NotificationEvent): object {
  return toJson(NotificationEventSchema, event) as object; // a message that is no well-known type is a JSON object
}

function eventLine(event: NotificationEvent): string {
  const at = event.at ? timestampDate(event.at).toISOString() : '';
  const by = event.provider ? `  ${event.provider} #${event.attempt}` : '';
  return `${at}  ${event.notificationId}  ${Channel[event.channel]}  ${told(event.status, event.reason)}${by}`;
}

const told = (status: Status, reason: Reason): string =>
  `${Status[status]}${reason === Reason.UNSPECIFIED ? '' : ` (${Reason[reason]})`}`;

function letter(n: Notification): string {
  const content = n.renderedContent?.content;
  const at = n.updatedAt ? timestampDate(n.updatedAt).toISOString() : '';
  const subject = content?.subject || content?.push?.title;
  const body = content?.webhookBody
    ? JSON.stringify(toJson(ValueSchema, content.webhookBody), undefined, 2)
    : content?.smsBody || content?.textBody || content?.push?.body || '';
  return [
    `── ${n.id}  ${Channel[n.channel]}  ${n.type}  ${at}`,
    `to:      ${n.targets.map((target) => target.address).join(', ')}`,
    ...(subject ? [`subject: ${subject}`] : []),
    '',
    body.trimEnd(),
    '',
  ].join('\n');
}

class UsageError extends Error {
  override readonly name = 'UsageError';
}

function valueOf<E extends Record<string, string | number>>(names: E, name: string, flag: string): number {
  const value = names[name];
  if (typeof value === 'number' && value > 0) return value;
  const known = Object.keys(names).filter((key) => Number(names[key]) > 0);
  throw new UsageError(`${flag} ${name.toLowerCase()}: must be one of ${known.join(', ').toLowerCase()}`);
}

/** Ctrl-C ends the call; an error of the service is told with its reason, and the exit code is 1. */
async function withClient(
  { server, key }: ClientFlags,
  run: (client: Client<typeof NotificationService>, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort();
  process.once('SIGINT', interrupt);
  const authorize: Interceptor = (next) => (request) => {
    if (key) request.header.set('authorization', `Bearer ${key}`);
    return next(request);
  };
  try {
    if (!/^https?:\/\//.test(server) || !URL.canParse(server))
      throw new UsageError(`--server ${server} is no http address`);
    const transport = createConnectTransport({ baseUrl: server, httpVersion: '1.1', interceptors: [authorize] });
    await run(createClient(NotificationService, transport), interrupted.signal);
  } catch (thrown) {
    if (interrupted.signal.aborted) return;
    process.stderr.write(`carillon: ${explain(thrown, server)}\n`);
    process.exitCode = 1;
  } finally {
    process.off('SIGINT', interrupt);
  }
}

function explain(thrown: unknown, server: string): string {
  if (thrown instanceof UsageError) return thrown.message;
  const error = ConnectError.from(thrown);
  const away = error.code === Code.Unavailable && error.details.length === 0;
  return away ? `no service answers at ${server} (${error.rawMessage})` : `${Code[error.code]}: ${error.rawMessage}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
