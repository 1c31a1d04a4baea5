import { createHash } from 'node:crypto';

import type { Collection } from 'mongodb';

import { CarillonError } from '../../errors.ts';
import type { KeyRecord } from '../storage.ts';
import { Batcher } from './batcher.ts';
import type { Outcome } from './batcher.ts';
import type { KeyDocument } from './documents.ts';
import { isDuplicateKey } from './failure.ts';
import type { Reach } from './failure.ts';

const MAX_KEYS = 500;
const BYTES_OF_A_KEY = 1_000;
/** Rounds in which expired records may be replaced; each lost race means that another caller won that key. */
const MAX_ROUNDS = 5;

/** Idempotency keys: who inserts the document of a key first has it, until it expires. */
export class Keys {
  readonly #collection: Collection<KeyDocument>;
  readonly #reach: Reach;
  readonly #batcher: Batcher<KeyRecord, KeyRecord>;

  constructor(collection: Collection<KeyDocument>, reach: Reach, maxWaitMs: number) {
    this.#collection = collection;
    this.#reach = reach;
    this.#batcher = new Batcher({
      run: (records) => this.#run(records),
      maxItems: MAX_KEYS,
      maxBytes: MAX_KEYS * BYTES_OF_A_KEY,
      maxWaitMs,
    });
  }

  reserve(records: readonly KeyRecord[]): Promise<KeyRecord[]> {
    return this.#batcher.add(records, () => BYTES_OF_A_KEY);
  }

  async find(tenant: string, key: string, now: number): Promise<KeyRecord | undefined> {
    const id = idOf({ tenant, key });
    const record = (await this.#reach(() => this.#read([id]))).get(id);
    return record && record.expiresAt > now ? record : undefined;
  }

  idle(): Promise<void> {
    return this.#batcher.idle();
  }

  async #run(records: readonly KeyRecord[]): Promise<Outcome<KeyRecord>[]> {
    // Of several with one key in a batch, the first asks for all.
    const first = new Map<string, KeyRecord>();
    const ids = records.map(idOf);
    ids.forEach((id, index) => {
      const record = records[index];
      if (record && !first.has(id)) first.set(id, record);
    });
    const inForce = await this.#reach(() => this.#resolve(first));
    return ids.map((id) => {
      const value = inForce.get(id);
      return value ? { value } : { error: lostEveryRound() };
    });
  }

  async #resolve(wanted: ReadonlyMap<string, KeyRecord>): Promise<Map<string, KeyRecord>> {
    const inForce = new Map<string, KeyRecord>();
    let open = [...wanted];
    for (let round = 0; round < MAX_ROUNDS && open.length > 0; round += 1) {
      const inserted = await this.#insertMissing(open);
      for (const [id, record] of open) if (inserted.has(id)) inForce.set(id, record);
      open = open.filter(([id]) => !inForce.has(id));
      if (open.length === 0) break;
      const stored = await this.#read(open.map(([id]) => id));
      for (const [id, record] of open) {
        const found = stored.get(id);
        if (found && found.expiresAt > record.createdAt) inForce.set(id, found);
        else if (found && (await this.#replace(id, found, record))) inForce.set(id, record);
      }
      open = open.filter(([id]) => !inForce.has(id));
    }
    return inForce;
  }

  /** Answers the ids that were inserted by this very call. */
  async #insertMissing(wanted: readonly (readonly [string, KeyRecord])[]): Promise<Set<string>> {
    const operations = wanted.map(([id, record]) => ({
      updateOne: { filter: { _id: id }, update: { $setOnInsert: fieldsOf(record) }, upsert: true },
    }));
    try {
      const { upsertedIds } = await this.#collection.bulkWrite(operations, { ordered: false });
      return new Set(Object.keys(upsertedIds).flatMap((index) => wanted[Number(index)]?.[0] ?? []));
    } catch (thrown) {
      // Two upserts of one key at the same moment: the loser is told so, and everyone reads what is there.
      if (!isDuplicateKey(thrown)) throw thrown;
      return new Set();
    }
  }

  async #read(ids: readonly string[]): Promise<Map<string, KeyRecord>> {
    const documents = await this.#collection.find({ _id: { $in: [...ids] } }).toArray();
    return new Map(documents.map(({ _id, record, expires_at }) => [_id, { ...record, expiresAt: expires_at }]));
  }

  /** Puts the new record in the place of an expired one; false when another caller did so first. */
  async #replace(id: string, expired: KeyRecord, record: KeyRecord): Promise<boolean> {
    const filter = { _id: id, expires_at: expired.expiresAt, 'record.groupId': expired.groupId };
    const { matchedCount } = await this.#collection.updateOne(filter, { $set: fieldsOf(record) });
    return matchedCount === 1;
  }
}

function fieldsOf({ expiresAt, ...record }: KeyRecord): Omit<KeyDocument, '_id'> {
  return { record, expires_at: expiresAt };
}

/** Length first, so that no two pairs of tenant and key make the same text. */
function idOf({ tenant, key }: Pick<KeyRecord, 'tenant' | 'key'>): string {
  return createHash('sha256').update(`${tenant.length}:${tenant}:${key}`).digest('base64url');
}

function lostEveryRound(): CarillonError {
  return new CarillonError('STORE_UNAVAILABLE', 'the idempotency key is being written by many callers at once');
}
