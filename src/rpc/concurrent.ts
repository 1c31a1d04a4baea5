/**
 * Maps a stream with up to `limit` items under way and yields results as they come, in any order. Reads no further while
 * the limit is reached or results wait to be taken, so a slow reader slows the writer. Ends with the first error of either.
 */
export async function* mapConcurrently<I, O>(
  source: AsyncIterable<I>,
  limit: number,
  run: (item: I) => Promise<O>,
): AsyncGenerator<O> {
  const ready: O[] = [];
  let underWay = 0;
  let ended = false;
  let exhausted = false;
  let failure: { readonly thrown: unknown } | undefined;
  let changed = Promise.withResolvers<void>();
  const signal = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const fail = (thrown: unknown): void => {
    failure ??= { thrown };
    signal();
  };
  const iterator = source[Symbol.asyncIterator]();
  const start = async (item: I): Promise<void> => {
    try {
      ready.push(await run(item));
    } catch (thrown) {
      fail(thrown);
    }
    underWay--;
    signal();
  };
  const read = async (): Promise<void> => {
    while (!ended && !failure) {
      if (underWay + ready.length >= limit) {
        await changed.promise;
        continue;
      }
      const next = await iterator.next();
      if (next.done) {
        exhausted = true;
        break;
      }
      underWay++;
      void start(next.value);
    }
    ended = true;
    signal();
  };
  read().catch(fail);
  try {
    for (;;) {
      if (failure) throw failure.thrown;
      const item = ready.shift();
      if (item !== undefined) {
        yield item;
        signal();
      } else if (ended && underWay === 0) {
        return;
      } else {
        await changed.promise;
      }
    }
  } finally {
    ended = true;
    signal();
    // Lets the source go as a loop that breaks would. Not awaited: it may first have to finish a read that is under way.
    if (!exhausted) iterator.return?.().catch(fail);
  }
}
