/** How old a callback may be, and when what it tells of happened. */
import { DAY, MINUTE } from '../domain/clock.ts';

/** Milliseconds by which a service's clock and ours may differ. */
export const CLOCK_SKEW = 5 * MINUTE;
const OLDEST = 366 * DAY;

/** @param age now less the time that was signed, milliseconds; not a number where there is none */
export function isFresh(age: number, maxAge: number): boolean {
  return age >= -CLOCK_SKEW && age < maxAge;
}

/**
 * Whole milliseconds, as no other time can be shown. One that cannot be, because it lies a day ahead or years back, as in
 * another unit, is now.
 * @param told milliseconds, as the service says
 */
export function happenedAt(told: number | undefined, now: number): number {
  return told !== undefined && told > now - OLDEST && told <= now + DAY ? Math.round(told) : now;
}
