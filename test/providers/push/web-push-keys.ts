import { createECDH } from 'node:crypto';

export interface KeyPair {
  readonly publicKey: string;
  readonly privateKey: string;
}

/** For VAPID or a browser, base64url; the private key with the zeros in front that node leaves out. */
export function makeKeys(): KeyPair {
  const ecdh = createECDH('prime256v1');
  const publicKey = ecdh.generateKeys('base64url');
  const privateKey = Buffer.from(ecdh.getPrivateKey('hex').padStart(64, '0'), 'hex').toString('base64url');
  return { publicKey, privateKey };
}
