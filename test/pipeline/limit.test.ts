import { expect } from 'chai';
import fc from 'fast-check';
import { MINUTE, SECOND } from '../../src/domain/clock.ts';
import { Limiter, grant } from '../../src/pipeline/limit.ts';
import type { RateLimit } from '../../src/pipeline/limit.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { SAMPLE_TIME } from '../support/sample.ts';

const limits: fc.Arbitrary<RateLimit> = fc.record({
  perMinute: fc.oneof(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 121, max: 100_000 })),
  burst: fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 11, max: 5_000 })),
});

type LimitStore = ConstructorParameters<typeof Limiter>[1];

/** The store's promise: a compare-and-set, with whatever delays `through` puts around it. */
function aStore(through: <T>(act: () => T) => Promise<T> = async (act) => act()): LimitStore {
  let stored = 0;
  return {
    readLimit: () => through(() => stored),
    swapLimit: (_name, expected, next) =>
      through(() => {
        if (stored !== expected) return false;
        stored = next;
        return true;
      }),
  };
}

/** Fails when any 60 s hold more than rate + burst. */
function checkWindows(taken: readonly { readonly at: number; readonly tokens: number }[], limit: RateLimit): void {
  for (const { at: from } of taken) {
    const inWindow = taken.filter(({ at }) => at >= from && at < from + MINUTE);
    const sum = inWindow.reduce((n, { tokens }) => n + tokens, 0);
    expect(sum).to.be.at.most(limit.perMinute + limit.burst);
  }
}

