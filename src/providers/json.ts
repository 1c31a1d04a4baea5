/** Reading JSON that somebody else wrote: a field that is not there, or not of its kind, is undefined. */

/** A field of an object. */
export function field(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((at, name) => {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined;
    const found: unknown = Reflect.get(at, name);
    return found;
  }, value);
}

/** Of a text that is there and not empty, and of a number. */
export function textOf(value: unknown, ...path: readonly (string | number)[]): string | undefined {
  const found = field(value, ...path);
  if (typeof found === 'string') return found || undefined;
  return typeof found === 'number' ? String(found) : undefined;
}

export function numberOf(value: unknown, ...path: readonly (string | number)[]): number | undefined {
  const found = field(value, ...path);
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}

export function listOf(value: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const found = path.length === 0 ? value : field(value, ...path);
  return Array.isArray(found) ? found : [];
}
