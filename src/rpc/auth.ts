/** Who calls, and whether they may. Keys are configured as hashes, so the configuration holds no secret. */
import { hash, timingSafeEqual } from 'node:crypto';

import type { DescMethod } from '@bufbuild/protobuf';

import { CarillonError } from '../errors.ts';
import { fullName } from './handler.ts';

/** No scope includes another. */
const SCOPES = ['send', 'read', 'templates', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

export interface ApiKey {
  /** Names the key in logs; never the key itself. */
  readonly name: string;
  readonly tenant: string;
  /** Hex of the SHA-256 of the key. */
  readonly sha256: string;
  readonly scopes: readonly Scope[];
}

export interface Caller {
  readonly tenant: string;
  readonly principal: string;
}

/**
 * Finds the caller from the `authorization` header. Throws CarillonError API_KEY_MISSING, API_KEY_INVALID or
 * SCOPE_MISSING.
 */
export type Authenticate = (method: DescMethod, authorization: string | undefined) => Caller;

const ANONYMOUS: Caller = { tenant: 'default', principal: 'anonymous' };

/** Probes and tools call these before they have a key; they tell nothing of any tenant. */
const OPEN_SERVICES: ReadonlySet<string> = new Set([
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
]);

const SCOPE_OF: Readonly<Record<string, Scope>> = {
  'carillon.v1.NotificationService/SendNotification': 'send',
  'carillon.v1.NotificationService/BatchSendNotifications': 'send',
  'carillon.v1.NotificationService/SendNotificationStream': 'send',
  'carillon.v1.NotificationService/CancelNotification': 'send',
  'carillon.v1.NotificationService/RetryNotifications': 'send',
  'carillon.v1.NotificationService/GetNotification': 'read',
  'carillon.v1.NotificationService/ListNotifications': 'read',
  'carillon.v1.NotificationService/WatchNotifications': 'read',
  'carillon.v1.NotificationService/ExplainNotification': 'read',
  'carillon.v1.PreferenceService/ListSuppressions': 'read',
  'carillon.v1.PreferenceService/AddSuppression': 'admin',
  'carillon.v1.PreferenceService/RemoveSuppression': 'admin',
  'carillon.v1.VerificationService/VerifyEmail': 'read',
  // A look-up may cost money.
  'carillon.v1.VerificationService/VerifyPhone': 'send',
};

/** What a method that is not in the table needs: one that was forgotten is closed rather than open. */
const DEFAULT_SCOPE: Scope = 'admin';

/** Without keys every caller is `anonymous` of the tenant `default` and may do everything. */
export function createAuthenticate(keys: readonly ApiKey[]): Authenticate {
  if (keys.length === 0) return () => ANONYMOUS;
  const known = keys.map((key) => ({ key, digest: digestOf(key) }));
  return (method, authorization) => {
    if (OPEN_SERVICES.has(method.parent.typeName)) return ANONYMOUS;
    const key = find(known, authorization);
    const scope = SCOPE_OF[fullName(method)] ?? DEFAULT_SCOPE;
    if (!key.scopes.includes(scope)) {
      throw new CarillonError('SCOPE_MISSING', `the API key lacks the scope ${scope}`, { metadata: { scope } });
    }
    return { tenant: key.tenant, principal: key.name };
  };
}

function find(known: readonly { key: ApiKey; digest: Buffer }[], authorization: string | undefined): ApiKey {
  const presented = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
  if (presented === undefined) {
    throw new CarillonError('API_KEY_MISSING', 'the call needs the header `authorization: Bearer <API key>`');
  }
  const digest = hash('sha256', presented, 'buffer');
  // Every digest is compared, each in constant time, so that the time taken tells nothing of any key.
  const matching = known.filter((candidate) => timingSafeEqual(candidate.digest, digest));
  const first = matching[0];
  if (first === undefined) throw new CarillonError('API_KEY_INVALID', 'the API key is not known');
  return first.key;
}

function digestOf(key: ApiKey): Buffer {
  if (!/^[0-9a-f]{64}$/i.test(key.sha256)) throw new TypeError(`API key ${key.name}: sha256 is not 64 hex digits`);
  return Buffer.from(key.sha256, 'hex');
}
