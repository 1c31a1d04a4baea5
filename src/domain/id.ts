import { randomUUID, randomUUIDv7 } from 'node:crypto';
import { v5 } from 'uuid';

/** The source of ids and of chance, so that tests decide them. */
export interface Random {
  /** A UUIDv7 (RFC 9562) for the given time: ids sort by the time they were made. */
  id(now: number): string;
  /** A UUIDv4 that names a lease. */
  lease(): string;
  /** Uniform in [0, 1). */
  fraction(): number;
}

export const systemRandom: Random = {
  id: (now) => timestampOf(now) + randomUUIDv7().slice(TIMESTAMP_LENGTH),
  lease: () => randomUUID(),
  fraction: () => Math.random(),
};

/** The first 48 bits of a UUIDv7 are the time, written with one dash. */
const TIMESTAMP_LENGTH = 13;

function timestampOf(at: number): string {
  const hex = Math.max(0, Math.floor(at)).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}`;
}

const KEY_NAMESPACE = '0b7b4a3e-6c0f-5f0e-9c39-6d1f6c1f6f5a';

/** The key a provider is given so that it can drop a repeat: the same for every try of a target within a run. */
export function providerKey(id: string, run: number, target: number): string {
  return v5(`${id}:${run}:${target}`, KEY_NAMESPACE);
}

/** The lowest UUIDv7 of a millisecond, to turn a time range into a range of ids. */
export function firstIdAt(at: number): string {
  return `${timestampOf(at)}-7000-8000-000000000000`;
}
