/** Errors as they go over the wire: a gRPC status with google.rpc details, the same on every protocol. */
import { create, type DescMessage, type Message } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { status as codes } from '@grpc/grpc-js';

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/errors_pb.js';
import { CarillonError } from '../errors.ts';

/** Details travel in HTTP headers, of which some clients take no more than 8 kB. */
const MAX_VIOLATIONS = 20;

/** Names the list of reasons in google.rpc.ErrorInfo. */
const ERROR_DOMAIN = 'carillon.v1';

export interface StatusDetail {
  readonly desc: DescMessage;
  readonly value: Message;
}

export interface Status {
  /** gRPC status code. */
  readonly code: number;
  readonly message: string;
  readonly details: readonly StatusDetail[];
}

/**
 * An answer that the specification of a standard service prescribes, such as NOT_FOUND for a service unknown to
 * grpc.health.v1. Carries no reason of Carillon's list, as it is no part of Carillon's API.
 */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** The status to answer for whatever a call ended with; what is not a CarillonError is INTERNAL and shows nothing. */
export function toStatus(thrown: unknown): Status {
  if (thrown instanceof ProtocolError) return { code: thrown.code, message: thrown.message, details: [] };
  const error = CarillonError.from(thrown);
  return {
    code: codes[error.status],
    message: shorten(error.message, 1_000),
    details: detailsOf(error),
  };
}

function detailsOf(error: CarillonError): StatusDetail[] {
  const info = { reason: error.reason, domain: ERROR_DOMAIN, metadata: { ...error.metadata } };
  const details: StatusDetail[] = [{ desc: ErrorInfoSchema, value: create(ErrorInfoSchema, info) }];
  if (error.violations.length > 0) {
    const fieldViolations = error.violations.slice(0, MAX_VIOLATIONS).map(({ field, description }) => ({
      field: shorten(field, 128),
      description: shorten(description, 256),
    }));
    details.push({ desc: BadRequestSchema, value: create(BadRequestSchema, { fieldViolations }) });
  }
  if (error.retryAfterMs !== undefined) {
    const retryDelay = durationFromMs(error.retryAfterMs);
    details.push({ desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay }) });
  }
  return details;
}

/** Texts may quote the caller, who may send a lone surrogate: that cannot be percent-encoded into `grpc-message`. */
function shorten(text: string, length: number): string {
  const short = text.length <= length ? text : `${text.slice(0, length - 1)}…`;
  return short.toWellFormed();
}
