import { systemClock } from '../../src/domain/clock.ts';
import type { OpenContext, ProviderDefinition } from '../../src/providers/definition.ts';
import type { Provider } from '../../src/providers/provider.ts';
import type { Value } from '../../src/config/schema.ts';

/** Settings by their names in the code, with the values they have in the file; the others have their defaults. */
export type GivenSettings = Readonly<Record<string, Value>>;

/** Opens a provider as the configuration would. */
export async function openProvider(
  definition: ProviderDefinition,
  given: GivenSettings,
  context: Partial<OpenContext> = {},
): Promise<Provider> {
  const [channel] = definition.channels;
  const unknown = Object.keys(given).find((name) => !(name in definition.settings));
  if (channel === undefined || unknown !== undefined) throw new Error(`no setting ${unknown} of ${definition.name}`);
  const configured = definition.configure((name) => given[name] ?? definition.settings[name]?.fallback ?? '');
  return await configured.open({
    name: definition.name,
    channel,
    senders: { emailAddress: 'shop@example.org', emailName: 'Shop', sms: '+15550000001' },
    clock: systemClock,
    ...context,
  });
}
