/**
 * Rate limits over all processes: GCRA (the generic cell rate algorithm), one number per limit in the store, moved by
 * compare-and-set. A process takes up to one second of tokens at a time and uses them within that second.
 *
 * What holds: in any 60 s at most rate + burst messages, or rate + those of one notification where these are more. Tokens
 * are used up to one second after they were taken, so they are given out at the rate per 61 s: any 61 s hold at most
 * rate + burst, and so do any 60 s of use.
 */
import type { Clock } from '../domain/clock.ts';
import { MINUTE, SECOND } from '../domain/clock.ts';
import type { Storage } from '../storage/storage.ts';

export interface RateLimit {
  readonly perMinute: number;
  /** Messages that may go at once after a quiet time, from 1. */
  readonly burst: number;
}

type LimitStore = Pick<Storage, 'readLimit' | 'swapLimit'>;

interface Leased {
  tokens: number;
  until: number;
}

/** How long leased tokens may be used. */
const LEASE = SECOND;
const WINDOW = MINUTE + LEASE;
/** Milliseconds that sums of fractions may be off, so that a full burst is not one short. */
const ROUNDING = 1e-6;
/** Lost races with other processes before the caller is asked to come back. */
const MAX_RACES = 20;

/** What a request for tokens came to: granted so many, or none before a time. */
export type Grant = { readonly granted: number; readonly next: number } | { readonly retryAt: number };

/**
 * GCRA: from the theoretical arrival time `tat` grants up to `want` tokens, but not fewer than `need`. Of more than the burst
 * the burst must be there, and all are charged: the next ones wait for the rest.
 */
export function grant(limit: RateLimit, tat: number, now: number, need: number, want: number): Grant {
  const interval = WINDOW / limit.perMinute;
  const ahead = Math.max(0, tat - now);
  const required = Math.min(need, limit.burst);
  const room = Math.floor((limit.burst * interval - ahead + ROUNDING) / interval);
  if (room < required) return { retryAt: now + Math.ceil(ahead - (limit.burst - required) * interval) };
  const granted = Math.max(need, Math.min(room, want));
  return { granted, next: now + Math.ceil(ahead + granted * interval) };
}

export class Limiter {
  readonly #limits: ReadonlyMap<string, RateLimit>;
  readonly #leased = new Map<string, Leased>();
  readonly #lines = new Map<string, { readonly retryAt: number; length: number }>();
  readonly #refills = new Map<string, Promise<number | undefined>>();
  readonly #storage: LimitStore;
  readonly #clock: Clock;

  constructor(limits: ReadonlyMap<string, RateLimit>, storage: LimitStore, clock: Clock) {
    this.#limits = limits;
    this.#storage = storage;
    this.#clock = clock;
  }

  /**
   * Takes tokens: one for each target of a notification, which leave together, also where they are more than the burst.
   * @returns undefined when they were taken, else the earliest time at which a new try can succeed
   */
  async take(name: string, need = 1): Promise<number | undefined> {
    const limit = this.#limits.get(name);
    if (!limit) return undefined;
    for (;;) {
      const leased = this.#leased.get(name);
      if (leased && leased.tokens >= need && this.#clock.now() < leased.until) {
        leased.tokens -= need;
        return undefined;
      }
      const refill = this.#refills.get(name) ?? this.#startRefill(name, limit, need);
      const retryAt = await refill;
      if (retryAt !== undefined) return retryAt;
    }
  }

  /**
   * When one of those that were refused until `retryAt` is to come back: each a token's time after the one before, so that
   * they do not all come for the same token again.
   */
  lineUp(name: string, retryAt: number): number {
    const limit = this.#limits.get(name);
    const line = this.#lines.get(name);
    if (!limit || line?.retryAt !== retryAt) {
      this.#lines.set(name, { retryAt, length: 1 });
      return retryAt;
    }
    return retryAt + Math.ceil((line.length++ * WINDOW) / limit.perMinute);
  }

  #startRefill(name: string, limit: RateLimit, need: number): Promise<number | undefined> {
    const refill = this.#refill(name, limit, need).finally(() => this.#refills.delete(name));
    this.#refills.set(name, refill);
    return refill;
  }

  async #refill(name: string, limit: RateLimit, need: number): Promise<number | undefined> {
    const perSecond = Math.ceil(limit.perMinute / 60);
    for (let race = 0; race < MAX_RACES; race++) {
      const tat = await this.#storage.readLimit(name);
      const now = this.#clock.now();
      const answer = grant(limit, tat, now, need, perSecond);
      if ('retryAt' in answer) return answer.retryAt;
      if (await this.#storage.swapLimit(name, tat, answer.next)) {
        this.#leased.set(name, { tokens: answer.granted, until: now + LEASE });
        return undefined;
      }
    }
    return this.#clock.now() + LEASE;
  }
}
