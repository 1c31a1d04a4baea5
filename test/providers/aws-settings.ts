import type { ProviderDefinition } from '../../src/providers/definition.ts';
import type { GivenSettings } from './open-provider.ts';

/** What is wrong with these settings, where the configuration names no general sender. */
export function definitionFaults(definition: ProviderDefinition, given: GivenSettings): readonly string[] {
  return definition.configure((name) => given[name] ?? definition.settings[name]?.fallback ?? '').faults({});
}
