import type { Answered, HttpApi } from '../http-api.ts';
import { textOf } from '../json.ts';
import type { SendResult } from '../provider.ts';

type Meaning = 'invalid' | 'stop' | 'permanent' | 'provider' | 'rate' | 'rate_of_recipient';

/** Of a message that was made and will not be sent. */
const GIVEN_UP: ReadonlySet<string> = new Set(['failed', 'undelivered', 'canceled']);

/** What Twilio's error codes mean (twilio.com/docs/api/errors). Of the others the HTTP status decides. */
const MEANINGS: ReadonlyMap<string, Meaning> = new Map([
  ['21211', 'invalid'],
  ['21217', 'invalid'],
  ['21401', 'invalid'],
  ['21614', 'invalid'],
  ['21610', 'stop'],
  ['21408', 'permanent'],
  ['21612', 'permanent'],
  ['20003', 'provider'],
  ['20005', 'provider'],
  ['21212', 'provider'],
  ['21606', 'provider'],
  ['21660', 'provider'],
  // The messaging service is not there, or has no number.
  ['21701', 'provider'],
  ['21703', 'provider'],
  ['20429', 'rate'],
  // The sender's queue is full.
  ['21611', 'rate'],
  ['30001', 'rate'],
  // Too many between the same two numbers within seconds: a guard against loops.
  ['14107', 'rate_of_recipient'],
]);

export function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status, json, wait } = answer;
  const accepted = status >= 200 && status < 300;
  const givenUp = accepted && GIVEN_UP.has(textOf(json, 'status') ?? '');
  if (accepted && !givenUp) {
    const messageId = textOf(json, 'sid');
    return messageId === undefined ? api.unreadable(answer) : { outcome: 'sent', code: String(status), messageId };
  }
  const code = textOf(json, givenUp ? 'error_code' : 'code');
  const words = textOf(json, givenUp ? 'error_message' : 'message');
  const told = api.told(code ?? status, words ?? answer.body);
  // A server that failed is down, whatever code it adds.
  switch (status < 500 ? MEANINGS.get(code ?? '') : undefined) {
    case 'invalid':
      return { outcome: 'invalid_recipient', ...told };
    case 'stop':
      return { outcome: 'invalid_recipient', ...told, suppress: 'unsubscribed' };
    case 'permanent':
      return { outcome: 'permanent_failure', ...told };
    case 'provider':
      return { outcome: 'provider_error', ...told };
    case 'rate':
      return { outcome: 'rate_limited', ...told, ...wait };
    case 'rate_of_recipient':
      return { outcome: 'rate_limited', ...told, ...wait, recipientOnly: true };
    case undefined:
      if (givenUp) return { outcome: 'permanent_failure', ...told };
      return api.outcomeOf(answer, code, words);
  }
}
