/** Where log lines go, and what never stands in one: addresses, content and credentials. */
import { pino } from 'pino';
import type { DestinationStream } from 'pino';

export interface LogOptions {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  readonly format: 'json' | 'pretty';
}

type LogLine = (fields: Readonly<Record<string, unknown>>, message: string) => void;

/** What is needed of a logger, so that a test can stand in for it. */
export interface Log {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
}

/** Fields that would hold a person's data or a secret. No event writes one; this is for the event that is written next. */
const PRIVATE: readonly string[] = [
  'address',
  'addresses',
  'to',
  'from',
  'recipient',
  'email',
  'phone',
  'device',
  'devices',
  'webhookUrl',
  'subject',
  'body',
  'content',
  'data',
  'html',
  'text',
  'rendered',
  'metadata',
  'headers',
  'password',
  'secret',
  'token',
  'key',
  'apiKey',
  'authorization',
  'url',
];

/** @param destination where lines go. Default: standard output, written before the call returns, so that a crash loses none. */
export function openLog(options: LogOptions, destination: DestinationStream = pino.destination(1)): Log {
  return pino(
    {
      level: options.level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      // What `describeError` made; pino's own would call each of them an Object.
      serializers: { err: (described: unknown) => described },
      redact: { paths: [...PRIVATE, ...PRIVATE.map((name) => `*.${name}`)], censor: '[redacted]' },
    },
    options.format === 'json' ? destination : { write: (line) => destination.write(prettyLine(line)) },
  );
}

/** `12:00:01.123 WARN  the queue is unreachable reason=QUEUE_UNAVAILABLE`, for people. */
function prettyLine(line: string): string {
  // A line that pino wrote is an object.
  const { time, level, msg, pid: _, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const rest = Object.entries(fields).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return `${[String(time).slice(11, 23), String(level).toUpperCase().padEnd(5), String(msg), ...rest].join(' ')}\n`;
}

const MAX_TEXT = 2_000;
const MAX_FRAMES = 12;
const MAX_CAUSES = 5;

/** In this order: credentials in an address before what looks like an e-mail address. */
const SCRUBBED: readonly (readonly [RegExp, string])[] = [
  [/\/\/[^\s/@]{1,512}@/g, '//[credentials]@'],
  // Paths and queries of webhooks are secrets; the host is what helps.
  [/\b(https?:\/\/[^\s/?#"']{1,255})[/?#][^\s"']*/g, '$1/[path]'],
  [/\b(bearer|basic)\s+[^\s"',]+/gi, '$1 [credentials]'],
  [/\bwhsec_[A-Za-z0-9+/=]+/g, '[secret]'],
  [/[^\s@<>"'(),;:/[\]]{1,64}@[^\s@<>"'(),;:/[\]]{1,255}/g, '[address]'],
  [/\+[1-9]\d{6,14}\b/g, '[address]'],
  // Device tokens.
  [/[A-Za-z0-9_:-]{80,}/g, '[token]'],
];

/** Text from outside, such as a driver's or a vendor's message, without what must not be logged. */
export function scrub(text: string): string {
  return SCRUBBED.reduce((left, [pattern, stand]) => left.replace(pattern, stand), text.slice(0, MAX_TEXT));
}

/**
 * What the log says of an error: its name, words, code, place and causes. Nothing else of it: drivers hang documents and
 * vendors' libraries hang requests on their errors.
 */
export function describeError(thrown: unknown, depth = 0): Record<string, unknown> {
  if (!(thrown instanceof Error)) return { message: scrub(String(thrown)) };
  const code: unknown = 'code' in thrown ? thrown.code : undefined;
  const reason: unknown = 'reason' in thrown ? thrown.reason : undefined;
  const frames = (thrown.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  return {
    type: thrown.name,
    message: scrub(thrown.message),
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(typeof reason === 'string' ? { reason: scrub(reason) } : {}),
    stack: frames.slice(0, MAX_FRAMES).map((line) => scrub(line.trim())),
    ...(thrown.cause !== undefined && depth < MAX_CAUSES ? { cause: describeError(thrown.cause, depth + 1) } : {}),
  };
}
