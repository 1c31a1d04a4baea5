import type { Answered, HttpApi } from '../http-api.ts';
import { listOf, textOf } from '../json.ts';
import type { SendResult } from '../provider.ts';

/** Codes that say that the number in `to` is none (developer.vonage.com/api-errors/messages). */
const BAD_RECIPIENT: readonly string[] = ['1170', '1430'];

/**
 * The code in a problem document of Vonage: it stands after the `#` of its type, and in some reports in its title only.
 */
export function codeOf(problem: unknown): string | undefined {
  const word = textOf(problem, 'type')?.split('#')[1];
  const title = textOf(problem, 'title');
  return [word, title].find((one) => one !== undefined && /^\d+$/.test(one)) ?? word;
}

/** What the Messages API answers. */
export function outcomeOf(api: HttpApi, answer: Answered): SendResult {
  const { status, json } = answer;
  if (status >= 200 && status < 300) {
    const messageId = textOf(json, 'message_uuid');
    return messageId === undefined ? api.unreadable(answer) : { outcome: 'sent', code: String(status), messageId };
  }
  const code = codeOf(json) ?? String(status);
  const words = textOf(json, 'detail') ?? textOf(json, 'title');
  const told = api.told(code, words ?? answer.body);
  // No money is left.
  if (status === 402) return { outcome: 'provider_error', ...told };
  if (status === 422 && (BAD_RECIPIENT.includes(code) || namesRecipient(json))) {
    return { outcome: 'invalid_recipient', ...told };
  }
  return api.outcomeOf(answer, code, words);
}

const namesRecipient = (problem: unknown): boolean =>
  listOf(problem, 'invalid_parameters').some((parameter) => textOf(parameter, 'name') === 'to');
