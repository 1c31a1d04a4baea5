/** Gathers the values of the file, the variables and the flags, in that order; the later one wins. */
import { distance } from 'fastest-levenshtein';
import { TomlError, parse } from 'smol-toml';
import type { Schema, Value } from './schema.ts';
import { checkValue, Fault } from './value.ts';
import type { CheckContext } from './value.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** A value as somebody gave it. */
interface Given {
  readonly path: string;
  readonly value: unknown;
  /** It came as text: see `checkValue`. */
  readonly text: boolean;
  /** Who gave it, for the message. */
  readonly source: string;
  /** A variable in it is not set, which was told: there is no value to check. */
  readonly missing?: boolean;
}

export interface Sources {
  /** Name and text of the user's file, where there is one. */
  readonly file?: { readonly name: string; readonly text: string };
  readonly environment: Environment;
  /** `key=value`, in order. */
  readonly flags: readonly string[];
}

export interface Gathered {
  readonly values: ReadonlyMap<string, Value>;
  /** The keys whose value was refused; they hold their defaults. */
  readonly refused: ReadonlySet<string>;
  /** One sentence each. */
  readonly faults: readonly string[];
}

const PREFIX = 'CARILLON_';
/** Names the file, so it is no key. */
export const FILE_VARIABLE = 'CARILLON_CONFIG';

/**
 * Kubernetes and container links set such variables for a service called carillon; they are nobody's mistake.
 * https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
const INJECTED = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$/;

export function gather(schema: Schema, sources: Sources, context: CheckContext): Gathered {
  const faults: string[] = [];
  const given = [
    ...fromFile(schema, sources, faults),
    ...fromEnvironment(schema, sources.environment, faults),
    ...fromFlags(sources.flags, faults),
  ];
  const values = new Map<string, Value>([...schema.keys.values()].map((key) => [key.path, key.fallback]));
  const refused = new Set<string>();
  for (const { path, value, text, source, missing = false } of given) {
    const spec = schema.keys.get(path);
    if (!spec) {
      faults.push(`${source}: ${path} is not a key${suggestion(path, schema.keys.keys())}`);
      continue;
    }
    if (missing) {
      refused.add(path);
      continue;
    }
    const checked = checkValue(spec, value, text, context);
    if (checked instanceof Fault) {
      faults.push(`${source}: ${path} ${checked.message}`);
      refused.add(path);
    } else {
      values.set(path, checked);
      refused.delete(path);
    }
  }
  return { values, refused, faults };
}

/** The nearest known name, unless it is further away than a slip of the finger or a missing section explains. */
function suggestion(name: string, known: Iterable<string>): string {
  const last = (path: string): string => path.slice(path.lastIndexOf('.') + 1);
  const candidates = [...known].map((k) => ({ k, away: distance(name, k) - (last(k) === last(name) ? 8 : 0) }));
  const best = candidates.toSorted((a, b) => a.away - b.away)[0];
  return best && best.away <= Math.max(2, name.length / 3) ? `; did you mean ${best.k}?` : '';
}

function fromFile(schema: Schema, sources: Sources, faults: string[]): Given[] {
  if (!sources.file) return [];
  const { name, text } = sources.file;
  const given: Given[] = [];
  const visit = (table: object, prefix: string): void => {
    for (const [key, value] of Object.entries(table)) {
      const path = prefix === '' ? key : `${prefix}.${key}`;
      if (isTable(value) && !schema.keys.has(path)) visit(value, path);
      else given.push(fileValue({ path, value, text: false, source: name }, sources.environment, faults));
    }
  };
  try {
    visit(parse(text), '');
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown;
    // The rest of the parser's message quotes the file, and with it perhaps a secret.
    faults.push(`${name}: line ${thrown.line}, column ${thrown.column} is not TOML`);
  }
  return oneProvider(given, faults);
}

const isTable = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** `provider = "smtp"` stands for `providers = ["smtp"]`. */
function oneProvider(given: readonly Given[], faults: string[]): Given[] {
  return given.map((entry) => {
    if (!/^notifications\.[a-z_]+\.provider$/.test(entry.path) || typeof entry.value !== 'string') return entry;
    const path = `${entry.path}s`;
    if (given.some((other) => other.path === path))
      faults.push(`${entry.source}: ${path} and provider exclude each other`);
    return { ...entry, path, value: [entry.value] };
  });
}

function fileValue(entry: Given, environment: Environment, faults: string[]): Given {
  const missing = new Set<string>();
  const { value, replaced } = substitute(entry.value, environment, missing);
  for (const name of missing)
    faults.push(`${entry.source}: ${entry.path} needs the variable ${name}, which is not set`);
  return { ...entry, value, text: replaced, missing: missing.size > 0 };
}

/** Puts variables in for `${NAME}`, in every text of the value; `$${NAME}` stands for `${NAME}` itself. */
function substitute(
  value: unknown,
  environment: Environment,
  missing: Set<string>,
): { value: unknown; replaced: boolean } {
  let replaced = false;
  const visit = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(visit);
    if (isTable(node)) return Object.fromEntries(Object.entries(node).map(([key, inner]) => [key, visit(inner)]));
    if (typeof node !== 'string') return node;
    return node.replace(/\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (whole, escape: string, name: string) => {
      if (escape !== '') return whole.slice(1);
      replaced = true;
      const found = environment[name];
      if (found === undefined) missing.add(name);
      return found ?? '';
    });
  };
  return { value: visit(value), replaced };
}

export const variableOf = (path: string): string => PREFIX + path.replaceAll('.', '_').toUpperCase();

function fromEnvironment(schema: Schema, environment: Environment, faults: string[]): Given[] {
  const paths = new Map([...schema.keys.keys()].map((path) => [variableOf(path), path]));
  const given: Given[] = [];
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith(PREFIX) || name === FILE_VARIABLE || value === undefined) continue;
    const path = paths.get(name);
    if (path !== undefined) given.push({ path, value, text: true, source: name });
    else if (!INJECTED.test(name))
      faults.push(`${name} is not a variable of Carillon${suggestion(name, paths.keys())}`);
  }
  return given;
}

function fromFlags(flags: readonly string[], faults: string[]): Given[] {
  return flags.flatMap((flag) => {
    const at = flag.indexOf('=');
    if (at > 0) return [{ path: flag.slice(0, at).trim(), value: flag.slice(at + 1), text: true, source: '--set' }];
    faults.push('--set needs key=value');
    return [];
  });
}
