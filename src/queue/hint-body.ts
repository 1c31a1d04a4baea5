import type { Lane } from '../domain/notification.ts';
import { HINT_SCHEMA } from './queue.ts';
import type { Hint } from './queue.ts';

/** A hint as it travels; the lane is in the subject. */
export function hintBody({ id, version, enqueuedAt }: Hint): string {
  return JSON.stringify({ schema: HINT_SCHEMA, id, version, enqueuedAt });
}

/** Undefined for what `hintBody` of this version cannot have written. */
export function parseHint(body: string, lane: Lane): Hint | undefined {
  const parsed = parse(body);
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { schema, id, version, enqueuedAt } = parsed as Partial<Record<string, unknown>>;
  if (schema !== HINT_SCHEMA || typeof id !== 'string') return undefined;
  if (typeof version !== 'number' || typeof enqueuedAt !== 'number') return undefined;
  return { id, version, lane, enqueuedAt };
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}
