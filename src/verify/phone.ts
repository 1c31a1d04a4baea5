/** Whether a phone number can exist: by the numbering plans, and by what a provider knows of it. */
import type { CountryCode, NumberType, PhoneNumber } from 'libphonenumber-js/max';
import { SECOND } from '../domain/clock.ts';
import { CarillonError, invalidField } from '../errors.ts';
import type { PhoneFacts, Provider, Route } from '../providers/provider.ts';

export const PHONE_TYPES = ['mobile', 'landline', 'mobile_or_landline', 'voip', 'other'] as const;
/** `mobile_or_landline`: the numbering plan does not tell. */
export type PhoneType = (typeof PHONE_TYPES)[number];

export interface PhoneReport extends Omit<PhoneFacts, 'type'> {
  /** In E.164 form; not given when it is no number. */
  readonly phone?: string;
  readonly type?: PhoneType;
  /** The provider that was asked. */
  readonly provider?: string;
}

export interface PhoneQuestion {
  /** In E.164 form, or as it is dialled within `country`. */
  readonly phone: string;
  /** ISO 3166-1 alpha-2. */
  readonly country?: string;
  /** Also asks the first provider of the route that can look numbers up. */
  readonly lookUp: boolean;
}

export interface LookUpOptions {
  /** Of text messages. */
  readonly route: readonly Route[];
  /** For the look-up, milliseconds. Default: 10 s. */
  readonly limit?: number;
}

const DEFAULT_LIMIT = 10 * SECOND;

/**
 * What is known of a number. What a provider says stands above the plans, which lag behind the numbers in use.
 * @throws CarillonError INVALID_FIELD for a country without a numbering plan, LOOKUP_FAILED; the signal's reason once it is aborted
 */
export async function verifyPhone(
  { phone, country, lookUp }: PhoneQuestion,
  options: LookUpOptions,
  signal: AbortSignal,
): Promise<PhoneReport> {
  const number = await parse(phone, country);
  if (!number?.isPossible()) return { valid: false };
  const planned = byPlan(number);
  if (!lookUp) return planned;
  const provider = options.route.map((route) => route.provider).find(canLookUp);
  if (!provider) throw new CarillonError('LOOKUP_FAILED', 'no provider of the SMS route can look numbers up');
  // Nobody is left to be told what would be paid for.
  signal.throwIfAborted();
  const ended = AbortSignal.any([signal, AbortSignal.timeout(options.limit ?? DEFAULT_LIMIT)]);
  const facts = await provider.lookUpPhone(number.number, ended);
  return { ...planned, ...facts, provider: provider.name };
}

/** Types need the largest metadata, 150 kB, which a service that verifies no number never loads. */
async function parse(phone: string, country: string | undefined): Promise<PhoneNumber | undefined> {
  const { isSupportedCountry, parsePhoneNumberFromString } = await import('libphonenumber-js/max');
  if (country !== undefined && !isSupportedCountry(country)) {
    throw invalidField('country', 'is no country with a numbering plan');
  }
  const defaultCountry: { defaultCountry?: CountryCode } = country === undefined ? {} : { defaultCountry: country };
  return parsePhoneNumberFromString(phone, { ...defaultCountry, extract: false });
}

const TYPES: Readonly<Partial<Record<NonNullable<NumberType>, PhoneType>>> = {
  MOBILE: 'mobile',
  FIXED_LINE: 'landline',
  FIXED_LINE_OR_MOBILE: 'mobile_or_landline',
  VOIP: 'voip',
};

function byPlan(number: PhoneNumber): PhoneReport {
  const kind = number.getType();
  return {
    valid: number.isValid(),
    phone: number.number,
    ...(kind === undefined ? {} : { type: TYPES[kind] ?? 'other' }),
    ...(number.country === undefined ? {} : { country: number.country }),
  };
}

type LookingUp = Provider & Required<Pick<Provider, 'lookUpPhone'>>;

const canLookUp = (provider: Provider): provider is LookingUp => provider.lookUpPhone !== undefined;
