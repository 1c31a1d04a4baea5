/**
 * What SNS posts to an HTTP address: who wrote it, for which topic, and when. The rules of its signature:
 * https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
 */
import { verify, X509Certificate, type KeyObject } from 'node:crypto';
import { HOUR } from '../domain/clock.ts';
import { CLOCK_SKEW, isFresh } from './callback.ts';
import type { Answered, Unanswered } from './http-api.ts';
import { field } from './json.ts';
import { parseJson } from './parse-json.ts';
import type { CallbackRequest, CallbackResult } from './provider.ts';

/** GET; follows no redirect and never rejects. */
export type Fetch = (url: URL, signal: AbortSignal) => Promise<Answered | Unanswered>;

export interface SnsNotification {
  readonly kind: 'notification';
  /** The same each time SNS tries to deliver it. */
  readonly messageId: string;
  /** When it was published, milliseconds. */
  readonly at: number;
  readonly message: string;
}

type Refusal = Extract<CallbackResult, { kind: 'refused' }>;
/** `subscription`: its beginning has been confirmed, or it has ended. */
export type Opened = SnsNotification | { readonly kind: 'subscription' } | Refusal;

const SUBSCRIPTION_KEYS = ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'] as const;
/** The fields that are signed, in this order. Without a subject its field is not there. */
const SIGNED_KEYS = {
  Notification: ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type'],
  SubscriptionConfirmation: SUBSCRIPTION_KEYS,
  UnsubscribeConfirmation: SUBSCRIPTION_KEYS,
} as const;
type EnvelopeType = keyof typeof SIGNED_KEYS;
const OPTIONAL_KEY = 'Subject';
const HASHES: ReadonlyMap<string, string> = new Map([
  ['1', 'RSA-SHA1'],
  ['2', 'RSA-SHA256'],
]);

/**
 * SNS gives up an HTTP address after 3600 s at most, and a repeat keeps its time. Milliseconds; the rest is for clocks
 * that differ: https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
 */
const MAX_AGE = HOUR + CLOCK_SKEW;
/** AWS changes its certificates rarely; more of them would be somebody's attempt to fill the memory. */
const MAX_CERTIFICATES = 16;

interface Envelope {
  readonly type: EnvelopeType;
  readonly text: (key: string) => string;
  readonly at: number;
  /** What the signature is over. */
  readonly signed: Buffer;
}

export class SnsInbox {
  readonly #topicArns: ReadonlySet<string>;
  readonly #fetch: Fetch;
  readonly #certificates = new Map<string, X509Certificate>();

  /** @param topicArns the only ones believed: a good signature proves that AWS wrote it, for any of its customers */
  constructor(topicArns: readonly string[], fetch: Fetch) {
    this.#topicArns = new Set(topicArns);
    this.#fetch = fetch;
  }

  /** Confirms what asks to be confirmed. Never rejects. */
  async open({ body, now, signal }: CallbackRequest): Promise<Opened> {
    const envelope = envelopeOf(body);
    if (envelope === undefined) return refused(400, 'not an envelope of SNS');
    if (!this.#topicArns.has(envelope.text('TopicArn'))) return refused(401, 'the topic is not in topic_arns');
    if (!isFresh(now - envelope.at, MAX_AGE)) return refused(401, 'not fresh');
    const refusal = await this.#unproven(envelope, now, signal);
    if (refusal !== undefined) return refusal;
    const { type, text, at } = envelope;
    if (type === 'Notification')
      return { kind: 'notification', messageId: text('MessageId'), at, message: text('Message') };
    return type === 'SubscriptionConfirmation'
      ? await this.#confirm(text('SubscribeURL'), signal)
      : { kind: 'subscription' };
  }

  async #unproven(envelope: Envelope, now: number, signal: AbortSignal): Promise<Refusal | undefined> {
    const hash = HASHES.get(envelope.text('SignatureVersion'));
    if (hash === undefined) return refused(401, 'a signature of an unknown version');
    const url = ofAws(envelope.text('SigningCertURL'));
    if (
      url === undefined ||
      !/^\/SimpleNotificationService-[0-9a-f]{32}\.pem$/.test(url.pathname) ||
      url.search !== ''
    ) {
      return refused(401, 'the certificate is not at an address of SNS');
    }
    const certificate = await this.#certificateAt(url, signal);
    if (certificate === undefined) return refused(503, 'the certificate cannot be fetched');
    if (now < certificate.validFromDate.getTime() || now > certificate.validToDate.getTime()) {
      return refused(401, 'the certificate is not valid now');
    }
    return isSigned(envelope, hash, certificate.publicKey) ? undefined : refused(401, 'no valid signature');
  }

  async #certificateAt(url: URL, signal: AbortSignal): Promise<X509Certificate | undefined> {
    const known = this.#certificates.get(url.href);
    if (known !== undefined) return known;
    const answer = await this.#fetch(url, signal);
    if (answer.kind !== 'answered' || answer.status !== 200) return undefined;
    const certificate = certificateOf(answer.body);
    if (certificate === undefined) return undefined;
    const [oldest] = this.#certificates.keys();
    if (oldest !== undefined && this.#certificates.size >= MAX_CERTIFICATES) this.#certificates.delete(oldest);
    this.#certificates.set(url.href, certificate);
    return certificate;
  }

  async #confirm(subscribeUrl: string, signal: AbortSignal): Promise<Opened> {
    const url = ofAws(subscribeUrl);
    if (url === undefined) return refused(401, 'the subscription is not to be confirmed at an address of SNS');
    const answer = await this.#fetch(url, signal);
    const confirmed = answer.kind === 'answered' && answer.status >= 200 && answer.status < 300;
    return confirmed ? { kind: 'subscription' } : refused(503, 'the subscription cannot be confirmed');
  }
}

function refused(status: Refusal['status'], why: string): Refusal {
  return { kind: 'refused', status, why };
}

/** Undefined where it is none. Every signed field is there, so that what is signed can be read in one way only. */
function envelopeOf(body: Buffer): Envelope | undefined {
  const json = parseJson(body.toString('utf8'));
  const type = (['Notification', 'SubscriptionConfirmation', 'UnsubscribeConfirmation'] as const).find(
    (one) => one === field(json, 'Type'),
  );
  if (type === undefined) return undefined;
  const wanted = [
    ...SIGNED_KEYS[type].filter((key) => key !== OPTIONAL_KEY),
    'Signature',
    'SignatureVersion',
    'SigningCertURL',
  ];
  if (!wanted.every((key) => typeof field(json, key) === 'string')) return undefined;
  const text = (key: string): string => {
    const value = field(json, key);
    return typeof value === 'string' ? value : '';
  };
  const present = SIGNED_KEYS[type].filter((key) => typeof field(json, key) === 'string');
  const signed = Buffer.from(present.map((key) => `${key}\n${text(key)}\n`).join(''));
  return { type, text, at: Date.parse(text('Timestamp')), signed };
}

function isSigned({ signed, text }: Envelope, hash: string, key: KeyObject): boolean {
  return key.asymmetricKeyType === 'rsa' && verify(hash, signed, key, Buffer.from(text('Signature'), 'base64'));
}

function certificateOf(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    // Something else than AWS has answered; it is asked again with the next callback.
    return undefined;
  }
}

/** Only there does AWS alone decide what is served: `sns.s3-us-west-2.amazonaws.com` would be somebody's bucket. */
function ofAws(text: string): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') return undefined;
  return /^sns\.[a-z]{2,}(-[a-z]+)+-\d+\.amazonaws\.com(\.cn)?$/.test(url.host) ? url : undefined;
}
