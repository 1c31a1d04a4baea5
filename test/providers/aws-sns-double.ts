import { createSign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { systemClock } from '../../src/domain/clock.ts';
import type { Fetch } from '../../src/providers/aws-sns-inbox.ts';
import { HttpApi } from '../../src/providers/http-api.ts';
import type { CallbackRequest } from '../../src/providers/provider.ts';
import { startHttp, type HttpReaction, type ReceivedRequest } from '../support/start-http.ts';

const fixture = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8');
export const CERTIFICATE = fixture('sns-cert.pem');
const KEY = fixture('sns-key.pem');

export const TOPIC = 'arn:aws:sns:eu-west-1:123456789012:mail-events';
export const CERTIFICATE_URL = `https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-${'0a1b2c3d'.repeat(4)}.pem`;
/** Within the certificate's time. */
export const NOW = Date.UTC(2027, 0, 1, 0, 10);
export const SENT_AT = '2027-01-01T00:00:00.000Z';

export interface SnsDouble extends AsyncDisposable {
  /** Asks the double for whatever stands at an address of SNS. */
  readonly fetch: Fetch;
  readonly requests: readonly ReceivedRequest[];
}

/** The web server of SNS: it has the certificate and takes confirmations. */
export async function startSns(react?: (request: ReceivedRequest) => HttpReaction | undefined): Promise<SnsDouble> {
  const server = await startHttp(
    (request) =>
      react?.(request) ?? {
        status: 200,
        body: request.path.endsWith('.pem') ? CERTIFICATE : '<ConfirmSubscriptionResponse/>',
      },
  );
  const api = new HttpApi({ baseUrl: server.url, timeout: 5_000, maxConcurrent: 5, secrets: [], clock: systemClock });
  return {
    fetch: (url, signal) => api.call({ method: 'GET', path: new URL(url.pathname + url.search, server.url) }, signal),
    requests: server.requests,
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

type Fields = Readonly<Record<string, string>>;

/** As SNS posts it, with the signature that belongs to it. */
export function notification(message: string, given: Fields = {}): Fields {
  const fields: Fields = {
    Type: 'Notification',
    MessageId: '22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324',
    TopicArn: TOPIC,
    Message: message,
    Timestamp: SENT_AT,
    SignatureVersion: '1',
    SigningCertURL: CERTIFICATE_URL,
    UnsubscribeURL: 'https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe',
    ...given,
  };
  return {
    ...fields,
    Signature: signature(fields, ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type']),
  };
}

export function confirmation(type: 'SubscriptionConfirmation' | 'UnsubscribeConfirmation', given: Fields = {}): Fields {
  const fields: Fields = {
    Type: type,
    MessageId: '165545c9-2a5c-472c-8df2-7ff2be2b3b1b',
    Token: '2336412f37',
    TopicArn: TOPIC,
    Message: 'You have chosen to subscribe to the topic.',
    SubscribeURL: `https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=${TOPIC}&Token=2336412f37`,
    Timestamp: SENT_AT,
    SignatureVersion: '2',
    SigningCertURL: CERTIFICATE_URL,
    ...given,
  };
  const keys = ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'];
  return { ...fields, Signature: signature(fields, keys) };
}

export function callback(body: Fields | string, now = NOW, signal = new AbortController().signal): CallbackRequest {
  return {
    url: new URL('https://hooks.example.org/callbacks/ses'),
    headers: { 'content-type': 'text/plain; charset=UTF-8' },
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    now,
    signal,
  };
}

function signature(fields: Fields, keys: readonly string[]): string {
  const signer = createSign(fields['SignatureVersion'] === '2' ? 'RSA-SHA256' : 'RSA-SHA1');
  for (const key of keys) if (fields[key] !== undefined) signer.update(`${key}\n${fields[key]}\n`);
  return signer.sign(KEY, 'base64');
}
