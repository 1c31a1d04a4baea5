import { expect } from 'chai';
import { fcm } from '../../../src/providers/push/fcm.ts';
import type { SendResult } from '../../../src/providers/provider.ts';
import { downFor, answered, describeHttpProvider, outcome, providerDown, type HttpSubject } from '../http-provider.ts';
import { push } from '../messages.ts';
import { ACCESS_TOKEN, fcmError, grant, isTokenRequest, settingsAt } from './fcm-service.ts';

const ACCEPTED = { status: 200, body: '{"name":"projects/shop-1/messages/0:1500"}' };
const INVALID = { status: 400, code: 'INVALID_ARGUMENT' };
const NOT_A_TOKEN = 'The registration token is not a valid FCM registration token';

function dead(code: string) {
  return (result: SendResult): void => {
    expect(result).to.include({ outcome: 'invalid_recipient', suppress: 'invalid_token', code });
  };
}

function refused(wanted: SendResult['outcome'], code: string) {
  return (result: SendResult): void => {
    expect(result).to.include({ outcome: wanted, code });
    expect(result).not.to.have.property('suppress');
  };
}

const subject: HttpSubject = {
  definition: fcm,
  settings: settingsAt,
  message: push({ kind: 'fcm_token', token: 'device-token-1' }),
  accepted: ACCEPTED,
  credentials: [ACCESS_TOKEN],
  aside: (request) => (isTokenRequest(request) ? grant(request) : undefined),
  check({ method, path, headers, body }) {
    expect(method).to.equal('POST');
    expect(path).to.equal('/v1/projects/shop-1/messages:send');
    expect(headers.authorization).to.equal(`Bearer ${ACCESS_TOKEN}`);
    expect(headers['content-type']).to.equal('application/json');
    const { message } = JSON.parse(body) as { message: Record<string, unknown> };
    expect(message['token']).to.equal('device-token-1');
    expect(message['notification']).to.deep.equal({
      title: 'On its way',
      body: 'Your order has left.',
      image: 'https://example.com/icon.png',
    });
  },
  answers: [
    ['a name', ACCEPTED, { outcome: 'sent', code: '200', messageId: 'projects/shop-1/messages/0:1500' }],
    ['a 200 without a name', { status: 200, body: '{}' }, outcome('unknown')],
    ['UNREGISTERED', fcmError({ status: 404, code: 'NOT_FOUND', errorCode: 'UNREGISTERED' }), dead('UNREGISTERED')],
    [
      'a project that is not there',
      fcmError({ status: 404, code: 'NOT_FOUND' }),
      refused('provider_error', 'NOT_FOUND'),
    ],
    [
      'an invalid token, in words only',
      fcmError({ ...INVALID, errorCode: 'INVALID_ARGUMENT', message: NOT_A_TOKEN }),
      dead('INVALID_ARGUMENT'),
    ],
    [
      'an invalid token, named as a field',
      fcmError({ ...INVALID, errorCode: 'INVALID_ARGUMENT', fields: ['message.token'] }),
      dead('INVALID_ARGUMENT'),
    ],
    [
      'an invalid installation id, named as a field',
      fcmError({ ...INVALID, errorCode: 'INVALID_ARGUMENT', fields: ['message.fid'] }),
      dead('INVALID_ARGUMENT'),
    ],
    [
      'an invalid field of ours',
      fcmError({ ...INVALID, errorCode: 'INVALID_ARGUMENT', fields: ['message.data[0].value'], message: NOT_A_TOKEN }),
      (result) => {
        refused('permanent_failure', 'INVALID_ARGUMENT')(result);
        expect(result.detail).to.contain('message.data[0].value');
      },
    ],
    [
      'the words for an invalid token without a code of FCM',
      fcmError({ ...INVALID, message: NOT_A_TOKEN }),
      refused('permanent_failure', 'INVALID_ARGUMENT'),
    ],
    ['an invalid argument and no more', fcmError(INVALID), refused('permanent_failure', 'INVALID_ARGUMENT')],
    [
      'SENDER_ID_MISMATCH',
      fcmError({ status: 403, code: 'PERMISSION_DENIED', errorCode: 'SENDER_ID_MISMATCH' }),
      refused('invalid_recipient', 'SENDER_ID_MISMATCH'),
    ],
    [
      'THIRD_PARTY_AUTH_ERROR',
      fcmError({ status: 401, code: 'UNAUTHENTICATED', errorCode: 'THIRD_PARTY_AUTH_ERROR' }),
      refused('provider_error', 'THIRD_PARTY_AUTH_ERROR'),
    ],
    [
      'UNAUTHENTICATED',
      fcmError({ status: 401, code: 'UNAUTHENTICATED' }),
      refused('provider_error', 'UNAUTHENTICATED'),
    ],
    [
      'PERMISSION_DENIED',
      fcmError({ status: 403, code: 'PERMISSION_DENIED' }),
      refused('provider_error', 'PERMISSION_DENIED'),
    ],
    [
      'QUOTA_EXCEEDED without a time',
      fcmError({ status: 429, code: 'RESOURCE_EXHAUSTED', errorCode: 'QUOTA_EXCEEDED' }),
      (result) => expect(result).to.include({ outcome: 'rate_limited', code: 'QUOTA_EXCEEDED', retryAfterMs: 60_000 }),
    ],
    [
      'QUOTA_EXCEEDED with a time',
      fcmError({ status: 429, code: 'RESOURCE_EXHAUSTED', errorCode: 'QUOTA_EXCEEDED', retryAfter: '90' }),
      (result) => expect(result).to.include({ outcome: 'rate_limited', retryAfterMs: 90_000 }),
    ],
    ['UNAVAILABLE', fcmError({ status: 503, code: 'UNAVAILABLE', errorCode: 'UNAVAILABLE' }), providerDown],
    [
      'UNAVAILABLE with a time',
      fcmError({ status: 503, code: 'UNAVAILABLE', errorCode: 'UNAVAILABLE', retryAfter: '12' }),
      downFor(12_000),
    ],
    ['INTERNAL', fcmError({ status: 500, code: 'INTERNAL', errorCode: 'INTERNAL' }), providerDown],
  ],
};

describeHttpProvider(subject);

describe('fcm keeps its access token to itself', () => {
  it('in an answer that cannot be read', async () => {
    const result = await answered(subject, { status: 200, body: `{"token":"${ACCESS_TOKEN}"}` });
    expect(result.outcome).to.equal('unknown');
    expect(result.detail).to.be.a('string').that.does.not.contain(ACCESS_TOKEN);
  });
});
