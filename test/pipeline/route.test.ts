import { expect } from 'chai';
import { DAY, MINUTE, SECOND } from '../../src/domain/clock.ts';
import type { Attempt, Notification } from '../../src/domain/notification.ts';
import type { Plan, Router } from '../../src/pipeline/route.ts';
import type { Provider, Route, SendResult } from '../../src/providers/provider.ts';
import { DOWN, FakeProvider, SENT } from '../support/fake-provider.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { CIRCUIT, aRoute, openRouter } from '../support/fake-router.ts';
import { SAMPLE_TIME, aNotification } from '../support/sample.ts';

const first = new FakeProvider('first', SENT);
const second = new FakeProvider('second', SENT);
const both = [aRoute(first), aRoute(second)];
/** After any circuit has opened. */
const JUST_NOW = Infinity;
const none = (): ReadonlySet<string> => new Set();
const namesOf = (plan: Plan): string[] => plan.calls.map(({ provider }) => provider.name);

async function withRouter(routes: readonly Route[], run: (router: Router, pipeline: Pipeline) => Promise<void>) {
  await using pipeline = await openPipeline();
  await run(openRouter(pipeline, routes), pipeline);
}

function tell(router: Router, provider: Provider, ...results: readonly SendResult[]): void {
  router.told(
    provider,
    results.map((result, target) => ({ target, result })),
    { startedAt: JUST_NOW, aborted: false, ownSender: false },
  );
}

const open = (router: Router, provider: Provider): void =>
  tell(router, provider, ...Array.from({ length: CIRCUIT.failures }, () => DOWN));

function devices(...kinds: readonly ('apns' | 'fcm_token')[]): Notification {
  const list = kinds.map((kind, index) => ({ kind, token: `${kind}-${index}` }));
  return aNotification({
    spec: { channel: 'push', recipient: { devices: list } },
    state: { targets: list.map(({ token }) => ({ address: token })) },
  });
}

function forKind(kind: string): FakeProvider {
  const provider = new FakeProvider(kind, SENT, 'push');
  return Object.assign(provider, { serves: ({ device }: { device?: { kind: string } }) => device?.kind === kind });
}

describe('the route of a target', () => {
  it('begins with the first provider of the list', () =>
    withRouter(both, async (router) => {
      const plan = await router.plan(aNotification(), [0], none);
      expect(plan.calls).to.deep.equal([{ provider: first, choice: 'first', skipped: [], targets: [0] }]);
    }));

  it('goes on with those that were not tried, and ends when none is left', () =>
    withRouter(both, async (router) => {
      const row = aNotification();
      const next = await router.plan(row, [0], () => new Set(['first']));
      expect(next.calls[0]).to.include({ provider: second, choice: 'fail_over' });
      const last = await router.plan(row, [0], () => new Set(['first', 'second']));
      expect(last).to.deep.equal({ calls: [], waiting: [], unserved: [0] });
    }));

  it('asks the provider whose outcome is unknown first, for that target alone', () =>
    withRouter(both, async (router) => {
      const attempt: Attempt = {
        run: 1,
        number: 1,
        provider: 'second',
        choice: 'fail_over',
        skipped: [],
        targets: [1],
        startedAt: SAMPLE_TIME,
        results: [{ target: 1, outcome: 'unknown' }],
      };
      const targets = [{ address: 'a' }, { address: 'b' }];
      const row = aNotification({ state: { targets, attempts: [attempt] } });
      const plan = await router.plan(row, [0, 1], none);
      expect(plan.calls.map(({ provider, choice, targets: t }) => [provider.name, choice, t])).to.deep.equal([
        ['first', 'first', [0]],
        ['second', 'repeat', [1]],
      ]);
      const redriven = { ...row, state: { ...row.state, run: 2 } };
      expect(namesOf(await router.plan(redriven, [1], none)), 'a new run').to.deep.equal(['first']);
    }));

  it('takes each device to the providers that serve its kind, and those of one provider together', async () => {
    const routes = [aRoute(forKind('fcm_token')), aRoute(forKind('apns'))];
    await withRouter(routes, async (router) => {
      const row = devices('apns', 'fcm_token', 'apns');
      const plan = await router.plan(row, [0, 1, 2], none);
      expect(plan.calls.map(({ provider, targets }) => [provider.name, targets])).to.deep.equal([
        ['apns', [0, 2]],
        ['fcm_token', [1]],
      ]);
    });
    await withRouter([aRoute(forKind('fcm_token'))], async (router) => {
      const row = devices('apns', 'fcm_token');
      const plan = await router.plan(row, [0, 1], none);
      expect([namesOf(plan), plan.unserved]).to.deep.equal([['fcm_token'], [0]]);
      expect(router.serves(row.spec, 'apns-0')).to.equal(false);
    });
  });
});

describe('weights', () => {
  const weighted = [
    aRoute(first, { weight: 30 }),
    aRoute(second, { weight: 10 }),
    aRoute(new FakeProvider('third', SENT)),
  ];

  it('share the notifications, and the rest of the list follows', () =>
    withRouter(weighted, async (router) => {
      const counts = new Map<string, number>();
      for (let i = 0; i < 2_000; i++) {
        const { spec } = aNotification();
        const [name = '', ...others] = router.order(spec, 'a').map((provider) => provider.name);
        counts.set(name, (counts.get(name) ?? 0) + 1);
        expect(others).to.have.length(2);
      }
      // 1,500 and 500 are expected; the bounds are eight standard deviations away.
      expect(counts.get('first')).to.be.within(1_345, 1_655);
      expect((counts.get('first') ?? 0) + (counts.get('second') ?? 0)).to.equal(2_000);
    }));

  it('pick the same provider for the same notification every time', () =>
    withRouter(weighted, async (router) => {
      const row = aNotification();
      const [name] = namesOf(await router.plan(row, [0], none));
      for (let i = 0; i < 5; i++) expect(namesOf(await router.plan(row, [0], none))).to.deep.equal([name]);
      expect((await router.plan(row, [0], none)).calls[0]?.choice).to.equal('weight');
    }));
});

