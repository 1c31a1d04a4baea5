/**
 * What an SMTP dialogue that went wrong means. Decided by nodemailer's error code, the command that was answered and the
 * server's codes (RFC 5321 §4.2, RFC 3463), never by a text.
 */
import type { NodemailerError } from 'nodemailer';
import type { SendResult } from '../provider.ts';

/** Node's codes for a certificate that does not check out: ours to repair, on either side, and no retry will. */
const CERTIFICATE_ERRORS: ReadonlySet<string> = new Set([
  'CERT_CHAIN_TOO_LONG',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'HOSTNAME_MISMATCH',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY',
  'UNABLE_TO_DECRYPT_CERT_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** Codes of errors that are the connection's or the server's own, so another provider may do better. */
const CONNECTION_ERRORS: ReadonlySet<string> = new Set([
  'ECONNECTION',
  'EDNS',
  'EPROTOCOL',
  'EPROXY',
  'ESOCKET',
  'ETIMEDOUT',
  'ETLS',
]);

/** A negative answer of the server. */
interface Answer {
  readonly status: number;
  /** Class, subject and detail of the enhanced code, such as `5.1.1`; empty when there is none. */
  readonly enhanced: string;
  readonly told: { readonly code: string; readonly detail: string };
}

/**
 * @param handedOver the whole message was given to the connection, so the dot that ends it may have reached the server
 * @param detail what was said, without credentials
 */
export function outcomeOf(error: NodemailerError, handedOver: boolean, detail: string): SendResult {
  const answer = answerOf(error, detail);
  if (answer === undefined) return unanswered(error, handedOver, detail);
  if (error.code === 'EAUTH') return refusedLogin(answer);
  switch (error.command) {
    case 'MAIL FROM':
      return refusedSender(answer);
    case 'RCPT TO':
      return refusedRecipient(answer);
    case 'DATA':
      return refusedMessage(answer);
    default:
      // One that no line break ended is told as the connection's, and is the answer to the message.
      if (handedOver) return refusedMessage(answer);
      return refusedSession(answer, error.code === 'ETLS');
  }
}

function answerOf(error: NodemailerError, detail: string): Answer | undefined {
  const status = error.responseCode;
  if (status === undefined || status < 400) return undefined;
  const enhanced = /^\d{3}[ -](\d\.\d{1,3}\.\d{1,3})\b/.exec(error.response ?? '')?.[1] ?? '';
  return { status, enhanced, told: { code: String(status), detail } };
}

function unanswered(error: NodemailerError, handedOver: boolean, detail: string): SendResult {
  const told = { code: error.originalCode ?? error.code ?? 'EUNKNOWN', detail };
  if (handedOver) return { outcome: 'unknown', ...told };
  if (CERTIFICATE_ERRORS.has(told.code)) return { outcome: 'provider_error', ...told };
  // No password was set for a server that asks for one, or it offers no method that we know.
  if (error.code === 'EAUTH') return { outcome: 'provider_error', ...told };
  // Larger than the server announced that it takes, so it was not even asked; or an address it cannot be asked about.
  if (error.code === 'EMESSAGE' || error.code === 'EENVELOPE') return { outcome: 'permanent_failure', ...told };
  return { outcome: 'temporary_failure', ...told, providerDown: CONNECTION_ERRORS.has(error.code ?? '') };
}

/** The greeting, EHLO or STARTTLS: nothing of the message has been said yet. */
function refusedSession({ status, told }: Answer, tls: boolean): SendResult {
  if (tls || isTemporary(status)) return { outcome: 'temporary_failure', ...told, providerDown: true };
  return { outcome: 'provider_error', ...told };
}

function refusedLogin({ status, told }: Answer): SendResult {
  if (isTemporary(status)) return { outcome: 'temporary_failure', ...told, providerDown: true };
  return { outcome: 'provider_error', ...told };
}

/** No recipient has been named: what is refused is us, or that we come now. */
function refusedSender({ status, enhanced, told }: Answer): SendResult {
  // Policy (x.7.x) for the moment: too many connections or messages from here.
  if (isTemporary(status) && enhanced.startsWith('4.7.')) return { outcome: 'rate_limited', ...told };
  if (isTemporary(status)) return { outcome: 'temporary_failure', ...told, providerDown: true };
  if (isTooLarge(status, enhanced)) return { outcome: 'permanent_failure', ...told };
  return { outcome: 'provider_error', ...told };
}

function refusedRecipient(answer: Answer): SendResult {
  const { status, enhanced, told } = answer;
  if (isTemporary(status)) return refusedForNow(answer);
  if (isNotAuthenticated(status)) return { outcome: 'provider_error', ...told };
  // A policy (5.7.x) refuses the message or us; the address itself may well be good.
  if (enhanced.startsWith('5.7.')) return { outcome: 'permanent_failure', ...told };
  if (enhanced.startsWith('5.1.') || status === 550 || status === 551 || status === 553) {
    return { outcome: 'invalid_recipient', ...told };
  }
  return { outcome: 'permanent_failure', ...told };
}

function refusedMessage(answer: Answer): SendResult {
  if (isTemporary(answer.status)) return refusedForNow(answer);
  if (isNotAuthenticated(answer.status)) return { outcome: 'provider_error', ...answer.told };
  return { outcome: 'permanent_failure', ...answer.told };
}

/** 421 closes the service and x.3.x is about the whole mail system; anything else is about this message (greylisting). */
function refusedForNow({ status, enhanced, told }: Answer): SendResult {
  const providerDown = status === 421 || enhanced.startsWith('4.3.');
  return { outcome: 'temporary_failure', ...told, providerDown };
}

/** 503 says that the dialogue went out of step, not that the message is bad: a new connection starts afresh. */
function isTemporary(status: number): boolean {
  return status < 500 || status === 503;
}

function isNotAuthenticated(status: number): boolean {
  return status === 530 || status === 535;
}

function isTooLarge(status: number, enhanced: string): boolean {
  return status === 552 || enhanced === '5.3.4';
}
