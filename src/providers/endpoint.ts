/** Endpoints that recipients bring themselves: which of them are called, and what a message to one that is not comes to. */
import type { SendResult } from './provider.ts';
import { AddressRefused, type AddressGuard } from './ssrf.ts';

/** The address as a URL that the guard lets through; else what the message comes to. */
export function checkedUrl(address: string, guard: AddressGuard): URL | SendResult {
  const url = URL.parse(address);
  if (url === null) return { outcome: 'invalid_recipient', code: 'url_invalid', detail: 'not a URL' };
  try {
    guard.check(url);
    return url;
  } catch (thrown) {
    if (thrown instanceof AddressRefused) return refusedAddress(thrown);
    throw thrown;
  }
}

export function refusedAddress(refused: AddressRefused): SendResult {
  return { outcome: 'permanent_failure', code: refused.code, detail: refused.message };
}
