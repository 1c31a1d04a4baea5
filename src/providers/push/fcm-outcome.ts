/** What FCM's answers mean (firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode). */
import type { Answered, HttpApi } from '../http-api.ts';
import { listOf, textOf } from '../json.ts';
import type { SendResult } from '../provider.ts';

const FCM_ERROR = 'type.googleapis.com/google.firebase.fcm.v1.FcmError';
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest';
const TARGET_FIELDS: readonly unknown[] = ['message.token', 'message.fid'];

/** Google asks for no less after a refused quota, where it does not say how long. Milliseconds. */
const QUOTA_WAIT = 60_000;

/** @param redact takes the access token out of what is told */
export function outcomeOf(api: HttpApi, answer: Answered, redact: (text: string) => string): SendResult {
  const { status, json, wait } = answer;
  const messageId = textOf(json, 'name');
  if (status >= 200 && status < 300) {
    if (messageId === undefined) return api.unreadable({ ...answer, body: redact(answer.body) });
    return { outcome: 'sent', code: String(status), messageId };
  }
  const code = fcmCode(answer) ?? textOf(json, 'error', 'status');
  const detail = redact(wordsOf(answer));
  const told = api.told(code ?? status, detail);
  switch (code) {
    case 'UNREGISTERED':
      return { outcome: 'invalid_recipient', ...told, suppress: 'invalid_token' };
    case 'INVALID_ARGUMENT':
      if (!isAboutTarget(answer)) return { outcome: 'permanent_failure', ...told };
      return { outcome: 'invalid_recipient', ...told, suppress: 'invalid_token' };
    case 'SENDER_ID_MISMATCH':
      // The device is alive, in another project. Not suppressed: the wrong account here would silence every device.
      return { outcome: 'invalid_recipient', ...told };
    case 'THIRD_PARTY_AUTH_ERROR':
    case 'UNAUTHENTICATED':
    case 'PERMISSION_DENIED':
    // Without FCM's own code it is not the device but the project that there is none of.
    case 'NOT_FOUND':
      return { outcome: 'provider_error', ...told };
    default:
      if (status === 429) return { outcome: 'rate_limited', ...told, retryAfterMs: QUOTA_WAIT, ...wait };
      return api.outcomeOf(answer, code, detail);
  }
}

/** A new access token may help; it does not where FCM is refused by APNs or a browser's service. */
export function isUnauthenticated(answer: Answered): boolean {
  return answer.status === 401 && fcmCode(answer) !== 'THIRD_PARTY_AUTH_ERROR';
}

function fcmCode({ json }: Answered): string | undefined {
  const own = listOf(json, 'error', 'details').find((one) => textOf(one, '@type') === FCM_ERROR);
  return textOf(own, 'errorCode');
}

function violationsOf({ json }: Answered): readonly unknown[] {
  return listOf(json, 'error', 'details')
    .filter((one) => textOf(one, '@type') === BAD_REQUEST)
    .flatMap((one) => listOf(one, 'fieldViolations'));
}

/**
 * Of an invalid argument: whether it is the device's token, not something in the message. Either the field is named, or
 * FCM's own code comes without a field, where the wording is all there is to tell.
 */
function isAboutTarget(answer: Answered): boolean {
  const violations = violationsOf(answer);
  if (violations.length > 0) return violations.every((one) => TARGET_FIELDS.includes(textOf(one, 'field')));
  return fcmCode(answer) !== undefined && /registration token/i.test(textOf(answer.json, 'error', 'message') ?? '');
}

function wordsOf(answer: Answered): string {
  const message = textOf(answer.json, 'error', 'message');
  if (message === undefined) return answer.body;
  const fields = violationsOf(answer).map((one) => `${textOf(one, 'field')}: ${textOf(one, 'description')}`);
  return [message, ...fields].join('; ');
}
