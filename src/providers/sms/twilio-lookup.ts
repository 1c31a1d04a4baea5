import type { HttpApi } from '../http-api.ts';
import { field, textOf } from '../json.ts';
import type { PhoneFacts } from '../provider.ts';
import { factsOf, lookupFailed } from './phone-facts.ts';

interface Lookup {
  readonly baseUrl: string;
  readonly authorization: string;
  /** E.164. */
  readonly phone: string;
}

/** Types of lines with another name here; one that is not known has none (Lookup v2, line type intelligence). */
const TYPES: ReadonlyMap<string, PhoneFacts['type']> = new Map([
  ['mobile', 'mobile'],
  ['landline', 'landline'],
  ['fixedVoip', 'voip'],
  ['nonFixedVoip', 'voip'],
  ['unknown', undefined],
]);

/** @throws CarillonError LOOKUP_FAILED */
export async function lookUpPhone(api: HttpApi, lookup: Lookup, signal: AbortSignal): Promise<PhoneFacts> {
  const base = lookup.baseUrl.replace(/\/$/, '');
  const path = new URL(`${base}/v2/PhoneNumbers/${encodeURIComponent(lookup.phone)}?Fields=line_type_intelligence`);
  const answer = await api.call({ method: 'GET', path, headers: { authorization: lookup.authorization } }, signal);
  if (answer.kind === 'unanswered') throw lookupFailed('twilio', answer.result);
  const { status, json } = answer;
  const code = textOf(json, 'code');
  // Not a number at all. Without Twilio's own code a wrong base URL speaks.
  if (status === 404 && code === '20404') return { valid: false };
  if (status !== 200) throw lookupFailed('twilio', api.outcomeOf(answer, code, textOf(json, 'message')));
  const valid = field(json, 'valid');
  if (typeof valid !== 'boolean') throw lookupFailed('twilio', api.unreadable(answer));
  if (!valid) return { valid: false };
  return factsOf(TYPES, {
    type: textOf(json, 'line_type_intelligence', 'type'),
    country: textOf(json, 'country_code'),
    carrier: textOf(json, 'line_type_intelligence', 'carrier_name'),
  });
}
