import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { expect } from 'chai';
import { jwtVerify } from 'jose';
import type { Provider, SendResult } from '../../../src/providers/provider.ts';
import { apns } from '../../../src/providers/push/apns.ts';
import { CERTIFICATE, startApns, type StartedApns } from '../../support/start-apns.ts';
import { KEY } from '../conformance.ts';
import { push } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

export const KEYS = generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const KEY_FILE = KEYS.privateKey.export({ type: 'pkcs8', format: 'pem' });
export const TOKEN = 'ab'.repeat(32);
export const MESSAGE = push({ kind: 'apns', token: TOKEN });
export const ACCEPTED = { status: 200, headers: { 'apns-id': KEY } };

export const settings = (baseUrl: string): GivenSettings => ({
  teamId: 'TEAM123456',
  keyId: 'KEY1234567',
  keyFile: KEY_FILE,
  topic: 'org.example.shop',
  baseUrl,
});
export const reason = (status: number, name: string, more: object = {}, headers: Record<string, string> = {}) => ({
  status,
  headers,
  body: JSON.stringify({ reason: name, ...more }),
});
export const call = () => ({ key: KEY, signal: new AbortController().signal });
export const bearer = (authorization: unknown): string => String(authorization).replace(/^bearer /, '');

/** As APNs does it, with the public key alone. */
export async function verify(authorization: unknown): Promise<void> {
  const key = createPublicKey(KEYS.publicKey.export({ type: 'spki', format: 'pem' }));
  const { protectedHeader, payload } = await jwtVerify(bearer(authorization), key, { algorithms: ['ES256'] });
  expect(protectedHeader.kid).to.equal('KEY1234567');
  expect(payload.iss).to.equal('TEAM123456');
  expect(payload.iat).to.be.closeTo(Date.now() / 1_000, 60);
}

export const open = (server: StartedApns, given: GivenSettings = {}): Promise<Provider> =>
  openProvider(apns, { ...settings(server.url), caFile: CERTIFICATE, ...given });

/** Sends to a server that speaks nothing but HTTP/2 over TLS. */
export async function sent(
  react: StartedApns['react'],
  message = MESSAGE,
): Promise<{ result: SendResult; server: StartedApns }> {
  await using server = await startApns(react);
  await using provider = await open(server);
  return { result: await provider.send(message, call()), server };
}
