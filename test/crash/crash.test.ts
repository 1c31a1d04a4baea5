/** The short form of the crash suite; the long one is `npm run crash`. */
import { expect } from 'chai';
import { PLAN_NAMES } from '../support/crash-plans.ts';
import type { PlanName } from '../support/crash-plans.ts';
import { findProgram } from '../support/child-server.ts';
import { MONGO_START_DEADLINE_MS } from '../support/start-mongo.ts';
import { runLoad } from './load.ts';
import { seeded } from './orders.ts';
import { runPoints } from './points.ts';
import type { Spot } from './points.ts';
import { PAIRS, missing } from './stores.ts';
import type { PairName } from './stores.ts';

/** Every run tries others; a failure names its seed, and `npm run crash -- --seed` repeats it. */
const SEED = Math.floor(Math.random() * 1_000_000);
/** Sends a second: what a busy machine can serve next to the other tests. The long form has the full load. */
const RATE = 60;
const DEADLINE = MONGO_START_DEADLINE_MS + 240_000;
const KILLS = 8;
const CUTS = 2;
/** Calls of a port that every plan makes. */
const CALLS = 12;

/** The writes of a report: before its answer, and behind it into the row (after claim and settle) and into the receipt. */
const RECEIPT_SPOTS: readonly Spot[] = [
  { name: 'saveReceipts', call: 1 },
  { name: 'update', call: 3 },
  { name: 'markReceipts', call: 1 },
];

/** One call of each of some plans. */
function somePlans(count: number, random: () => number): [PlanName, readonly Spot[]][] {
  const plans = PLAN_NAMES.filter((plan) => plan !== 'sent').toSorted(() => random() - 0.5);
  return plans.slice(0, count).map((plan) => [plan, [{ call: 1 + Math.floor(random() * CALLS) }]]);
}

/** On a store of its own, all of it under every promise of the judge. */
const POINTS: Readonly<Record<PairName, () => Map<PlanName, readonly Spot[] | undefined>>> = {
  sqlite: () => new Map([...somePlans(4, seeded(SEED)), ['sent', undefined], ['delivered', RECEIPT_SPOTS]]),
  cluster: () => new Map([...somePlans(3, seeded(SEED)), ['delivered', RECEIPT_SPOTS]]),
};

for (const pair of PAIRS) {
  const absent = missing(pair);
  const note = absent ? `skipped: ${absent}` : `seed ${SEED}`;
  describe(`Carillon on ${pair}, killed without warning (${note})`, function () {
    this.timeout(DEADLINE);

    before(function () {
      if (absent) this.skip();
    });

    it('keeps every promise over a crash at each call of a port', async () => {
      const { faults, deaths } = await runPoints({ pair, plans: POINTS[pair]() });
      expect(faults).to.deep.equal([]);
      const words = deaths.join('\n');
      for (const { name } of RECEIPT_SPOTS) expect(words).to.include(`before ${name}`).and.to.include(`after ${name}`);
    });

    it('keeps every promise over kill -9 at random moments under load', async () => {
      const options = { pair, seed: SEED, trouble: 'kills', times: KILLS, rate: RATE } as const;
      const { faults, accepted, receipts } = await runLoad(options);
      expect(faults).to.deep.equal([]);
      expect(accepted).to.be.above(KILLS);
      expect(receipts).to.be.above(KILLS);
    });

    if (pair === 'cluster') {
      it('keeps every promise while the network to MongoDB breaks and swallows', async () => {
        const { faults, accepted } = await runLoad({ pair, seed: SEED, trouble: 'cuts', times: CUTS, rate: RATE });
        expect(faults).to.deep.equal([]);
        expect(accepted).to.be.above(CUTS);
      });

      const hasMongod = findProgram('mongod') !== undefined && !process.env['MONGODB_URL'];
      it(`keeps every promise over kill -9 of the database under load${hasMongod ? '' : ' (needs mongod)'}`, async function () {
        if (!hasMongod) this.skip();
        const { faults } = await runLoad({ pair, seed: SEED, trouble: 'mongod kills', times: CUTS, rate: RATE });
        expect(faults).to.deep.equal([]);
      });
    }
  });
}
