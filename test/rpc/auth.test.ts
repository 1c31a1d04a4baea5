import { createHash } from 'node:crypto';

import { createClient } from '@connectrpc/connect';
import { expect } from 'chai';

import { Health } from '../../gen/health/v1/health_pb.js';
import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';
import { PreferenceService } from '../../gen/carillon/v1/preference_service_pb.js';
import { VerificationService } from '../../gen/carillon/v1/verification_service_pb.js';
import { type ApiKey, createAuthenticate, type Scope } from '../../src/rpc/auth.ts';
import type { CallContext } from '../../src/rpc/handler.ts';
import { CarillonError } from '../../src/errors.ts';
import { SOME_ID, validSend } from '../support/rpc-notifications.ts';
import { failureOf, PROTOCOLS, startRpc } from '../support/rpc-server.ts';

function key(secret: string, tenant: string, scopes: readonly Scope[]): ApiKey {
  return { name: `key of ${tenant}`, tenant, sha256: createHash('sha256').update(secret).digest('hex'), scopes };
}

const KEYS = [key('sender-secret', 'shop', ['send']), key('reader-secret', 'bank', ['read'])];

const bearer = (secret: string): { headers: Record<string, string> } => ({
  headers: { authorization: `Bearer ${secret}` },
});

for (const protocol of PROTOCOLS) {
  describe(`API keys over ${protocol}`, () => {
    it('give the call its tenant', async () => {
      const seen: CallContext[] = [];
      await using rpc = await startRpc(
        {
          async sendNotification(_, context) {
            seen.push(context);
            return {};
          },
        },
        { keys: KEYS },
      );
      await rpc.client(protocol).sendNotification(validSend, bearer('sender-secret'));
      expect(seen.map(({ tenant, principal }) => [tenant, principal])).to.deep.equal([['shop', 'key of shop']]);
    });

    it('are asked for before anything else is said about the request', async () => {
      await using rpc = await startRpc({}, { keys: KEYS });
      const client = rpc.client(protocol);
      const missing = { code: 'Unauthenticated', reason: 'API_KEY_MISSING' };
      expect(await failureOf(client.sendNotification({}))).to.include(missing);
      expect(await failureOf(client.watchNotifications({}))).to.include(missing);
      expect(await failureOf(client.sendNotification({}, { headers: { authorization: 'Basic eA==' } }))).to.include(
        missing,
      );
      const invalid = { code: 'Unauthenticated', reason: 'API_KEY_INVALID' };
      expect(await failureOf(client.sendNotification({}, bearer('guess')))).to.include(invalid);
    });

    it('open only what their scopes name', async () => {
      await using rpc = await startRpc({}, { keys: KEYS });
      const client = rpc.client(protocol);
      await client.sendNotification(validSend, bearer('sender-secret'));
      await client.getNotification({ id: SOME_ID }, bearer('reader-secret'));
      const denied = { code: 'PermissionDenied', reason: 'SCOPE_MISSING' };
      expect(await failureOf(client.sendNotification(validSend, bearer('reader-secret')))).to.include(denied);
      expect(await failureOf(client.getNotification({ id: SOME_ID }, bearer('sender-secret')))).to.include(denied);
      expect(await failureOf(client.watchNotifications({}, bearer('sender-secret')))).to.include(denied);
    });

    it('are not asked for by health', async () => {
      await using rpc = await startRpc({}, { keys: KEYS });
      const answer = await createClient(Health, rpc.transport(protocol)).check({});
      expect(answer.$typeName).to.equal('grpc.health.v1.HealthCheckResponse');
    });
  });
}

describe('scopes', () => {
  const methods = [NotificationService, PreferenceService, VerificationService].flatMap((service) => service.methods);
  const reasonFor = (scopes: readonly Scope[], method: (typeof methods)[number]): string => {
    try {
      createAuthenticate([key('x', 't', scopes)])(method, 'Bearer x');
      return 'taken';
    } catch (thrown) {
      return CarillonError.from(thrown).reason;
    }
  };

  it('are set for every method: none falls to admin by oversight', () => {
    const open = methods.filter((method) => reasonFor(['admin'], method) === 'taken').map(({ name }) => name);
    expect(open).to.have.members(['AddSuppression', 'RemoveSuppression']);
  });

  it('let those that send send, and those that read read', () => {
    const named = (scope: Scope): string[] =>
      methods.filter((method) => reasonFor([scope], method) === 'taken').map(({ name }) => name);
    expect(named('send')).to.have.members([
      'SendNotification',
      'BatchSendNotifications',
      'SendNotificationStream',
      'CancelNotification',
      'RetryNotifications',
      // It may cost money.
      'VerifyPhone',
    ]);
    expect(named('read')).to.have.members([
      'GetNotification',
      'ListNotifications',
      'WatchNotifications',
      'ExplainNotification',
      'ListSuppressions',
      'VerifyEmail',
    ]);
    expect(named('templates')).to.deep.equal([]);
  });

  it('cannot be configured for a hash that is none', () => {
    const broken = { ...key('x', 't', ['send']), sha256: 'abc' };
    expect(() => createAuthenticate([broken])).to.throw(TypeError);
  });
});
