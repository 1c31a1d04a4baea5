/** Private keys that settings hold. Nothing of them belongs in a message. */
import { createPrivateKey, type KeyObject } from 'node:crypto';

/** Undefined for what is no private key in PEM, or one that asks for a passphrase. */
export function privateKeyOf(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    // Node says no more than that it cannot be read.
    return undefined;
  }
}

/** @param bits at least so many */
export function isRsaKey(key: KeyObject | undefined, bits: number): boolean {
  return key?.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= bits;
}