describe('a provider that cannot be asked', () => {
  it('is passed over while its circuit is open, and the attempt says so', () =>
    withRouter(both, async (router) => {
      open(router, first);
      const plan = await router.plan(aNotification(), [0], none);
      expect(plan.calls[0]).to.deep.include({
        provider: second,
        choice: 'first',
        skipped: [{ provider: 'first', reason: 'circuit_open' }],
      });
    }));

  it('is probed by one call when its time has come', () =>
    withRouter([aRoute(first)], async (router, { clock }) => {
      open(router, first);
      await clock.advance(CIRCUIT.openMs);
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
      expect(namesOf(await router.plan(aNotification(), [0], none)), 'while the probe runs').to.deep.equal([]);
      tell(router, first, SENT);
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
    }));

  it('makes its notifications wait, as ROUTE_DOWN, when it is the only one', () =>
    withRouter([aRoute(first)], async (router, { clock }) => {
      open(router, first);
      const until = clock.now() + CIRCUIT.openMs;
      const { waiting } = await router.plan(aNotification(), [0], none);
      expect(waiting).to.deep.equal([{ target: 0, until, reason: 'route_down' }]);
      expect(router.blockedUntil('email')).to.equal(until);
    }));

  it('is left alone for as long as it asked for', () =>
    withRouter(both, async (router, { clock }) => {
      tell(router, first, { outcome: 'rate_limited', retryAfterMs: MINUTE });
      const during = await router.plan(aNotification(), [0], none);
      expect(during.calls[0]?.skipped).to.deep.equal([{ provider: 'first', reason: 'rate_limited' }]);
      await clock.advance(MINUTE);
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
    }));

  it('is asked on when only one recipient has had enough', () =>
    withRouter(both, async (router) => {
      tell(router, first, { outcome: 'rate_limited', retryAfterMs: MINUTE, recipientOnly: true });
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
    }));

  it('is passed over when its rate is used up', () =>
    withRouter([aRoute(first, { limit: { perMinute: 1, burst: 1 } }), aRoute(second)], async (router) => {
      await router.plan(aNotification(), [0], none);
      const plan = await router.plan(aNotification(), [0], none);
      expect(plan.calls[0]?.skipped).to.deep.equal([{ provider: 'first', reason: 'rate_limited' }]);
    }));

  it('is passed over when its messages of the day are used up', () =>
    withRouter([aRoute(first, { maxPerDay: 1 }), aRoute(second)], async (router, { clock }) => {
      await router.plan(aNotification(), [0], none);
      const plan = await router.plan(aNotification(), [0], none);
      expect(plan.calls[0]?.skipped).to.deep.equal([{ provider: 'first', reason: 'quota_used' }]);
      await clock.advance(DAY);
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
    }));

  for (const [what, result] of [
    ['a rejected message', { outcome: 'permanent_failure' }],
    ['an invalid address', { outcome: 'invalid_recipient' }],
    ['a busy mailbox', { outcome: 'temporary_failure', providerDown: false }],
    ['a rate limit', { outcome: 'rate_limited', recipientOnly: true }],
  ] as const) {
    it(`is not what ${what} makes of a provider`, () =>
      withRouter([aRoute(first)], async (router) => {
        for (let i = 0; i < 3 * CIRCUIT.failures; i++) tell(router, first, result);
        expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
      }));
  }

  it('is not what one bad endpoint makes of those of all others', () => {
    const webhooks = Object.assign(new FakeProvider('http', SENT), { perRecipient: true });
    return withRouter([aRoute(webhooks)], async (router) => {
      for (let i = 0; i < 3 * CIRCUIT.failures; i++) tell(router, webhooks, { outcome: 'unknown' });
      tell(router, webhooks, { outcome: 'rate_limited', retryAfterMs: MINUTE });
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['http']);
    });
  });

  it('is not what our own abort makes of a provider', () =>
    withRouter([aRoute(first)], async (router) => {
      const results = Array.from({ length: 20 }, () => ({ target: 0, result: { outcome: 'unknown' } as const }));
      router.told(first, results, { startedAt: JUST_NOW, aborted: true, ownSender: false });
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
    }));

  it('is probed by another call when the first one asked nothing', () =>
    withRouter([aRoute(first)], async (router, { clock }) => {
      open(router, first);
      await clock.advance(CIRCUIT.openMs);
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
      tell(router, first, { outcome: 'invalid_recipient', notAsked: true });
      expect(namesOf(await router.plan(aNotification(), [0], none))).to.deep.equal(['first']);
    }));

  it('blocks its channel only when no other provider of it can be asked', () =>
    withRouter(both, async (router, { clock }) => {
      open(router, first);
      expect(router.blockedUntil('email')).to.equal(undefined);
      tell(router, second, { outcome: 'rate_limited', retryAfterMs: SECOND });
      expect(router.blockedUntil('email')).to.equal(clock.now() + SECOND);
    }));
});
