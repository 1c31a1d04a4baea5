import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import type { HttpAnswer, ReceivedRequest } from '../../support/start-http.ts';
import type { GivenSettings } from '../open-provider.ts';

/** Made for this run; the test of each request for a token verifies with the public half. */
export const KEYS = generateKeyPairSync('rsa', {
  modulusLength: 2_048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});

export const CLIENT_EMAIL = 'carillon@shop-1.iam.gserviceaccount.com';
export const ACCESS_TOKEN = 'ya29.c.access-token-0123456789';

export const accountFile = (given: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({
    type: 'service_account',
    project_id: 'shop-1',
    client_email: CLIENT_EMAIL,
    private_key: KEYS.privateKey,
    ...given,
  });

/** API and token endpoint on one server. */
export const settingsAt = (baseUrl: string): GivenSettings => ({
  baseUrl,
  tokenUrl: `${baseUrl}/token`,
  serviceAccountFile: accountFile(),
});

export const isTokenRequest = ({ path }: ReceivedRequest): boolean => path.endsWith('/token');

/** The claims of the assertion in a request for a token. @throws Error unless it is signed with the account's key */
export function claimsOf({ body }: ReceivedRequest): Record<string, unknown> {
  const form = new URLSearchParams(body);
  if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') throw new Error('another grant');
  const [head = '', claims = '', signature = ''] = (form.get('assertion') ?? '').split('.');
  const header: unknown = JSON.parse(Buffer.from(head, 'base64url').toString());
  if (JSON.stringify(header) !== '{"alg":"RS256","typ":"JWT"}') throw new Error('another header');
  const signed = Buffer.from(`${head}.${claims}`);
  if (!verify('RSA-SHA256', signed, createPublicKey(KEYS.publicKey), Buffer.from(signature, 'base64url'))) {
    throw new Error('the signature is wrong');
  }
  // A JWT's claims are an object.
  return JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>;
}

/** What Google answers an assertion: a token where it is the account's. */
export function grant(request: ReceivedRequest, token: string = ACCESS_TOKEN): HttpAnswer {
  try {
    claimsOf(request);
  } catch {
    return { status: 400, body: '{"error":"invalid_grant","error_description":"Invalid JWT Signature."}' };
  }
  return { status: 200, body: JSON.stringify({ access_token: token, expires_in: 3_599, token_type: 'Bearer' }) };
}

interface GivenError {
  readonly status: number;
  readonly code?: string;
  readonly errorCode?: string;
  readonly message?: string;
  readonly fields?: readonly string[];
  readonly retryAfter?: string;
}

/** An error in the form of FCM. */
export function fcmError({ status, code, errorCode, message = 'no', fields, retryAfter }: GivenError): HttpAnswer {
  const details = [
    ...(errorCode === undefined ? [] : [{ '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode }]),
    ...(fields === undefined
      ? []
      : [
          {
            '@type': 'type.googleapis.com/google.rpc.BadRequest',
            fieldViolations: fields.map((field) => ({ field, description: `${field} is wrong` })),
          },
        ]),
  ];
  return {
    status,
    ...(retryAfter === undefined ? {} : { headers: { 'retry-after': retryAfter } }),
    body: JSON.stringify({ error: { code: status, message, status: code, details } }, undefined, 2),
  };
}
