import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits that only guard against a hang end by then: long enough for a machine that is many times slower than usual, and
 * shorter than the second chances of the service, from 30 s on, which would make good what a test is to find.
 */
export const HANG_MS = 25_000;

/** Asks again and again until the answer is not undefined or false; fails when that takes longer than the deadline. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  deadlineMs = HANG_MS,
): Promise<Exclude<T, undefined | false>> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const answer = await ask();
    // The check right before is what the type says; the compiler does not narrow a type parameter by it.
    if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await delay(20);
  }
}
