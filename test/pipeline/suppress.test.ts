import { expect } from 'chai';
import { MINUTE } from '../../src/domain/clock.ts';
import type { NotificationSpec } from '../../src/domain/notification.ts';
import { reasonToStop, withStopped, Suppressor } from '../../src/pipeline/suppress.ts';
import type { SuppressionInput } from '../../src/pipeline/suppress.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import { aNotification, aSuppression } from '../support/sample.ts';

const bounce = (more: Partial<SuppressionInput> = {}): SuppressionInput => ({
  tenant: 'default',
  channel: 'email',
  address: 'ana@example.com',
  reason: 'hard_bounce',
  source: 'ses',
  ...more,
});
const specOf = (more: Partial<NotificationSpec> = {}): NotificationSpec => aNotification({ spec: more }).spec;

async function stops(given: SuppressionInput, spec: NotificationSpec, address: string): Promise<boolean> {
  await using pipeline = await openPipeline();
  await pipeline.suppressor.add([given]);
  const [stop] = await pipeline.suppressor.stops(spec, [address]);
  return stop !== undefined;
}

describe('a suppression', () => {
  it('stops its address, however it is spelt', async () => {
    expect(await stops(bounce(), specOf(), 'ana@example.com')).to.equal(true);
    expect(await stops(bounce({ address: 'Ana@Example.COM ' }), specOf(), 'ana@example.com')).to.equal(true);
    expect(await stops(bounce(), specOf(), 'bob@example.com')).to.equal(false);
  });

  it('stops neither another channel nor another tenant', async () => {
    expect(await stops(bounce({ channel: 'slack' }), specOf(), 'ana@example.com')).to.equal(false);
    expect(await stops(bounce({ tenant: 'other' }), specOf(), 'ana@example.com')).to.equal(false);
  });

  it('without a category stops every category, the critical one too', async () => {
    for (const category of ['marketing', 'order_updates', 'security']) {
      expect(await stops(bounce(), specOf({ category }), 'ana@example.com'), category).to.equal(true);
    }
  });

  it('with a category stops that one alone', async () => {
    const given = bounce({ category: 'marketing', reason: 'complaint' });
    expect(await stops(given, specOf({ category: 'marketing' }), 'ana@example.com')).to.equal(true);
    expect(await stops(given, specOf({ category: 'order_updates' }), 'ana@example.com')).to.equal(false);
  });

  it('of a dead token ends when the device is registered anew', async () => {
    await using pipeline = await openPipeline();
    const { suppressor, clock } = pipeline;
    const dead = bounce({ channel: 'push', address: 't', reason: 'invalid_token', source: 'fcm' });
    await suppressor.add([dead]);
    const push = (registeredAt: number): NotificationSpec =>
      specOf({ channel: 'push', recipient: { devices: [{ kind: 'fcm_token', token: 't', registeredAt }] } });
    expect(await suppressor.stops(push(clock.now() - MINUTE), ['t'])).not.to.deep.equal([undefined]);
    expect(await suppressor.stops(push(clock.now() + MINUTE), ['t'])).to.deep.equal([undefined]);
  });

  it('of a dead token ends also with a registration between its death and the day we heard of it', async () => {
    await using pipeline = await openPipeline();
    const { suppressor, clock } = pipeline;
    const died = clock.now() - 10 * MINUTE;
    const dead = bounce({ channel: 'push', address: 't', reason: 'invalid_token', source: 'apns', saidAt: died });
    await suppressor.add([dead]);
    const push = (registeredAt: number): NotificationSpec =>
      specOf({ channel: 'push', recipient: { devices: [{ kind: 'apns', token: 't', registeredAt }] } });
    expect(await suppressor.stops(push(died - 1), ['t'])).not.to.deep.equal([undefined]);
    expect(await suppressor.stops(push(died + 1), ['t'])).to.deep.equal([undefined]);
  });

  it('keeps no address', async () => {
    await using pipeline = await openPipeline();
    await pipeline.suppressor.add([bounce()]);
    const stored = await pipeline.suppressor.list({ tenant: 'default', limit: 10 });
    expect(stored).to.have.length(1);
    expect(JSON.stringify(stored)).not.to.contain('ana');
  });

  it('cannot be found with another secret', async () => {
    await using pipeline = await openPipeline();
    await pipeline.suppressor.add([bounce()]);
    const { storage, clock } = pipeline;
    const other = new Suppressor({ storage, clock, secret: 'another' });
    expect(await other.stops(specOf(), ['ana@example.com'])).to.deep.equal([undefined]);
  });

  it('that was taken away stops nothing', async () => {
    await using pipeline = await openPipeline();
    const { suppressor } = pipeline;
    await suppressor.add([bounce()]);
    expect(await suppressor.remove({ tenant: 'default', channel: 'email', address: 'ana@example.com' })).to.equal(true);
    expect(await suppressor.remove({ tenant: 'default', channel: 'email', address: 'ana@example.com' })).to.equal(
      false,
    );
    expect(await suppressor.of('default', 'email', 'ana@example.com')).to.deep.equal([]);
  });

  it('costs one read for all that is asked in one turn', async () => {
    const reads: number[] = [];
    await using pipeline = await openPipeline({
      storage: (method, args) => {
        if (method === 'findSuppressions') reads.push((args[0] as readonly string[]).length);
        return undefined;
      },
    });
    const asked = ['a@x.example', 'b@x.example', 'c@x.example'].map((a) => pipeline.suppressor.stops(specOf(), [a]));
    await Promise.all(asked);
    await pipeline.suppressor.stops(specOf(), ['a@x.example']);
    expect(reads).to.deep.equal([3, 1]);
  });
});

describe('targets that are stopped', () => {
  it('are closed, and the others stay open', () => {
    const row = aNotification({ state: { targets: [{ address: 'a' }, { address: 'b' }, { address: 'c' }] } });
    const closed = withStopped(row, [0, 2], [undefined, aSuppression()]);
    expect(closed.state.targets.map(({ outcome }) => outcome)).to.deep.equal([undefined, undefined, 'suppressed']);
  });

  it('end a notification as SUPPRESSED when one address is dead, else as UNSUBSCRIBED', () => {
    const optOut = aSuppression({ category: 'marketing' });
    expect(reasonToStop([optOut])).to.equal('unsubscribed');
    expect(reasonToStop([optOut, aSuppression()])).to.equal('suppressed');
  });
});
