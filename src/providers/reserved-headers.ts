/**
 * Header names a caller may not set, in lower case: the service writes them itself or they steer the transport.
 * Acceptance refuses them with a clear message; providers leave them out should one arrive all the same.
 */

/** RFC 5322 §3.6 fields of the service's own, MIME, trace fields, signatures, and the priority headers. */
const RESERVED_EMAIL_HEADERS: ReadonlySet<string> = new Set([
  'from',
  'sender',
  'reply-to',
  'to',
  'cc',
  'bcc',
  'subject',
  'date',
  'message-id',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
  'content-disposition',
  'content-id',
  'content-description',
  'return-path',
  'received',
  'dkim-signature',
  'domainkey-signature',
  'authentication-results',
  'x-priority',
  'x-msmail-priority',
  'importance',
  'x-smtpapi',
]);

/**
 * The last ones steer a vendor, by its API or behind a relay: through them a caller could give a message the mark of
 * another one, and its receipts with it.
 */
const RESERVED_EMAIL_PREFIXES = ['content-', 'resent-', 'arc-', 'received-', 'x-ses-', 'x-mailgun-', 'x-carillon-'];

/** RFC 9110 §7.6.1 connection headers, framing, and what identifies and signs the request. */
export const RESERVED_WEBHOOK_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'http2-settings',
  'user-agent',
  'webhook-id',
  'webhook-timestamp',
  'webhook-signature',
]);

const RESERVED_WEBHOOK_PREFIXES = ['webhook-'];

export function isReservedEmailHeader(name: string): boolean {
  return isReserved(name, RESERVED_EMAIL_HEADERS, RESERVED_EMAIL_PREFIXES);
}

export function isReservedWebhookHeader(name: string): boolean {
  return isReserved(name, RESERVED_WEBHOOK_HEADERS, RESERVED_WEBHOOK_PREFIXES);
}

function isReserved(name: string, names: ReadonlySet<string>, prefixes: readonly string[]): boolean {
  const lower = name.trim().toLowerCase();
  return names.has(lower) || prefixes.some((prefix) => lower.startsWith(prefix));
}

/** The characters of a header name that both mail and HTTP allow (RFC 9110 `token`). */
export function isHeaderName(name: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name);
}
