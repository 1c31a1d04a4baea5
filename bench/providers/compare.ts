/** What each provider sends per second to a double of its service, beside the library of the service or bare HTTP clients. */
import * as registry from '../../src/providers/registry.ts';
import { Child } from '../processes.ts';
import { round, say } from '../report.ts';
import type { ProviderRates } from './rates.ts';
import type { Doubles } from './subject.ts';
import { SUBJECTS } from './subjects.ts';

/** Below it a provider's own part of a call would be felt beside the library's. */
const TARGET = 0.8;
/** Call nobody, or are another one under a second name. */
const LEFT_OUT = ['capture', 'store', 'smtp_fallback'];

/** @param names of the providers; all that leave the process unless given. @param milliseconds of a round */
export async function benchProviders(names: readonly string[] | undefined, milliseconds: number): Promise<void> {
  const outside = Object.values(registry).flatMap(({ name }) => (LEFT_OUT.includes(name) ? [] : [name]));
  const wanted = names ?? outside;
  const unknown = wanted.filter((name) => !outside.includes(name));
  if (unknown.length > 0) throw new Error(`no such provider: ${unknown.join(', ')}`);
  say('\nproviders');
  await using vendors = new Child(['bench/providers/double.ts']);
  await using relay = new Child(['bench/smtp-sink.ts']);
  const { caFile, http, tls } = await vendors.json<Omit<Doubles, 'smtpPort'> & { readonly caFile: string }>('tls');
  const { port: smtpPort } = await relay.json<{ readonly port: number }>('port');
  const doubles: Doubles = { http, tls, smtpPort };
  const environment = { NODE_EXTRA_CA_CERTS: caFile, NO_PROXY: '127.0.0.1' };
  for (const name of wanted) {
    if (!SUBJECTS.some(({ definition }) => definition.name === name)) {
      say(`  ${name.padEnd(16)} is not measured`);
      continue;
    }
    const args = ['bench/providers/rates.ts', name, String(milliseconds), JSON.stringify(doubles)];
    await using child = new Child(args, environment);
    report(name, await child.json<ProviderRates>('ours'));
  }
}

function report(name: string, { ours, against }: ProviderRates): void {
  for (const [other, bare] of Object.entries(against)) {
    const ratio = ours.perSecond / bare.perSecond;
    const figures = `${round(ours.perSecond).padStart(8)}/s  bare ${round(bare.perSecond).padStart(7)}/s`;
    const verdict = `ratio ${ratio.toFixed(2)} ${ratio >= TARGET ? 'ok' : `below ${TARGET}`}`;
    const cpu = `CPU ${round(ours.cpu)} beside ${round(bare.cpu)} µs`;
    say(`  ${name.padEnd(16)}${figures}  ${verdict.padEnd(20)}  ${cpu.padEnd(26)}  bare: ${other}`);
  }
}