describe('limit', () => {
  it('lets at most rate + burst pass in any 60 s, over any interleaving of processes that share it', async () => {
    const takes = fc.array(
      fc.record({ process: fc.nat(2), need: fc.integer({ min: 1, max: 4 }), pause: fc.nat(3_000), steps: fc.nat(5) }),
      { minLength: 20, maxLength: 150, size: 'max' },
    );
    const small = fc.record({ perMinute: fc.integer({ min: 1, max: 90 }), burst: fc.integer({ min: 1, max: 12 }) });
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), small, takes, async (scheduler, limit, sequence) => {
        const clock = new ManualClock();
        let now = SAMPLE_TIME;
        const time = { now: () => now, sleep: clock.sleep.bind(clock) };
        const act = scheduler.scheduleFunction(async (run: () => unknown) => run());
        // The scheduler's types know only functions without type parameters; it answers what the function answers.
        const store = aStore(<T>(run: () => T) => act(run) as Promise<T>);
        const all = [0, 1, 2].map(() => new Limiter(new Map([['email', limit]]), store, time));
        const taken: { at: number; tokens: number }[] = [];
        const takeOne = async (process: number, need: number): Promise<void> => {
          const retryAt = await all[process]?.take('email', need);
          if (retryAt === undefined) taken.push({ at: now, tokens: need });
        };
        const underWay: Promise<void>[] = [];
        for (const { process, need, pause, steps } of sequence) {
          underWay.push(takeOne(process, need));
          for (let i = 0; i < steps; i++) {
            if (scheduler.count() > 0) await scheduler.waitOne();
          }
          now += pause;
        }
        await scheduler.waitIdle();
        await Promise.all(underWay);
        checkWindows(taken, { ...limit, burst: Math.max(limit.burst, 4) });
      }),
      { numRuns: 60 },
    );
  });

  it('gives what it promises: a steady taker gets the rate, but for the share that one second of slack costs', async () => {
    const limit = { perMinute: 60, burst: 5 };
    let now = SAMPLE_TIME;
    const clock = new ManualClock();
    const limiter = new Limiter(new Map([['sms', limit]]), aStore(), {
      now: () => now,
      sleep: clock.sleep.bind(clock),
    });
    const taken: { at: number; tokens: number }[] = [];
    while (now < SAMPLE_TIME + 10 * MINUTE) {
      const retryAt = await limiter.take('sms');
      if (retryAt === undefined) taken.push({ at: now, tokens: 1 });
      else now = retryAt;
    }
    expect(taken.length).to.be.within(585, 605);
    checkWindows(taken, limit);
  });

  it('names the earliest time at which a try succeeds', () => {
    const cases = fc.record({
      limit: limits,
      ahead: fc.double({ min: 0, max: 1, noNaN: true }),
      need: fc.integer({ min: 1, max: 6_000 }),
      want: fc.integer({ min: 1, max: 2_000 }),
      now: fc.nat(1e9).map((ms) => SAMPLE_TIME + ms),
    });
    fc.assert(
      fc.property(cases, ({ limit, ahead, need, want, now }) => {
        const interval = (MINUTE + SECOND) / limit.perMinute;
        const tat = now + Math.ceil(ahead * limit.burst * interval);
        const first = grant(limit, tat, now, need, want);
        if (!('retryAt' in first)) return;
        expect(first.retryAt).to.be.above(now);
        expect(grant(limit, tat, first.retryAt, need, want)).to.have.property('granted');
        const before = first.retryAt - 2;
        if (before > now) expect(grant(limit, tat, before, need, want)).to.have.property('retryAt');
      }),
      { numRuns: 2_000 },
    );
  });

  it('lines up those that were refused a token apart, and begins anew with the next refusal', () => {
    const limiter = new Limiter(new Map([['email', { perMinute: 61, burst: 1 }]]), aStore(), new ManualClock());
    const line = [1, 2, 3].map(() => limiter.lineUp('email', SAMPLE_TIME));
    expect(line).to.deep.equal([SAMPLE_TIME, SAMPLE_TIME + SECOND, SAMPLE_TIME + 2 * SECOND]);
    expect(limiter.lineUp('email', SAMPLE_TIME + 1)).to.equal(SAMPLE_TIME + 1);
  });

  it('grants never more than is wanted or needed, and never less than is needed', () => {
    fc.assert(
      fc.property(
        limits,
        fc.integer({ min: 1, max: 6_000 }),
        fc.integer({ min: 1, max: 2_000 }),
        (limit, need, want) => {
          const answer = grant(limit, 0, SAMPLE_TIME, need, want);
          if (!('granted' in answer)) throw new Error('a limit that was never used has its burst');
          expect(answer.granted).to.be.within(need, Math.max(need, want));
          expect(answer.granted).to.be.at.most(Math.max(need, limit.burst));
        },
      ),
    );
  });

  it('serves a need above the burst, and lets the next one wait for all of it', async () => {
    let now = SAMPLE_TIME;
    const clock = new ManualClock();
    const limiter = new Limiter(new Map([['push', { perMinute: 60, burst: 3 }]]), aStore(), {
      now: () => now,
      sleep: clock.sleep.bind(clock),
    });
    expect(await limiter.take('push', 100)).to.equal(undefined);
    const retryAt = await limiter.take('push', 100);
    expect(retryAt).to.be.within(now + 97 * SECOND, now + 105 * SECOND);
    now = retryAt ?? 0;
    expect(await limiter.take('push', 100)).to.equal(undefined);
  });

  it('drops leased tokens after a second', async () => {
    let now = SAMPLE_TIME;
    const clock = new ManualClock();
    let reads = 0;
    const store = aStore(async (act) => {
      reads++;
      return act();
    });
    const limiter = new Limiter(new Map([['email', { perMinute: 600, burst: 100 }]]), store, {
      now: () => now,
      sleep: clock.sleep.bind(clock),
    });
    await limiter.take('email');
    await limiter.take('email');
    expect(reads).to.equal(2);
    now += SECOND;
    await limiter.take('email');
    expect(reads).to.equal(4);
  });

  it('limits nothing that has no limit', async () => {
    const limiter = new Limiter(new Map(), aStore(), new ManualClock());
    for (let i = 0; i < 100; i++) expect(await limiter.take('email', 50)).to.equal(undefined);
  });

  it('asks to come back when other processes are always faster', async () => {
    const store: LimitStore = { readLimit: async () => 0, swapLimit: async () => false };
    const limiter = new Limiter(new Map([['email', { perMinute: 60, burst: 1 }]]), store, new ManualClock());
    expect(await limiter.take('email')).to.be.above(SAMPLE_TIME);
  });
});
