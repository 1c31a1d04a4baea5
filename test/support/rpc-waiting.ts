import { setTimeout as delay } from 'node:timers/promises';

const SOON_MS = 5_000;

/** What the promise resolves to; fails where that takes too long. */
export async function soon<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(new Error(`nothing happened within ${SOON_MS} ms`));
  }, SOON_MS);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a handler does that ignores everything. */
export const forever = (): Promise<never> => new Promise(() => {});

/** Rejects with the signal's reason once it is aborted, as a well-behaved handler does. */
export const untilAborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason as Error);
    });
  });

/** Resolves once the value has stood still for a while: whoever raised it now waits for someone. */
export async function untilSteady(value: () => number): Promise<void> {
  for (let last = -1, same = 0; same < 5;) {
    await delay(20);
    same = value() === last ? same + 1 : 0;
    last = value();
  }
}
