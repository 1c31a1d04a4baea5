/** Addresses to which nothing is sent any more, and why. */
import type { Channel } from './notification.ts';

export const SUPPRESSION_REASONS = ['hard_bounce', 'complaint', 'unsubscribed', 'invalid_token', 'manual'] as const;
export type SuppressionReason = (typeof SUPPRESSION_REASONS)[number];

export interface Suppression {
  readonly tenant: string;
  readonly channel: Channel;
  /** HMAC of tenant, channel and normalised address, hex: the address itself is kept nowhere. */
  readonly addressHash: string;
  /** Only notifications of this category; not given: all on this channel, whatever their category. */
  readonly category?: string;
  readonly reason: SuppressionReason;
  /** Who said so: a provider's name, or `api`. */
  readonly source: string;
  /** For people; no address. */
  readonly detail?: string;
  readonly createdAt: number;
  /** When it was last said, by the clock of who said it: nothing older ends it. */
  readonly saidAt: number;
}

/** The category that a complaint or an unsubscribe in a mail program switches off. */
export const MARKETING = 'marketing';

/**
 * The form of an address under which it is suppressed. E-mail without regard to case: RFC 5321 lets a server tell local
 * parts apart by case, none does, and one spelling too many must not get round a suppression.
 */
export function normaliseAddress(channel: Channel, address: string): string {
  const trimmed = address.trim();
  return channel === 'email' ? trimmed.toLowerCase() : trimmed;
}
