/** How old a callback may be. */
import { MINUTE } from '../domain/clock.ts';

/** Milliseconds by which a service's clock and ours may differ. */
export const CLOCK_SKEW = 5 * MINUTE;

/** @param age now less the time that was signed, milliseconds; not a number where there is none */
export function isFresh(age: number, maxAge: number): boolean {
  return age >= -CLOCK_SKEW && age < maxAge;
}
