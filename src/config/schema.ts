/**
 * Reads the documented default file: its comments are the explanation and the rules of each key. From the result, with the
 * keys of the providers added, come the defaults, the checks of a start and docs/config.md.
 */
import { parse } from 'smol-toml';

const FORMATS = [
  'address',
  'email',
  'file',
  'host-or-range',
  'http-url',
  'locale',
  'mongodb-url',
  'name',
  'nats-url',
  'sha256',
  'webhook-secret',
] as const;
export type Format = (typeof FORMATS)[number];

export type Kind = 'string' | 'integer' | 'fraction' | 'boolean' | 'strings' | 'tables';

/** One entry of a list of tables. */
export type TableValue = Readonly<Record<string, string | number | boolean | readonly string[]>>;
export type Value = string | number | boolean | readonly string[] | readonly TableValue[];

export interface KeySpec {
  /** Dotted, as in the file; within a list of tables the key alone. */
  readonly path: string;
  readonly kind: Kind;
  /** The default; of a required key only an example. */
  readonly fallback: Value;
  readonly doc: string;
  /** Of a string, or of each element of a list of strings. */
  readonly words?: readonly string[];
  readonly format?: Format;
  /** Both ends included. */
  readonly range?: readonly [number, number];
  readonly secret: boolean;
  readonly required: boolean;
  /** The keys of each entry of a list of tables. */
  readonly items: readonly KeySpec[];
}

export interface Section {
  /** Empty for the keys before the first section. */
  readonly path: string;
  readonly doc: string;
  readonly keys: readonly KeySpec[];
}

export interface Schema {
  readonly sections: readonly Section[];
  readonly keys: ReadonlyMap<string, KeySpec>;
}

interface OpenSection {
  path: string;
  doc: string;
  keys: KeySpec[];
}

const SECTION = /^\[([a-z_.]+)\]$/;
const TABLES = /^#\[\[([a-z_.]+)\]\]$/;
const PAIR = /^(#?)([a-z0-9_]+) = (.+)$/;

/** Explanation and rules gathered from the comment lines above a key or section. */
class Notes {
  readonly rules = new Map<string, string>();
  private readonly lines: string[] = [];

  add(line: string): void {
    const rule = /^@([a-z]+) ?(.*)$/.exec(line);
    if (rule) this.rules.set(rule[1] ?? '', rule[2] ?? '');
    else this.lines.push(line);
  }

  get doc(): string {
    return this.lines.join(' ').trim();
  }
}

/** @throws Error when the file itself is broken: that is a fault of this program, not of its user. */
export function parseSchema(toml: string): Schema {
  const sections: OpenSection[] = [{ path: '', doc: '', keys: [] }];
  let notes = new Notes();
  let items: KeySpec[] | undefined;

  for (const line of toml.split('\n')) {
    const section = sections.at(-1);
    if (!section) throw new Error('no section is open');
    const pair = PAIR.exec(line);
    const tables = TABLES.exec(line);
    const head = SECTION.exec(line);
    if (pair) {
      const [, commented, name = '', text = ''] = pair;
      const inTables = commented === '#';
      const target = inTables ? items : section.keys;
      if (!target) throw new Error(`no list of tables is open: ${line}`);
      target.push(keyOf(inTables ? name : join(section.path, name), text, notes));
    } else if (tables) {
      items = [];
      section.keys.push({ ...plain(tables[1] ?? '', 'tables', []), doc: notes.doc, items });
    } else if (head) {
      items = undefined;
      sections.push({ path: head[1] ?? '', doc: notes.doc, keys: [] });
    } else if (line.startsWith('#')) {
      notes.add(line.replace(/^# ?/, ''));
      continue;
    } else if (line.trim() !== '') {
      throw new Error(`the default file has a line that is not understood: ${line}`);
    }
    notes = new Notes();
  }
  return schemaOf(sections.filter((s) => s.keys.length > 0 || s.doc !== ''));
}

export function schemaOf(sections: readonly Section[]): Schema {
  return { sections, keys: new Map(sections.flatMap((s) => s.keys).map((key) => [key.path, key])) };
}

const join = (section: string, name: string): string => (section === '' ? name : `${section}.${name}`);

const plain = (path: string, kind: Kind, fallback: Value): KeySpec => ({
  path,
  kind,
  fallback,
  doc: '',
  secret: false,
  required: false,
  items: [],
});

function keyOf(path: string, text: string, notes: Notes): KeySpec {
  const { value } = parse(`value = ${text}`);
  const range = /^(.+)\.\.(.+)$/.exec(notes.rules.get('range') ?? '');
  const words = notes.rules.get('enum')?.split('|');
  const format = FORMATS.find((f) => f === notes.rules.get('format'));
  if (notes.rules.has('format') && !format) throw new Error(`${path} has a format that is not known`);
  const [kind, fallback] = kindOf(path, value, notes.rules.has('fraction'));
  return {
    ...plain(path, kind, fallback),
    doc: notes.doc,
    secret: notes.rules.has('secret'),
    required: notes.rules.has('required'),
    ...(words ? { words } : {}),
    ...(format ? { format } : {}),
    ...(range ? { range: [Number(range[1]), Number(range[2])] as const } : {}),
  };
}

function kindOf(path: string, value: unknown, fraction: boolean): [Kind, Value] {
  if (typeof value === 'string') return ['string', value];
  if (typeof value === 'boolean') return ['boolean', value];
  if (typeof value === 'number') return [fraction ? 'fraction' : 'integer', value];
  if (Array.isArray(value) && value.every((v) => typeof v === 'string')) return ['strings', value];
  throw new Error(`${path} has a default of a kind that is not known`);
}
