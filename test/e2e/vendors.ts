/** Services of providers, on this machine, and their callbacks, signed as the real ones sign them. */
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { type Notification, Outcome, SkipReason, type Status } from '../../gen/carillon/v1/notification_pb.js';
import { eventually } from '../support/eventually.ts';
import type { TestCarillon } from '../support/start-carillon.ts';
import { type HttpReaction, type StartedHttp, startHttp } from '../support/start-http.ts';
import { SECRET } from './samples.ts';

/** What the services are told to call; the tests call the listener itself. */
const PUBLIC_URL = 'server.public_url=https://notify.example.com';

export const TAKEN: HttpReaction = { status: 202, headers: { 'x-message-id': 'sendgrid-1' } };
export const DOWN: HttpReaction = { status: 503, body: '{}' };

export interface Sendgrid {
  readonly settings: readonly string[];
  /** How it answers the try so many, from 1, of a notification; takes it unless set. */
  react: (id: string, turn: number) => HttpReaction;
  /** Tries that it has seen. */
  triesOf(id: string): number;
  /** Calls back with events, which need no time or address; answers the status. */
  tell(carillon: TestCarillon, ...events: readonly SendgridEvent[]): Promise<number>;
  /** The same, without a good signature. */
  tellUnsigned(carillon: TestCarillon, ...events: readonly SendgridEvent[]): Promise<number>;
}

export interface SendgridEvent {
  readonly event: string;
  readonly carillon_id: string;
  readonly sg_event_id?: string;
  /** Seconds. */
  readonly timestamp?: number;
  readonly [field: string]: unknown;
}

export async function startSendgrid(owned: AsyncDisposableStack): Promise<Sendgrid> {
  const tries: string[] = [];
  const http = owned.use(
    await startHttp(({ body }) => {
      const id = idIn(body);
      tries.push(id);
      return sendgrid.react(id, triesOf(id));
    }),
  );
  const triesOf = (id: string): number => tries.filter((one) => one === id).length;
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const told = (events: readonly SendgridEvent[]): string => {
    const timestamp = Math.floor(Date.now() / 1_000);
    return JSON.stringify(events.map((event) => ({ sg_event_id: randomUUID(), timestamp, ...event })));
  };
  const post = (carillon: TestCarillon, body: string, signed: string): Promise<number> => {
    const timestamp = String(Math.floor(Date.now() / 1_000));
    const signature = sign('sha256', Buffer.from(timestamp + signed), privateKey).toString('base64');
    return callBack(carillon, 'sendgrid', body, {
      'x-twilio-email-event-webhook-timestamp': timestamp,
      'x-twilio-email-event-webhook-signature': signature,
    });
  };
  const sendgrid: Sendgrid = {
    settings: [
      PUBLIC_URL,
      'notifications.email.providers=sendgrid',
      'notifications.default_sender_email=shop@example.com',
      'notifications.email.sendgrid.api_key=SG.key',
      `notifications.email.sendgrid.base_url=${http.url}`,
      `notifications.email.sendgrid.webhook_public_keys=${publicKey.export({ type: 'spki', format: 'der' }).toString('base64')}`,
    ],
    react: () => TAKEN,
    triesOf,
    tell(carillon, ...events) {
      const body = told(events);
      return post(carillon, body, body);
    },
    tellUnsigned: (carillon, ...events) => post(carillon, told(events), 'another body'),
  };
  return sendgrid;
}

/** The notification that a mail given to SendGrid is about. */
function idIn(body: string): string {
  // The provider wrote it.
  const mail = JSON.parse(body) as { personalizations: { custom_args: { carillon_id: string } }[] };
  return mail.personalizations[0]?.custom_args.carillon_id ?? '';
}

export interface SmsService {
  readonly settings: readonly string[];
  /** Notifications of the messages that it was given. */
  readonly taken: readonly string[];
  /** Calls back under a new id unless one is given; answers the status. */
  tell(
    carillon: TestCarillon,
    events: readonly Readonly<Record<string, unknown>>[],
    webhookId?: string,
  ): Promise<number>;
}

/** A service of one's own for text messages, which takes everything. */
export async function startSms(owned: AsyncDisposableStack): Promise<SmsService> {
  const taken: string[] = [];
  const http: StartedHttp = owned.use(
    await startHttp(({ body }) => {
      // The provider wrote it.
      const { id, notification_id: of } = JSON.parse(body) as Record<string, string>;
      taken.push(of ?? '');
      return { status: 200, body: JSON.stringify({ message_id: id }) };
    }),
  );
  return {
    settings: [
      PUBLIC_URL,
      'notifications.sms.providers=custom',
      'notifications.default_sms_sender=Shop',
      `notifications.sms.custom.url=${http.url}/sms`,
      `notifications.sms.custom.secrets=${SECRET}`,
    ],
    taken,
    tell(carillon, events, webhookId = randomUUID()) {
      const body = JSON.stringify({ events });
      const timestamp = String(Math.floor(Date.now() / 1_000));
      const key = Buffer.from(SECRET.slice('whsec_'.length), 'base64');
      const mac = createHmac('sha256', key).update(`${webhookId}.${timestamp}.${body}`).digest('base64');
      return callBack(carillon, 'custom', body, {
        'webhook-id': webhookId,
        'webhook-timestamp': timestamp,
        'webhook-signature': `v1,${mac}`,
      });
    },
  };
}

async function callBack(
  carillon: TestCarillon,
  provider: string,
  body: string,
  headers: Readonly<Record<string, string>>,
): Promise<number> {
  const answer = await fetch(`${carillon.httpUrl}/callbacks/${provider}`, { method: 'POST', body, headers });
  await answer.arrayBuffer();
  return answer.status;
}

/** Waits for a status that may come behind SENT. */
export function reaching(carillon: TestCarillon, id: string, status: Status): Promise<Notification> {
  return eventually(`status ${status}`, async () => {
    const row = await carillon.get(id);
    return row.status === status && row;
  });
}

/** Of each attempt its number, provider, answer and whom it passed over, such as `1 smtp SENT, not sendgrid: QUOTA_USED`. */
export const attemptsOf = (row: Notification): string[] =>
  row.attempts.map(({ number, provider, results, skipped }) => {
    const passedOver = skipped.map((one) => `, not ${one.provider}: ${SkipReason[one.reason]}`);
    return [`${number} ${provider} ${results.map(({ outcome }) => Outcome[outcome]).join(' ')}`, ...passedOver].join(
      '',
    );
  });
