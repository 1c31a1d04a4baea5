import type { KeyObject } from 'node:crypto';
import { invalidField } from '../../errors.ts';
import { textOf } from '../json.ts';
import { parseJson } from '../parse-json.ts';
import { isRsaKey, privateKeyOf } from '../private-key.ts';

/** A Google service account, from the JSON file that Google's console hands out. */
export interface ServiceAccount {
  readonly clientEmail: string;
  readonly privateKey: KeyObject;
  readonly projectId?: string;
}

/** The name of the setting, for what is told of it. */
export const ACCOUNT_SETTING = 'notifications.push.fcm.service_account_file';

/** RS256 asks for no less (RFC 7518 §3.3). */
const SMALLEST_KEY = 2_048;

/** @throws CarillonError INVALID_FIELD when the file is not that of a service account; nothing of it is repeated */
export function readServiceAccount(file: string): ServiceAccount {
  const json = parseJson(file);
  if (json === undefined) throw invalidField(ACCOUNT_SETTING, 'is not JSON');
  const clientEmail = textOf(json, 'client_email');
  const pem = textOf(json, 'private_key');
  if (clientEmail === undefined || pem === undefined) {
    throw invalidField(ACCOUNT_SETTING, 'is not the JSON of a service account with client_email and private_key');
  }
  const projectId = textOf(json, 'project_id');
  return { clientEmail, privateKey: keyOf(pem), ...(projectId === undefined ? {} : { projectId }) };
}

function keyOf(pem: string): KeyObject {
  const key = privateKeyOf(pem);
  if (key === undefined) throw invalidField(ACCOUNT_SETTING, 'its private_key cannot be read');
  if (!isRsaKey(key, SMALLEST_KEY)) {
    throw invalidField(ACCOUNT_SETTING, `its private_key is no RSA key of at least ${SMALLEST_KEY} bits`);
  }
  return key;
}
