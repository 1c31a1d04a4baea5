import { watch } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** An editor's save is several events; they are taken together. */
const SETTLE_MS = 100;

/** Calls `onChange` after something in the folder changed, never twice at the same time, until it is disposed of. */
export function watchFolder(
  folder: string,
  onChange: () => Promise<void>,
  onError: (thrown: unknown) => void,
): AsyncDisposable {
  const stop = new AbortController();
  let changed = false;
  let running: Promise<void> | undefined;

  const run = async (): Promise<void> => {
    while (changed && !stop.signal.aborted) {
      try {
        await delay(SETTLE_MS, undefined, { signal: stop.signal });
        changed = false;
        await onChange();
      } catch (thrown) {
        if (!stop.signal.aborted) onError(thrown);
      }
    }
    running = undefined;
  };
  const watcher = watch(folder, { recursive: true }, () => {
    changed = true;
    running ??= run();
  });
  watcher.on('error', onError);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      watcher.close();
      await running;
    },
  };
}
