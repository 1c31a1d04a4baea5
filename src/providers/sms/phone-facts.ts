/** What every look-up of a number answers alike. */
import { CarillonError } from '../../errors.ts';
import type { PhoneFacts, SendResult } from '../provider.ts';

interface Line {
  /** The service's own word for the kind of line. */
  readonly type: string | undefined;
  readonly country: string | undefined;
  readonly carrier: string | undefined;
}

/** @param types kinds of lines with another name here; a line whose kind is not known has none */
export function factsOf(types: ReadonlyMap<string, PhoneFacts['type']>, line: Line): PhoneFacts {
  const word = line.type ?? 'unknown';
  const type = types.has(word) ? types.get(word) : 'other';
  const { country, carrier } = line;
  return {
    valid: true,
    ...(type === undefined ? {} : { type }),
    ...(country === undefined ? {} : { country }),
    ...(carrier === undefined ? {} : { carrier }),
  };
}

export function lookupFailed(provider: string, result: SendResult): CarillonError {
  const { outcome, code = '', detail = '' } = result;
  const wait =
    outcome === 'rate_limited' && result.retryAfterMs !== undefined ? { retryAfterMs: result.retryAfterMs } : {};
  const cause = new Error(`${outcome} ${code} ${detail}`);
  return new CarillonError('LOOKUP_FAILED', `${provider} did not look the number up`, { ...wait, cause });
}
