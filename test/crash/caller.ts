/** A caller as the contract wants it: after UNAVAILABLE, or a connection that broke, it repeats the call with the same key. */
import { setTimeout as delay } from 'node:timers/promises';
import { Code, ConnectError } from '@connectrpc/connect';
import type { CarillonClient, Slot } from './service-process.ts';

/** A repeat waits so long, real milliseconds. */
const REPEAT_AFTER = 25;
const CALL_DEADLINE = 15_000;
const GIVE_UP_AFTER = 120_000;

/** After these nobody knows whether the call took place, or it may succeed later. */
const REPEATABLE: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled,
  Code.Aborted,
  Code.ResourceExhausted,
]);

export interface CallOptions {
  readonly signal: AbortSignal;
}

/** Calls until there is an answer. @throws ConnectError for an answer that no repeat changes */
export async function insist<T>(
  slots: readonly Slot[],
  call: (client: CarillonClient, options: CallOptions) => Promise<T>,
): Promise<T> {
  const end = Date.now() + GIVE_UP_AFTER;
  for (;;) {
    const process = await Promise.race(slots.map((slot) => slot.up()));
    try {
      return await call(process.client, { signal: AbortSignal.timeout(CALL_DEADLINE) });
    } catch (thrown) {
      const { code } = ConnectError.from(thrown);
      // A connection that breaks in the middle of an answer has many codes.
      if (!REPEATABLE.has(code) && !(await process.isEnding())) throw thrown;
      if (Date.now() > end) throw thrown;
      await delay(REPEAT_AFTER);
    }
  }
}
