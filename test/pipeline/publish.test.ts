import { expect } from 'chai';
import fc from 'fast-check';
import { MINUTE, SECOND } from '../../src/domain/clock.ts';
import type { Notification } from '../../src/domain/notification.ts';
import { cancelled, claim, enqueue, sent, wait } from '../../src/domain/transitions.ts';
import type { FeedEvent } from '../../src/feed/feed.ts';
import { Publisher } from '../../src/pipeline/publish.ts';
import type { Cleared } from '../../src/storage/storage.ts';
import type { Failure } from '../support/fake-faults.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { aCall, SAMPLE_TIME, aNotification, withState } from '../support/sample.ts';

const LOST: Failure = { reason: 'FEED_UNAVAILABLE' };
const LOST_ANSWER: Failure = { reason: 'FEED_UNAVAILABLE', after: true };

const versionsOf = (events: readonly FeedEvent[], row: Notification): number[] =>
  events.filter((event) => event.notificationId === row.spec.id).map((event) => event.version);

const upTo = (version: number): number[] => Array.from({ length: version }, (_, i) => i + 1);

/** Moves a row on and stores it, as its next writer does. */
async function write(pipeline: Pipeline, before: Notification, after: Notification): Promise<Notification> {
  if (!(await pipeline.rows.writeOne(before, after))) throw new Error('the row moved on');
  return after;
}

/** Waits for everything that a publisher has taken over. */
async function told(pipeline: Pipeline, row: Notification): Promise<void> {
  await pipeline.clock.until(`version ${row.state.version}`, async () =>
    versionsOf(await pipeline.fed(), row).includes(row.state.version),
  );
}

