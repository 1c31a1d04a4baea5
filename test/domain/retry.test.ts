import { expect } from 'chai';
import fc from 'fast-check';
import { HOUR, MINUTE, SECOND } from '../../src/domain/clock.ts';
import { PRIORITIES } from '../../src/domain/notification.ts';
import type { Notification, Priority, RetryPolicy } from '../../src/domain/notification.ts';
import { MAX_ATTEMPTS, backoffMs, maxAttempts } from '../../src/domain/retry.ts';
import { DEFAULT_BACKOFF, aNotification } from '../support/sample.ts';

const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const afterAttempt = (priority: Priority, attempt: number): Notification =>
  aNotification({ spec: { priority }, state: { attempt } });

function aWebhook(attempt: number, retryPolicy?: RetryPolicy): Notification {
  const webhook = { method: 'POST', headers: {}, ...(retryPolicy && { retryPolicy }) } as const;
  return aNotification({ spec: { channel: 'webhook', webhook }, state: { attempt } });
}

describe('retry', () => {
  it('waits between half and all of a delay that grows by 4 from the base up to the cap', () => {
    fc.assert(
      fc.property(fc.constantFrom(...PRIORITIES), fc.integer({ min: 1, max: 20 }), fraction, (priority, n, chance) => {
        const base = priority === 'urgent' ? 2 * SECOND : 30 * SECOND;
        const full = Math.min(base * 4 ** (n - 1), HOUR);
        const delay = backoffMs(afterAttempt(priority, n), chance, DEFAULT_BACKOFF);
        expect(delay).to.be.within(full / 2, full);
        expect(Number.isInteger(delay)).to.equal(true);
      }),
    );
  });

  it('spreads the delay over the whole half that chance decides', () => {
    const row = afterAttempt('normal', 1);
    expect(backoffMs(row, 0, DEFAULT_BACKOFF)).to.equal(15 * SECOND);
    expect(backoffMs(row, 0.999_999_9, DEFAULT_BACKOFF)).to.equal(30 * SECOND);
  });

  it('lets a NORMAL notification outlive an outage of 20 minutes whatever chance says', () => {
    fc.assert(
      fc.property(fc.array(fraction, { minLength: 4, maxLength: 4 }), (fractions) => {
        const waited = fractions.reduce(
          (sum, chance, i) => sum + backoffMs(afterAttempt('normal', i + 1), chance, DEFAULT_BACKOFF),
          0,
        );
        expect(MAX_ATTEMPTS.normal).to.equal(fractions.length + 1);
        expect(waited).to.be.above(20 * MINUTE);
      }),
    );
  });

  it('follows a webhook policy to the letter, linear or exponential, up to its longest delay', () => {
    const policies = fc.record({
      backoff: fc.constantFrom('linear' as const, 'exponential' as const),
      initialDelayMs: fc.integer({ min: SECOND, max: HOUR }),
      maxDelayMs: fc.integer({ min: SECOND, max: 24 * HOUR }),
    });
    fc.assert(
      fc.property(policies, fc.integer({ min: 1, max: 20 }), fraction, (policy, n, chance) => {
        const growth = policy.backoff === 'linear' ? n : 2 ** (n - 1);
        const expected = Math.min(policy.initialDelayMs * growth, policy.maxDelayMs);
        expect(backoffMs(aWebhook(n, policy), chance, DEFAULT_BACKOFF)).to.equal(expected);
        expect(backoffMs(aWebhook(n), chance, DEFAULT_BACKOFF, policy)).to.equal(expected);
      }),
    );
  });

  it('takes the number of attempts from the webhook policy, then from the configured one, then from the priority', () => {
    const policy = (max: number): RetryPolicy => ({
      maxAttempts: max,
      backoff: 'linear',
      initialDelayMs: 1,
      maxDelayMs: 1,
    });
    expect(maxAttempts(aWebhook(1, policy(2)), policy(9))).to.equal(2);
    expect(maxAttempts(aWebhook(1), policy(9))).to.equal(9);
    expect(maxAttempts(aWebhook(1))).to.equal(5);
    expect(maxAttempts(aNotification(), policy(9))).to.equal(5);
    expect(PRIORITIES.map((priority) => maxAttempts(afterAttempt(priority, 1)))).to.deep.equal([10, 7, 5, 3]);
  });
});
