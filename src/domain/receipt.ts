/** What a provider reports after it took a message: the words are the same for all of them. */

export const RECEIPT_KINDS = [
  /** The provider has it. Says nothing new unless the answer to the call was lost. */
  'sent',
  'delivered',
  /** It came back; `hard` says that the address will never work. */
  'bounced',
  /** The provider took it and then gave up, for a reason that is not the address. */
  'failed',
  'opened',
  'clicked',
  /** The recipient called it spam. */
  'complained',
  'unsubscribed',
  'resubscribed',
] as const;
export type ReceiptKind = (typeof RECEIPT_KINDS)[number];

/** As the provider tells it; one per event. */
export interface ProviderReceipt {
  /** Unique within the provider; the same event always has the same one. */
  readonly eventId: string;
  readonly kind: ReceiptKind;
  /** Of a bounce. */
  readonly hard?: boolean;
  /** The recipient asked to get nothing more on this channel at all, as by an SMS STOP, or everything again. */
  readonly wholeChannel?: boolean;
  readonly notificationId: string;
  /** Whom the event is about; a copy's address differs from the target's. */
  readonly address?: string;
  /** When it happened, milliseconds. */
  readonly at: number;
  /** The provider's own code and words, without an address where that can be had. */
  readonly code?: string;
  readonly detail?: string;
  /** An open by a mail server's scanner, not by a person. */
  readonly machine?: boolean;
}

export interface Receipt extends ProviderReceipt {
  /** `<provider>:<eventId>`. */
  readonly id: string;
  readonly provider: string;
  readonly receivedAt: number;
}
