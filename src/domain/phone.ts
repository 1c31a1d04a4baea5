/** The form of phone numbers. */
// The least metadata: a country's lengths tell what is possible, and its patterns what is valid, which is not asked here.
import { parsePhoneNumberFromString } from 'libphonenumber-js/min';

/**
 * What keeps a number from being sent to; undefined when nothing does. Whether it is in use is not asked: plans grow faster
 * than their lists, and numbers set aside for tests and films are sent to in sandboxes.
 * @param phone a plus sign and digits
 */
export function phoneFault(phone: string): string | undefined {
  const number = parsePhoneNumberFromString(phone);
  if (!number?.isPossible()) return 'has a length or country code that no phone number has';
  // With a trunk zero, as in +44 07…, it reaches the same phone under a second name, which no opt-out would know.
  return number.number === phone ? undefined : `is ${number.number} in E.164 form`;
}
