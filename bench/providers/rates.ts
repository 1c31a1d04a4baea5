/**
 * One provider, a process of its own: `node bench/providers/rates.ts NAME MILLISECONDS '<JSON of Doubles>'` prints how fast
 * messages leave through the provider and without it.
 */
import { randomUUID } from 'node:crypto';
import { openProvider } from '../../test/providers/open-provider.ts';
import { speedOf, type Speed } from '../measure.ts';
import { IN_FLIGHT, type Doubles } from './subject.ts';
import { SUBJECTS } from './subjects.ts';

export interface ProviderRates {
  readonly ours: Speed;
  /** By what it was that sent instead. */
  readonly against: Readonly<Record<string, Speed>>;
}

/** Many short ones: a machine that others use as well is free for some of them, for each side. */
const ROUNDS = 6;

async function run(name: string, milliseconds: number, doubles: Doubles): Promise<ProviderRates> {
  const subject = SUBJECTS.find(({ definition }) => definition.name === name);
  if (subject === undefined) throw new Error(`no provider ${name}`);
  const { settings, message, against, close } = await subject.prepare(doubles);
  await using provider = await openProvider(subject.definition, settings);
  const send = async (): Promise<void> => {
    const { signal } = new AbortController();
    const result = await provider.send(message, { key: randomUUID(), signal });
    if (result.outcome !== 'sent') throw new Error(`${name}: ${JSON.stringify(result)}`);
  };
  const sides = [send, ...Object.values(against)];
  await turn(sides, milliseconds);
  const rounds: (readonly Speed[])[] = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push(await turn(sides, milliseconds));
  close?.();
  const [ours, ...bare] = sides.map((_side, index) => best(rounds.flatMap((round) => round[index] ?? [])));
  if (ours === undefined) throw new Error('nothing was measured');
  const names = Object.keys(against);
  return { ours, against: Object.fromEntries(bare.map((speed, index) => [names[index], speed])) };
}

/** One after the other, so that a slow minute of the machine meets them all. */
async function turn(sides: readonly (() => Promise<unknown>)[], milliseconds: number): Promise<readonly Speed[]> {
  const speeds: Speed[] = [];
  for (const side of sides) speeds.push(await speedOf(milliseconds, IN_FLIGHT, side));
  return speeds;
}

/** What else the machine does only ever takes away. */
function best(speeds: readonly Speed[]): Speed {
  return {
    perSecond: Math.max(...speeds.map(({ perSecond }) => perSecond)),
    cpu: Math.min(...speeds.map(({ cpu }) => cpu)),
  };
}

const [, main, name = '', milliseconds = '', doubles = ''] = process.argv;
if (main === import.meta.filename) {
  // The one caller is `bench/providers/compare.ts`, which wrote it from Doubles.
  const rates = await run(name, Number(milliseconds), JSON.parse(doubles) as Doubles);
  process.stdout.write(`${JSON.stringify(rates)}\n`);
}
