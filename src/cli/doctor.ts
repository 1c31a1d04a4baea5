/** `carillon doctor`: are the credentials good? Asks each configured provider, and sends nothing. */
import { loadConfig, type ConfigFlags } from '../config.ts';
import { SECOND, systemClock } from '../domain/clock.ts';
import { CHANNELS } from '../domain/notification.ts';
import type { Provider } from '../providers/provider.ts';
import { openRoutes, type Routes } from '../providers/routes.ts';
import { faultsOf } from './faults.ts';

/** Milliseconds for one provider, whatever its own time-outs are: somebody is waiting in front of a screen. */
const LIMIT = 10 * SECOND;

interface Finding {
  readonly state: 'ok' | 'failed' | 'cannot be checked';
  readonly detail: string;
}

/** Exits with 1 when the configuration has a fault or a provider failed. */
export async function doctor(flags: ConfigFlags): Promise<void> {
  try {
    const { routes: configured, senders, server } = loadConfig(flags);
    const { publicUrl } = server;
    await using routes = await openRoutes(configured, { senders, publicUrl, clock: systemClock });
    const healthy = await examine(routes, (line) => process.stdout.write(`${line}\n`));
    if (!healthy) process.exitCode = 1;
  } catch (thrown) {
    process.stderr.write(`${faultsOf(thrown).join('\n')}\n`);
    process.exitCode = 1;
  }
}

/**
 * Asks all at once and tells a line for each, in the order of the channels and their lists.
 * @returns false when one has failed
 */
export async function examine(routes: Routes, tell: (line: string) => void, limit = LIMIT): Promise<boolean> {
  const providers = CHANNELS.flatMap((channel) => routes.for(channel).map(({ provider }) => provider));
  const findings = await Promise.all(
    providers.map(async (provider) => ({ provider, ...(await findingOf(provider, limit)) })),
  );
  const width = Math.max(...providers.map(({ name }) => name.length));
  for (const { provider, state, detail } of findings) {
    tell(`${provider.channel.padEnd(7)}  ${provider.name.padEnd(width)}  ${state.padEnd(17)}  ${detail}`.trimEnd());
  }
  return findings.every(({ state }) => state !== 'failed');
}

async function findingOf(provider: Provider, limit: number): Promise<Finding> {
  if (provider.check === undefined) return { state: 'cannot be checked', detail: '' };
  const { promise: late, resolve } = Promise.withResolvers<Finding>();
  const ending = new AbortController();
  const timer = setTimeout(() => {
    ending.abort();
    resolve({ state: 'failed', detail: `no answer in ${limit / SECOND} s` });
  }, limit);
  try {
    const asked = provider.check(ending.signal).then(({ ok, detail }): Finding => {
      return { state: ok ? 'ok' : 'failed', detail };
    });
    // A library that does not heed the signal is not waited for; closing its provider ends it.
    return await Promise.race([late, asked]);
  } finally {
    clearTimeout(timer);
  }
}
