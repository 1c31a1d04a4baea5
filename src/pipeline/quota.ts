/**
 * Messages per UTC day over all processes: one number per quota in the store, moved by compare-and-set. A process takes a
 * few at a time; those that it has not used when the day ends, or when it stops, are lost to that day.
 */
import type { Clock } from '../domain/clock.ts';
import { DAY, SECOND } from '../domain/clock.ts';
import type { Events } from '../events.ts';
import type { Storage } from '../storage/storage.ts';

type QuotaEvents = Pick<Events, 'quotaUsed'>;
type QuotaStore = Pick<Storage, 'readLimit' | 'swapLimit'>;

/** Day and count share one number, so that no document is left over from each day; a count stays below this. */
const DAY_FACTOR = 2 ** 31;
/** Of what is left, the part that a process takes at a time. */
const PART = 100;
const MAX_LEASE = 100;
/** Lost races with other processes before the caller is asked to come back. */
const MAX_RACES = 20;

interface Leased {
  tokens: number;
  readonly day: number;
}

export class Quota {
  readonly #storage: QuotaStore;
  readonly #clock: Clock;
  readonly #events: QuotaEvents;
  readonly #leased = new Map<string, Leased>();
  readonly #refills = new Map<string, Promise<number | undefined>>();
  /** When the day ends for those that have nothing left: until then the store need not be asked. */
  readonly #usedUp = new Map<string, number>();

  constructor(storage: QuotaStore, clock: Clock, events: QuotaEvents) {
    this.#storage = storage;
    this.#clock = clock;
    this.#events = events;
  }

  /** Takes one of `perDay`. @returns undefined when it was taken, else the earliest time at which a new try can succeed */
  async take(name: string, perDay: number): Promise<number | undefined> {
    const end = this.#usedUp.get(name) ?? 0;
    if (this.#clock.now() < end) return end;
    for (;;) {
      const leased = this.#leased.get(name);
      if (leased && leased.tokens > 0 && leased.day === Math.floor(this.#clock.now() / DAY)) {
        leased.tokens -= 1;
        return undefined;
      }
      const refill = this.#refills.get(name) ?? this.#startRefill(name, perDay);
      const retryAt = await refill;
      if (retryAt !== undefined) return retryAt;
    }
  }

  #startRefill(name: string, perDay: number): Promise<number | undefined> {
    const refill = this.#refill(name, perDay).finally(() => this.#refills.delete(name));
    this.#refills.set(name, refill);
    return refill;
  }

  #end(name: string, until: number): number {
    this.#usedUp.set(name, until);
    this.#events.quotaUsed(name, until);
    return until;
  }

  async #refill(name: string, perDay: number): Promise<number | undefined> {
    const key = `quota:${name}`;
    for (let race = 0; race < MAX_RACES; race++) {
      const stored = await this.#storage.readLimit(key);
      const now = this.#clock.now();
      const day = Math.floor(now / DAY);
      const storedDay = Math.floor(stored / DAY_FACTOR);
      // By the clock of another process the day has ended, and with it for all. One that is days ahead is simply wrong.
      if (storedDay === day + 1) return storedDay * DAY;
      const used = storedDay === day ? stored % DAY_FACTOR : 0;
      const left = perDay - used;
      if (left <= 0) return this.#end(name, (day + 1) * DAY);
      const tokens = Math.min(MAX_LEASE, Math.max(1, Math.floor(left / PART)));
      if (await this.#storage.swapLimit(key, stored, day * DAY_FACTOR + used + tokens)) {
        this.#leased.set(name, { tokens, day });
        return undefined;
      }
    }
    return this.#clock.now() + SECOND;
  }
}
