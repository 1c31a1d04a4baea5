/**
 * Calls of providers that always end: a provider that throws or ignores its signal is a fault of the program, and what it
 * did to the message is unknown.
 */
import type { Clock } from '../domain/clock.ts';
import { SECOND } from '../domain/clock.ts';
import type { Call, Message, Provider, SendResult } from '../providers/provider.ts';

/** How long an aborted call may take to say what it knows. */
export const ABORT_GRACE = 5 * SECOND;

const ANSWERED = 'answered';

/** The answer, or `unknown` some seconds after the abort; what comes later still goes to `onLate`. */
export async function callProvider(
  provider: Provider,
  message: Message,
  call: Call,
  clock: Clock,
  onLate: (result: Promise<SendResult>) => void,
): Promise<SendResult> {
  const answered = new AbortController();
  const answer = answerOf(provider, message, call);
  const first = await Promise.race([answer, overdue(call.signal, answered.signal, clock)]);
  // With a reason of its own, as the default one is an exception with a stack, made anew for every call.
  answered.abort(ANSWERED);
  if (first) return first;
  onLate(answer);
  return { outcome: 'unknown', code: 'no_answer', detail: 'the provider did not end when it was aborted' };
}

async function answerOf(provider: Provider, message: Message, call: Call): Promise<SendResult> {
  try {
    return await provider.send(message, call);
  } catch (thrown) {
    const name = thrown instanceof Error ? thrown.name : typeof thrown;
    return { outcome: 'unknown', code: 'provider_threw', detail: `the provider threw ${name}` };
  }
}

/** Resolves with nothing ABORT_GRACE after `signal` was aborted, or once `answered` is. */
async function overdue(signal: AbortSignal, answered: AbortSignal, clock: Clock): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  signal.addEventListener('abort', () => resolve(), { once: true, signal: answered });
  answered.addEventListener('abort', () => resolve(), { once: true });
  await promise;
  if (answered.aborted) return undefined;
  await clock.sleep(ABORT_GRACE, answered);
  return undefined;
}
