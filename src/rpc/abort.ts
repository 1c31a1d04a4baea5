/** Waiting that ends when a signal is aborted, even where the other side ignores it. */

/** A timer set for longer, about 25 days, would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Settles as `work` does, or rejects with the signal's reason once it is aborted; what `work` ends with after that is an
 * echo of the abort. Leaves no listener behind, so a stream may call it for every message.
 */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', onAbort);
    });
  });
}

/**
 * The items of `source`; throws the signal's reason once it is aborted. A consumer that stops early, and an abort, end
 * `source` too, without waiting for it: a source that hangs must not keep the call.
 *
 * @param onLateError told what `source` threw while it was being ended
 */
export async function* untilAborted<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
  onLateError: (thrown: unknown) => void,
): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let ended = false;
  // One listener for the whole stream: it rejects whichever wait is under way.
  let interrupt = (_reason: unknown): void => {};
  const onAbort = (): void => interrupt(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      const item = await new Promise<IteratorResult<T, unknown>>((resolve, reject) => {
        interrupt = reject;
        if (signal.aborted) onAbort();
        else iterator.next().then(resolve, reject);
      });
      if (item.done === true) {
        ended = true;
        return;
      }
      yield item.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    if (!ended) iterator.return?.().catch(onLateError);
  }
}
