import type { HttpApi } from '../http-api.ts';
import { textOf } from '../json.ts';
import type { PhoneFacts } from '../provider.ts';
import { factsOf, lookupFailed } from './phone-facts.ts';

/** Kinds of networks in the words used here; one that is not known has none (Number Insight). */
const TYPES: ReadonlyMap<string, PhoneFacts['type']> = new Map([
  ['mobile', 'mobile'],
  ['landline', 'landline'],
  ['landline_premium', 'landline'],
  ['landline_tollfree', 'landline'],
  ['virtual', 'voip'],
  ['unknown', undefined],
]);

/** @param number without a plus sign @throws CarillonError LOOKUP_FAILED */
export async function lookUpPhone(
  api: HttpApi,
  authorization: string,
  number: string,
  signal: AbortSignal,
): Promise<PhoneFacts> {
  const path = `/ni/standard/json?${new URLSearchParams({ number }).toString()}`;
  const answer = await api.call({ method: 'GET', path, headers: { authorization } }, signal);
  if (answer.kind === 'unanswered') throw lookupFailed('vonage', answer.result);
  const { status, json } = answer;
  if (status !== 200) throw lookupFailed('vonage', api.outcomeOf(answer));
  // It answers its errors with HTTP 200 and a status of its own.
  switch (textOf(json, 'status')) {
    case '0':
      return factsOf(TYPES, {
        type: textOf(json, 'current_carrier', 'network_type'),
        country: textOf(json, 'country_code'),
        carrier: textOf(json, 'current_carrier', 'name'),
      });
    case '3':
      return { valid: false };
    case '1':
      throw lookupFailed('vonage', { outcome: 'rate_limited', ...api.told(1, textOf(json, 'status_message')) });
    default:
      throw lookupFailed('vonage', api.unreadable(answer));
  }
}