describe('publish', () => {
  it('tells every version once and in order while rows move on', async () => {
    await using pipeline = await openPipeline();
    let rows = Array.from({ length: 20 }, () => aNotification());
    await pipeline.rows.insert(rows);
    for (let round = 0; round < 10; round++) {
      rows = await Promise.all(rows.map((row) => write(pipeline, row, enqueue(row, SAMPLE_TIME + round))));
    }
    for (const row of rows) await told(pipeline, row);
    const events = await pipeline.fed();
    for (const row of rows) expect(versionsOf(events, row)).to.deep.equal(upTo(11));
  });

  it('tells every version in order, and none twice to who drops repeats, however appends fail', async () => {
    const failures = fc.array(fc.constantFrom(undefined, undefined, LOST, LOST_ANSWER), {
      minLength: 30,
      maxLength: 30,
    });
    await fc.assert(
      fc.asyncProperty(failures, fc.array(fc.nat(2), { minLength: 5, maxLength: 25 }), async (plan, moves) => {
        let appends = 0;
        const fault = (method: string): Failure | undefined => (method === 'append' ? plan[appends++] : undefined);
        await using pipeline = await openPipeline({ feed: fault });
        const rows = [aNotification(), aNotification(), aNotification()];
        await pipeline.rows.insert(rows);
        for (const index of moves) {
          const row = rows[index];
          if (!row) continue;
          rows[index] = await write(pipeline, row, enqueue(row, pipeline.clock.now()));
          if (index === 0) await pipeline.clock.advance(SECOND);
        }
        for (const row of rows) await told(pipeline, row);
        const events = await pipeline.fed();
        for (const row of rows) {
          const firsts = [...new Set(versionsOf(events, row))];
          expect(firsts).to.deep.equal(upTo(row.state.version));
        }
        const rejected = plan.slice(0, appends).filter((failure) => failure === LOST_ANSWER).length;
        if (rejected === 0) expect(events).to.have.length(rows.reduce((n, row) => n + row.state.version, 0));
      }),
      { numRuns: 12 },
    );
  });

  it('appends one batch of a notification at a time, and takes a newer row into the next one', async () => {
    const gate = Promise.withResolvers<undefined>();
    const appended: number[][] = [];
    const fault = async (method: string, [events]: readonly unknown[]): Promise<undefined> => {
      if (method !== 'append') return undefined;
      // The port's only argument of append.
      appended.push((events as FeedEvent[]).map((event) => event.version));
      return gate.promise;
    };
    await using pipeline = await openPipeline({ feed: fault });
    const row = aNotification();
    await pipeline.rows.insert([row]);
    await pipeline.clock.until('the first append', () => appended.length === 1);
    const second = await write(pipeline, row, enqueue(row, SAMPLE_TIME + 1));
    const third = await write(pipeline, second, enqueue(second, SAMPLE_TIME + 2));
    await pipeline.clock.advance(MINUTE);
    expect(appended).to.deep.equal([[1]]);
    gate.resolve(undefined);
    await told(pipeline, third);
    expect(appended).to.deep.equal([[1], [2, 3]]);
  });

  it('clears the events of a row that rests only after the feed has them, and says when it next needs a look', async () => {
    const outage = new Outage('FEED_UNAVAILABLE', 'append');
    await using pipeline = await openPipeline({ feed: outage.fault });
    outage.on = true;
    const held = wait(aNotification(), { reason: 'rate_limited', dueAt: SAMPLE_TIME + 1e7, naked: false }, SAMPLE_TIME);
    const ended = cancelled(aNotification(), 'expired', SAMPLE_TIME);
    await pipeline.rows.insert([held, ended]);
    await pipeline.clock.advance(10 * SECOND);
    expect((await pipeline.stored(ended.spec.id)).state).to.include({ published: 0, wakeAt: SAMPLE_TIME + MINUTE });
    outage.on = false;
    await pipeline.clock.until('the row is cleared', async () => {
      const { state } = await pipeline.stored(ended.spec.id);
      return state.published === 2 && state.wakeAt === undefined;
    });
    const { state } = await pipeline.stored(held.spec.id);
    expect(state).to.include({ version: 2, published: 2, wakeAt: SAMPLE_TIME + 1e7 });
  });

  it('clears under the version that was told, so that a row that moved on keeps its newer event', async () => {
    const cleared: Cleared[] = [];
    const fault = (method: string, [marks]: readonly unknown[]): undefined => {
      // The port's only argument of clear.
      if (method === 'clear') cleared.push(...(marks as Cleared[]));
      return undefined;
    };
    await using pipeline = await openPipeline({ storage: fault });
    const first = wait(aNotification(), { reason: 'retrying', dueAt: SAMPLE_TIME + 1e7, naked: false }, SAMPLE_TIME);
    await pipeline.rows.insert([first]);
    await told(pipeline, first);
    // Another process writes the row before the lazy clearing comes round.
    const elsewhere = cancelled(first, 'cancelled_by_caller', SAMPLE_TIME);
    await pipeline.storage.update([{ from: 2, row: elsewhere }]);
    await pipeline.clock.until('the clearing', () => cleared.length > 0);
    await pipeline.clock.advance(SECOND);
    expect(cleared.map(({ version, published }) => ({ version, published }))).to.deep.equal([
      { version: 2, published: 2 },
    ]);
    expect((await pipeline.stored(first.spec.id)).state).to.include({ version: 3, published: 0 });
  });

  it('leaves rows that are queued or being sent to their next write, which carries what is acknowledged', async () => {
    const cleared: string[] = [];
    const fault = (method: string): undefined => void (method === 'clear' && cleared.push(method));
    await using pipeline = await openPipeline({ storage: fault });
    const row = aNotification();
    await pipeline.rows.insert([row]);
    await told(pipeline, row);
    await pipeline.clock.until('the acknowledgement', () => pipeline.publisher.acked(row.spec.id) === 1);
    await pipeline.clock.advance(5 * SECOND);
    expect(cleared).to.deep.equal([]);
    const claimed = claim(row, { id: 'lease', until: SAMPLE_TIME + MINUTE }, [aCall()], SAMPLE_TIME);
    await write(pipeline, row, claimed);
    expect((await pipeline.stored(row.spec.id)).state).to.include({ version: 2, published: 1 });
  });

  it('publishes nothing again that this process knows to be acknowledged', async () => {
    await using pipeline = await openPipeline();
    const row = sent(aNotification(), { targets: [{ address: 'a', outcome: 'sent' }], attempts: [] }, SAMPLE_TIME);
    await pipeline.rows.insert([row]);
    await told(pipeline, row);
    await pipeline.clock.until('the acknowledgement', () => pipeline.publisher.acked(row.spec.id) === 2);
    pipeline.publisher.publish(withState(row, { published: 0 }));
    await pipeline.clock.advance(SECOND);
    expect(versionsOf(await pipeline.fed(), row)).to.deep.equal([1, 2]);
  });

  it('takes over a row from where its last writer came to', async () => {
    await using pipeline = await openPipeline();
    const row = withState(enqueue(enqueue(aNotification(), SAMPLE_TIME), SAMPLE_TIME), { published: 2 });
    pipeline.publisher.publish(row);
    await told(pipeline, row);
    expect(versionsOf(await pipeline.fed(), row)).to.deep.equal([3]);
  });

  it('holds no more than 50,000 rows in memory and leaves the others to the scheduler', async () => {
    await using pipeline = await openPipeline();
    const gate = Promise.withResolvers<void>();
    let appended = 0;
    const append = async (events: readonly FeedEvent[]): Promise<void> => {
      await gate.promise;
      appended += events.length;
    };
    await using publisher = new Publisher({ ...pipeline, feed: { append } });
    const rows = Array.from({ length: 50_010 }, () => aNotification());
    for (const row of rows) publisher.publish(row);
    gate.resolve();
    await pipeline.clock.until('the last one in memory', () => publisher.acked(rows[49_999]?.spec.id ?? '') === 1);
    expect(appended).to.equal(50_000);
    expect(publisher.acked(rows[0]?.spec.id ?? ''), 'the oldest acknowledgements are forgotten').to.equal(0);
  });

  it('publishes and clears at its end what it still holds', async () => {
    await using pipeline = await openPipeline();
    const ended = cancelled(aNotification(), 'expired', SAMPLE_TIME);
    await pipeline.rows.insert([ended]);
    await pipeline.publisher[Symbol.asyncDispose]();
    expect(versionsOf(await pipeline.fed(), ended)).to.deep.equal([1, 2]);
    expect((await pipeline.stored(ended.spec.id)).state).to.include({ published: 2 });
  });

  it('ends while the feed is away', async () => {
    const outage = new Outage('FEED_UNAVAILABLE', 'append');
    await using pipeline = await openPipeline({ feed: outage.fault });
    outage.on = true;
    const ended = cancelled(aNotification(), 'expired', SAMPLE_TIME);
    await pipeline.rows.insert([ended]);
    await pipeline.publisher[Symbol.asyncDispose]();
    expect((await pipeline.stored(ended.spec.id)).state).to.include({ published: 0, wakeAt: SAMPLE_TIME + MINUTE });
  });

  it('leaves a row whose clearing failed to the scheduler', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'clear');
    await using pipeline = await openPipeline({ storage: outage.fault });
    outage.on = true;
    const ended = cancelled(aNotification(), 'expired', SAMPLE_TIME);
    await pipeline.rows.insert([ended]);
    await pipeline.clock.until('the failure is told', () =>
      pipeline.lines.some((line) => line.fields['step'] === 'clear'),
    );
    outage.on = false;
    expect((await pipeline.stored(ended.spec.id)).state.wakeAt).to.equal(SAMPLE_TIME + MINUTE);
    pipeline.publisher.publish(await pipeline.stored(ended.spec.id));
    await pipeline.clock.until('it is cleared', async () => {
      const { state } = await pipeline.stored(ended.spec.id);
      return state.published === 2 && state.wakeAt === undefined;
    });
    expect(versionsOf(await pipeline.fed(), ended)).to.deep.equal([1, 2]);
  });
});
