import { setTimeout as delay } from 'node:timers/promises';

/** Asks again and again until the answer is not undefined or false; fails when that takes longer than the deadline. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  deadlineMs = 8_000,
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
