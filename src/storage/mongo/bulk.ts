import type { AnyBulkWriteOperation, Collection, Document } from 'mongodb';

import type { CarillonError } from '../../errors.ts';
import type { Outcome } from './batcher.ts';
import { DUPLICATE_KEY, isPartial, writeError } from './failure.ts';
import type { Reach } from './failure.ts';

/** Per bulk; the server takes up to 100,000 operations and 48 MB, but the next bulk waits for this one. */
export const BULK_LIMITS = { maxItems: 500, maxBytes: 8 * 1024 * 1024 } as const;
/** Bytes counted for an operation that carries no text. */
export const SMALL_OPERATION = 100;

interface Failed {
  readonly code: number;
  readonly error: CarillonError;
}

interface BulkResult {
  readonly matched: number;
  /** By the index of the operation. */
  readonly errors: ReadonlyMap<number, Failed>;
}

/** Writes of single documents in one round trip, of which some may fail while the others take place. */
export class Bulk<D extends Document> {
  readonly #collection: Collection<D>;
  readonly #reach: Reach;

  constructor(collection: Collection<D>, reach: Reach) {
    this.#collection = collection;
    this.#reach = reach;
  }

  /** @throws Only for failures of the bulk as a whole; those of single operations are answered by their index. */
  run(operations: readonly AnyBulkWriteOperation<D>[]): Promise<BulkResult> {
    return this.#reach(async () => {
      try {
        const result = await this.#collection.bulkWrite([...operations], { ordered: false });
        return { matched: result.matchedCount, errors: new Map() };
      } catch (thrown) {
        if (!isPartial(thrown)) throw thrown;
        const errors = thrown.result.getWriteErrors().map(({ index, code }) => {
          return [index, { code, error: writeError(code, thrown) }] as const;
        });
        return { matched: thrown.matchedCount, errors: new Map(errors) };
      }
    });
  }

  /** An insert of a document that is there counts as done: it leaves that one as it is. */
  async runEach(operations: readonly AnyBulkWriteOperation<D>[]): Promise<Outcome<void>[]> {
    const { errors } = await this.run(operations);
    return operations.map((_, index) => {
      const failed = errors.get(index);
      return failed === undefined || failed.code === DUPLICATE_KEY ? { value: undefined } : { error: failed.error };
    });
  }
}
