import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import fc from 'fast-check';
import { mapConcurrently } from '../../src/rpc/concurrent.ts';
import { eventually } from '../support/eventually.ts';

async function* numbers(count: number, onEnd: () => void = () => {}): AsyncGenerator<number> {
  try {
    for (let i = 0; i < count; i++) yield i;
  } finally {
    onEnd();
  }
}

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}

const thrownBy = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );

describe('mapConcurrently', () => {
  it('yields one result per item, in whatever order they end, with at most `limit` under way', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.nat(40), fc.integer({ min: 1, max: 8 }), async (scheduler, count, limit) => {
        let underWay = 0;
        let most = 0;
        const work = scheduler.scheduleFunction(async (n: number) => n);
        const results = collect(
          mapConcurrently(numbers(count), limit, async (n) => {
            most = Math.max(most, ++underWay);
            const result = await work(n);
            underWay--;
            return result;
          }),
        );
        const all = await scheduler.waitFor(results);
        expect(all.toSorted((a, b) => a - b)).to.deep.equal(Array.from({ length: count }, (_, i) => i));
        expect(most).to.be.at.most(limit);
      }),
    );
  });

  it('yields a result as soon as it is there, whatever came before it', async () => {
    const slow = Promise.withResolvers<string>();
    const results = mapConcurrently(numbers(2), 2, async (n) => (n === 0 ? slow.promise : 'quick'));
    expect((await results.next()).value).to.equal('quick');
    slow.resolve('slow');
    expect((await results.next()).value).to.equal('slow');
    expect(await results.next()).to.include({ done: true });
  });

  it('reads no further while results wait to be taken', async () => {
    let read = 0;
    async function* source(): AsyncGenerator<number> {
      for (;;) yield read++;
    }
    const results = mapConcurrently(source(), 3, async (n) => n);
    await results.next();
    for (let i = 0; i < 50; i++) await turn();
    expect(read).to.be.at.most(5);
    await results.return(undefined);
  });

  it('ends with the error of an item, and lets the source go', async () => {
    const fault = new Error('of the item');
    let ended = false;
    const results = mapConcurrently(
      numbers(100, () => (ended = true)),
      2,
      async (n) => {
        if (n === 3) throw fault;
        return n;
      },
    );
    expect(await thrownBy(collect(results))).to.equal(fault);
    await eventually('the source is let go', () => ended);
  });

  it('ends with the error of the source', async () => {
    const fault = new Error('of the source');
    async function* source(): AsyncGenerator<number> {
      yield 1;
      throw fault;
    }
    expect(await thrownBy(collect(mapConcurrently(source(), 4, async (n) => n)))).to.equal(fault);
  });

  it('lets the source go when its reader leaves early', async () => {
    let ended = false;
    for await (const first of mapConcurrently(
      numbers(100, () => (ended = true)),
      4,
      async (n) => n,
    )) {
      expect(first).to.equal(0);
      break;
    }
    await eventually('the source is let go', () => ended);
  });

  it('ends with an empty source', async () => {
    expect(await collect(mapConcurrently(numbers(0), 4, async (n) => n))).to.deep.equal([]);
  });
});
