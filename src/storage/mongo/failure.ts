import {
  MongoBulkWriteError,
  MongoClientClosedError,
  MongoError,
  MongoNetworkError,
  MongoNotConnectedError,
  MongoServerError,
  MongoSystemError,
  MongoTopologyClosedError,
  MongoWriteConcernError,
} from 'mongodb';

import { CarillonError } from '../../errors.ts';

/** E11000: the `_id` is there already. No other index here is unique. */
export const DUPLICATE_KEY = 11_000;

/**
 * Codes of a server that cannot do it now, from the driver specification of retryable errors, and the time limits:
 * the same call may succeed later.
 */
const PASSING: ReadonlySet<number> = new Set([
  6, 7, 50, 64, 89, 91, 134, 189, 262, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436,
]);

/** The driver does not export these two classes. */
const POOL_ERRORS: ReadonlySet<string> = new Set(['MongoWaitQueueTimeoutError', 'MongoPoolClosedError']);

/** Runs one operation of the driver under the port's rules of failure. */
export type Reach = <T>(operation: () => Promise<T>) => Promise<T>;

/**
 * An operation that is not done after `timeoutMs` is STORE_UNAVAILABLE. The driver has time-outs for its stages only
 * (choice of a server, connection, socket), which add up, and more so where it tries again; `timeoutMS` does nothing
 * from 7.8 on. The operation itself ends by these time-outs, unattended: its effect is unknown.
 */
export function reachWithin(timeoutMs: number): Reach {
  return async (operation) => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new CarillonError('STORE_UNAVAILABLE', 'the store did not answer in time');
      timer = setTimeout(() => reject(error), timeoutMs);
    });
    try {
      return await Promise.race([operation(), late]);
    } catch (thrown) {
      throw storeError(thrown);
    } finally {
      clearTimeout(timer);
    }
  };
}

/** Some operations of the bulk failed, each with a code of its own, and the others took place. */
export function isPartial(thrown: unknown): thrown is MongoBulkWriteError {
  if (!(thrown instanceof MongoBulkWriteError)) return false;
  return thrown.result.getWriteErrorCount() > 0 && !thrown.result.getWriteConcernError();
}

/** The failure of one operation of a bulk. */
export function writeError(code: number, cause: MongoBulkWriteError): CarillonError {
  return PASSING.has(code) ? unavailable(cause) : CarillonError.from(cause);
}

/** Turns what the driver threw into a CarillonError: STORE_UNAVAILABLE where the store may be back later. */
function storeError(thrown: unknown): CarillonError {
  return thrown instanceof CarillonError || !isPassing(thrown) ? CarillonError.from(thrown) : unavailable(thrown);
}

function unavailable(cause: unknown): CarillonError {
  return new CarillonError('STORE_UNAVAILABLE', 'the store cannot be reached', { cause });
}

export function isDuplicateKey(thrown: unknown): boolean {
  return thrown instanceof MongoServerError && thrown.code === DUPLICATE_KEY;
}

function isPassing(thrown: unknown): boolean {
  if (thrown instanceof MongoBulkWriteError) return isPassingBulk(thrown);
  if (thrown instanceof MongoServerError) return isPassingAnswer(thrown);
  if (thrown instanceof MongoError) {
    return (
      thrown instanceof MongoNetworkError ||
      thrown instanceof MongoSystemError ||
      thrown instanceof MongoTopologyClosedError ||
      thrown instanceof MongoNotConnectedError ||
      thrown instanceof MongoClientClosedError ||
      POOL_ERRORS.has(thrown.name)
    );
  }
  // Some failures of a socket come through as Node's own errors.
  return thrown instanceof Error && 'syscall' in thrown;
}

/** A bulk that failed as a whole wraps what happened and keeps neither its class nor its cause: it has no code then. */
function isPassingBulk(error: MongoBulkWriteError): boolean {
  if (error.result.getWriteConcernError()) return true;
  return error.result.getWriteErrorCount() === 0 && (typeof error.code !== 'number' || isPassingAnswer(error));
}

function isPassingAnswer(error: MongoServerError): boolean {
  if (error instanceof MongoWriteConcernError || error.hasErrorLabel('RetryableWriteError')) return true;
  return typeof error.code === 'number' && PASSING.has(error.code);
}
