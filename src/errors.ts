/**
 * One error class with a closed list of reasons. `docs/errors.md` explains each, and a test holds the two together.
 * The message is for the caller and never carries a secret; `cause` is for the log.
 */

/** Names of gRPC status codes that Carillon answers. */
export type StatusName =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'UNAUTHENTICATED'
  | 'RESOURCE_EXHAUSTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'CANCELLED'
  | 'DEADLINE_EXCEEDED';

/** Every reason, with the status it is answered as. */
export const ERROR_REASONS = {
  INVALID_FIELD: 'INVALID_ARGUMENT',
  RECIPIENT_ADDRESS_MISSING: 'INVALID_ARGUMENT',
  TEMPLATE_DATA_INVALID: 'INVALID_ARGUMENT',
  PAGE_TOKEN_INVALID: 'INVALID_ARGUMENT',
  TEMPLATE_NOT_FOUND: 'NOT_FOUND',
  NOTIFICATION_NOT_FOUND: 'NOT_FOUND',
  SUPPRESSION_NOT_FOUND: 'NOT_FOUND',
  IDEMPOTENCY_KEY_REUSED: 'ALREADY_EXISTS',
  API_KEY_MISSING: 'UNAUTHENTICATED',
  API_KEY_INVALID: 'UNAUTHENTICATED',
  SCOPE_MISSING: 'PERMISSION_DENIED',
  OUTBOX_FULL: 'RESOURCE_EXHAUSTED',
  MESSAGE_TOO_LARGE: 'RESOURCE_EXHAUSTED',
  TOO_MANY_STREAMS: 'RESOURCE_EXHAUSTED',
  WATCHER_TOO_SLOW: 'RESOURCE_EXHAUSTED',
  WATCH_TOKEN_OUT_OF_RANGE: 'OUT_OF_RANGE',
  METHOD_UNKNOWN: 'UNIMPLEMENTED',
  STORE_UNAVAILABLE: 'UNAVAILABLE',
  QUEUE_UNAVAILABLE: 'UNAVAILABLE',
  FEED_UNAVAILABLE: 'UNAVAILABLE',
  LOOKUP_FAILED: 'UNAVAILABLE',
  SHUTTING_DOWN: 'UNAVAILABLE',
  CALL_CANCELLED: 'CANCELLED',
  DEADLINE_EXCEEDED: 'DEADLINE_EXCEEDED',
  INTERNAL: 'INTERNAL',
} as const satisfies Record<string, StatusName>;

export type ErrorReason = keyof typeof ERROR_REASONS;

/** What is wrong with one field; `field` is its path in the request, such as `notification.recipient.email`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

export interface ErrorExtras {
  readonly violations?: readonly FieldViolation[];
  /** Values that belong to the reason; sent to the caller. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The caller may try again after this many milliseconds. */
  readonly retryAfterMs?: number;
  /** Logged, never sent. */
  readonly cause?: unknown;
}

export class CarillonError extends Error {
  override readonly name = 'CarillonError';
  readonly reason: ErrorReason;
  readonly violations: readonly FieldViolation[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | undefined;

  constructor(reason: ErrorReason, message: string, extras: ErrorExtras = {}) {
    super(message, extras.cause === undefined ? undefined : { cause: extras.cause });
    this.reason = reason;
    this.violations = extras.violations ?? [];
    this.metadata = extras.metadata ?? {};
    this.retryAfterMs = extras.retryAfterMs;
  }

  get status(): StatusName {
    return ERROR_REASONS[this.reason];
  }

  /** Turns whatever was thrown into a CarillonError; what is not one is INTERNAL and keeps its facts in `cause`. */
  static from(thrown: unknown): CarillonError {
    if (thrown instanceof CarillonError) return thrown;
    return new CarillonError('INTERNAL', 'something went wrong inside the service', { cause: thrown });
  }
}

/** The fault lies in the service or behind it, and the error knows what it was: somebody who runs it should be told. */
export function isOwnFault({ status, cause }: CarillonError): boolean {
  return status === 'INTERNAL' || (status === 'UNAVAILABLE' && cause !== undefined);
}

/** Bad input in one field. */
export function invalidField(field: string, description: string): CarillonError {
  return new CarillonError('INVALID_FIELD', `${field}: ${description}`, { violations: [{ field, description }] });
}

/** True for errors after which the same call may succeed later and nothing is known of its effect. */
export function isUnavailable(thrown: unknown): thrown is CarillonError {
  return thrown instanceof CarillonError && thrown.status === 'UNAVAILABLE';
}
