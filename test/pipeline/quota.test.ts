import { expect } from 'chai';
import { DAY } from '../../src/domain/clock.ts';
import { Quota } from '../../src/pipeline/quota.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import { ManualClock } from '../support/manual-clock.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';

async function takeAll(quotas: readonly Quota[], perDay: number): Promise<number> {
  let taken = 0;
  const full = new Set<Quota>();
  while (full.size < quotas.length) {
    for (const quota of quotas) {
      if ((await quota.take('email.ses', perDay)) === undefined) taken += 1;
      else full.add(quota);
    }
  }
  return taken;
}

const two = ({ storage, clock, events }: Pipeline): readonly [Quota, Quota] => [
  new Quota(storage, clock, events),
  new Quota(storage, clock, events),
];

describe('a quota', () => {
  for (const perDay of [1, 2, 7, 1_000]) {
    it(`of ${perDay} lets exactly so many through in a day, over two processes`, async () => {
      await using pipeline = await openPipeline();
      expect(await takeAll(two(pipeline), perDay)).to.equal(perDay);
    });
  }

  it('says that it is used up until midnight, UTC, and begins anew then', async () => {
    await using pipeline = await openPipeline();
    const { clock } = pipeline;
    const [quota] = two(pipeline);
    await quota.take('email.ses', 1);
    const midnight = (Math.floor(clock.now() / DAY) + 1) * DAY;
    expect(await quota.take('email.ses', 1)).to.equal(midnight);
    await clock.advance(midnight - clock.now());
    expect(await quota.take('email.ses', 1)).to.equal(undefined);
  });

  it('does not use tokens of yesterday today', async () => {
    await using pipeline = await openPipeline();
    const [first, second] = two(pipeline);
    expect(await first.take('email.ses', 1_000), 'leases several').to.equal(undefined);
    await pipeline.clock.advance(DAY);
    expect(await takeAll([first, second], 1_000)).to.equal(1_000);
  });

  it('is not begun anew by a process by whose clock yesterday goes on', async () => {
    await using pipeline = await openPipeline();
    const { storage, clock, events } = pipeline;
    const midnight = Math.ceil(clock.now() / DAY) * DAY;
    const [today, yesterday] = [midnight, midnight - 1].map(
      (now) => new Quota(storage, new ManualClock(now), events),
    ) as [Quota, Quota];
    expect(await takeAll([today], 10)).to.equal(10);
    expect(await yesterday.take('email.ses', 10)).to.equal(midnight);
    expect(await takeAll([new Quota(storage, new ManualClock(midnight), events)], 10)).to.equal(0);
  });

  it('does not believe a process whose clock is days ahead', async () => {
    await using pipeline = await openPipeline();
    const { storage, clock, events } = pipeline;
    await new Quota(storage, new ManualClock(clock.now() + 365 * DAY), events).take('email.ses', 10);
    expect(await takeAll(two(pipeline), 10)).to.equal(10);
  });

  it('that is used up is told once, and the store is not asked again that day', async () => {
    const reads: string[] = [];
    await using pipeline = await openPipeline({ storage: (method) => void reads.push(method) });
    const [quota] = two(pipeline);
    for (let i = 0; i < 3; i++) await quota.take('email.ses', 1);
    expect(pipeline.lines.filter(({ fields }) => fields['event'] === 'quota_used')).to.have.length(1);
    const before = reads.length;
    await quota.take('email.ses', 1);
    expect(reads).to.have.length(before);
  });

  it('is kept apart by name', async () => {
    await using pipeline = await openPipeline();
    const [quota] = two(pipeline);
    await quota.take('email.ses', 1);
    expect(await quota.take('email.sendgrid', 1)).to.equal(undefined);
  });

  it('shares one refill among those who wait for it', async () => {
    await using pipeline = await openPipeline();
    const [quota] = two(pipeline);
    const answers = await Promise.all(Array.from({ length: 10 }, () => quota.take('email.ses', 4)));
    expect(answers.filter((answer) => answer === undefined)).to.have.length(4);
  });

  it('rejects while the store is away', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'readLimit');
    await using pipeline = await openPipeline({ storage: outage.fault });
    outage.on = true;
    const thrown = await two(pipeline)[0]
      .take('email.ses', 4)
      .catch((error: unknown) => error);
    expect(thrown).to.have.property('reason', 'STORE_UNAVAILABLE');
  });
});
