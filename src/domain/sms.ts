/** What a text message comes to on the air: its alphabet, and the segments it is split into (3GPP TS 23.038, 23.040). */
import type { SmsOptions, SmsSize } from './notification.ts';

/** Twilio's and most other services' limit for one message of several segments; of a binary one, of its hex digits. */
export const MAX_SMS_CHARS = 1_600;

/** What keeps a body from being sent as the type that was asked for. */
export interface SmsFault {
  /** For people, as the end of a sentence about the body. Quotes no more of it than one character's code point. */
  readonly fault: string;
}

/** TS 23.038, 6.2.1: the default alphabet without its escape code, in the order of the codes. */
const GSM_BASIC = new Set(
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ' +
    ' !"#¤%&\'()*+,-./0123456789:;<=>?' +
    '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§' +
    '¿abcdefghijklmnopqrstuvwxyzäöñüà',
);

/** TS 23.038, 6.2.1.1: each behind an escape code, so two septets. */
const GSM_EXTENSION = new Set('\f^{}\\[~]|€');

/** What fits into a message that stands alone, and into each of several, which carry a header of six octets. */
interface Capacity {
  readonly alone: number;
  readonly each: number;
}

/** In septets. */
const TEXT: Capacity = { alone: 160, each: 153 };
/** In code units of 16 bits. */
const UNICODE: Capacity = { alone: 70, each: 67 };
/** In octets. */
const BINARY: Capacity = { alone: 140, each: 134 };

/**
 * The size of a body as it would be sent, or why it cannot be. A character is a Unicode code point: one outside the Basic
 * Multilingual Plane is one character of two code units, and an emoji of several code points is as many characters.
 */
export function smsSize(body: string, type: SmsOptions['type']): SmsSize | SmsFault {
  // A character has at most two code units, so one more than the limit shows in these already.
  const characters = Array.from(body.slice(0, 2 * MAX_SMS_CHARS + 2));
  if (characters.length > MAX_SMS_CHARS) return { fault: `must not have more than ${MAX_SMS_CHARS} characters` };
  if (type === 'binary') return binarySize(body);
  const foreign = type === 'unicode' ? undefined : characters.find((character) => gsmCost(character) === undefined);
  if (type === 'text' && foreign !== undefined) {
    return { fault: `has ${codePoint(foreign)}, which is not in the GSM-7 alphabet` };
  }
  const shared = { characters: characters.length };
  if (type === 'unicode' || foreign !== undefined) {
    const costs = characters.map((character) => character.length);
    return { ...shared, type: 'unicode', segments: segments(costs, UNICODE) };
  }
  const costs = characters.map((character) => gsmCost(character) ?? 0);
  return { ...shared, type: 'text', segments: segments(costs, TEXT) };
}

function binarySize(hex: string): SmsSize | SmsFault {
  if (!/^([0-9a-f]{2})+$/i.test(hex)) return { fault: 'must be bytes as pairs of hex digits' };
  const bytes = hex.length / 2;
  return { type: 'binary', characters: bytes, segments: bytes <= BINARY.alone ? 1 : Math.ceil(bytes / BINARY.each) };
}

/** In septets; not given for what is not in the alphabet. */
function gsmCost(character: string): number | undefined {
  if (GSM_BASIC.has(character)) return 1;
  return GSM_EXTENSION.has(character) ? 2 : undefined;
}

/** A character that does not fit into what is left of a segment goes into the next one whole. */
function segments(costs: readonly number[], { alone, each }: Capacity): number {
  if (costs.reduce((sum, cost) => sum + cost, 0) <= alone) return 1;
  let count = 1;
  let used = 0;
  for (const cost of costs) {
    if (used + cost > each) {
      count += 1;
      used = 0;
    }
    used += cost;
  }
  return count;
}

function codePoint(character: string): string {
  const hex = character.codePointAt(0)?.toString(16).toUpperCase() ?? '';
  return `U+${hex.padStart(4, '0')}`;
}
