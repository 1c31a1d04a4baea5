/**
 * The long form: `npm run crash -- --kills 200 [--pair sqlite|cluster] [--seed n] [--cuts n] [--rate n]
 * [--only points|kills|cuts] [--plan name]`.
 */
import { parseArgs } from 'node:util';
import { PLAN_NAMES, isPlan } from '../support/crash-plans.ts';
import { runLoad } from './load.ts';
import { runPoints } from './points.ts';
import type { Outcome } from './stage.ts';
import { PAIRS, missing } from './stores.ts';
import type { PairName } from './stores.ts';

const MAX_FAULTS_TOLD = 50;

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    cuts: { type: 'string', default: '20' },
    pair: { type: 'string' },
    seed: { type: 'string', default: '1' },
    // Sends a second. mongo-java-server on a small machine keeps pace with far fewer.
    rate: { type: 'string', default: '300' },
    only: { type: 'string' },
    plan: { type: 'string' },
  },
});

if (values.plan !== undefined && !isPlan(values.plan)) throw new Error(`there is no plan ${values.plan}`);

const tell = (line: string): void => void process.stdout.write(`${line}\n`);

function report(what: string, { faults, byStatus, ...figures }: Outcome & Readonly<Record<string, unknown>>): boolean {
  tell(`\n${what}: ${faults.length === 0 ? 'every promise held' : `${faults.length} promises broken`}`);
  for (const [name, value] of Object.entries({ ...figures, ...byStatus })) {
    const shown = typeof value === 'number' ? Math.round(value * 10) / 10 : JSON.stringify(value);
    tell(`  ${name.padEnd(34)} ${shown}`);
  }
  for (const fault of faults.slice(0, MAX_FAULTS_TOLD)) tell(`  broken: ${fault}`);
  return faults.length === 0;
}

async function runPair(pair: PairName): Promise<boolean> {
  const absent = missing(pair);
  if (absent) {
    tell(`\n${pair}: skipped, because ${absent}`);
    return true;
  }
  const seed = Number(values.seed);
  const rate = Number(values.rate);
  const wants = (what: string): boolean => values.only === undefined || values.only === what;
  const results: boolean[] = [];
  if (wants('points')) {
    for (const plan of PLAN_NAMES.filter((name) => values.plan === undefined || values.plan === name)) {
      const outcome = await runPoints({ pair, plans: new Map([[plan, undefined]]) });
      results.push(report(`${pair}, ${plan}: a crash at every call`, { ...outcome }));
    }
  }
  if (wants('kills')) {
    const times = Number(values.kills);
    const outcome = await runLoad({ pair, seed, trouble: 'kills', times, rate });
    results.push(report(`${pair}, ${times} kills, seed ${seed}`, { ...outcome }));
  }
  if (pair === 'cluster' && wants('cuts')) {
    const times = Number(values.cuts);
    const outcome = await runLoad({ pair, seed, trouble: 'cuts', times, rate });
    results.push(report(`${pair}, ${times} cuts of the network to MongoDB, seed ${seed}`, { ...outcome }));
  }
  return results.every(Boolean);
}

const chosen = PAIRS.filter((pair) => values.pair === undefined || pair === values.pair);
const results: boolean[] = [];
for (const pair of chosen) results.push(await runPair(pair));
process.exitCode = results.length > 0 && results.every(Boolean) ? 0 : 1;
