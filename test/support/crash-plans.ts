/** What a vendor answers to the calls for one target, one after the other; the last answer stays. */

/**
 * `lost`: takes the message, and the answer is lost on its way; `hang`: takes it and never answers. After both the caller
 * cannot know what became of it.
 */
export type VendorAnswer = 'sent' | 'busy' | 'down' | 'limited' | 'error' | 'rejected' | 'invalid' | 'lost' | 'hang';

/** The answers after which the vendor has the message. */
export const TAKEN: ReadonlySet<VendorAnswer> = new Set(['sent', 'lost', 'hang']);

/** By the name that the notification's type carries; a list for each target, the first for all that follow. */
export const PLANS = {
  sent: [['sent']],
  'retried.then.sent': [['busy', 'sent']],
  'failed.over': [['down', 'sent']],
  'refused.by.all': [['error', 'error', 'sent']],
  'rate.limited': [['limited', 'sent']],
  rejected: [['rejected']],
  'invalid.recipient': [['invalid']],
  'answer.lost': [['lost', 'sent']],
  'answer.lost.hold': [['lost', 'sent']],
  'never.answered': [['hang', 'sent']],
  delivered: [['sent']],
  'proven.by.report': [['lost', 'sent']],
  'at.last.on.re-drive': [['busy', 'busy', 'busy', 'sent']],
  partial: [['sent'], ['busy', 'sent'], ['invalid'], ['down', 'busy', 'lost', 'sent']],
} as const satisfies Record<string, readonly (readonly VendorAnswer[])[]>;
export type PlanName = keyof typeof PLANS;

export const PLAN_NAMES = Object.keys(PLANS).filter(isPlan);

export function isPlan(name: string): name is PlanName {
  return Object.hasOwn(PLANS, name);
}

/** Plans in which the vendor reports what it took, wherever it is not reported anyway. */
export const REPORTED: ReadonlySet<string> = new Set<PlanName>(['delivered', 'proven.by.report']);

/** Plans of which no message may arrive twice, whatever happens. */
export const HELD: ReadonlySet<PlanName> = new Set(['answer.lost.hold']);

export function answerTo(plan: PlanName, target: number, call: number): VendorAnswer {
  const scripts: readonly (readonly VendorAnswer[])[] = PLANS[plan];
  const script = scripts[target] ?? scripts[0] ?? [];
  const answer = script[call] ?? script.at(-1);
  if (answer === undefined) throw new Error(`the plan ${plan} has no answer`);
  return answer;
}
