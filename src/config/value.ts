/** Checks one value against the rules of its key. */
import ipaddr from 'ipaddr.js';
import { parse } from 'smol-toml';
import type { Format, KeySpec, TableValue, Value } from './schema.ts';

/** What was wrong with a value, in words that follow the key's name. */
export class Fault {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

export interface CheckContext {
  /** Reads a file that a key names; throws when it cannot be read. */
  readFile(path: string): string;
}

/**
 * @param text the value came as text, from a variable or a flag: `50` then stands for a number as well, and `a,b` for a list.
 * @returns the value to use; of a key with the format `file` the text of that file.
 */
export function checkValue(spec: KeySpec, given: unknown, text: boolean, context: CheckContext): Value | Fault {
  const value = text && typeof given === 'string' ? fromText(spec, given) : given;
  switch (spec.kind) {
    case 'boolean':
      return typeof value === 'boolean' ? value : wrongKind(spec, given, 'true or false', text);
    case 'integer':
    case 'fraction':
      return checkNumber(spec, value, given, text);
    case 'string':
      return typeof value === 'string' ? checkString(spec, value, context) : wrongKind(spec, given, 'a text', text);
    case 'strings':
      return checkStrings(spec, value, given, text);
    case 'tables':
      return checkTables(spec, value, text, context);
  }
}

function fromText(spec: KeySpec, text: string): unknown {
  switch (spec.kind) {
    case 'string':
      return text;
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'integer':
    case 'fraction':
      return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
    case 'strings':
    case 'tables':
      if (text.trimStart().startsWith('[')) return tomlValue(text);
      return spec.kind === 'tables'
        ? text
        : text
            .split(',')
            .map((part) => part.trim())
            .filter((part) => part !== '');
  }
}

/** Text that is not TOML stays as it is, and is then a value of the wrong kind. */
function tomlValue(text: string): unknown {
  try {
    return parse(`value = ${text}`)['value'];
  } catch {
    return text;
  }
}

/** A secret, and whatever came in by a variable, is not repeated. */
function shown(spec: KeySpec, given: unknown, text: boolean): string {
  return spec.secret || text ? '' : `, not ${JSON.stringify(given)}`;
}

function wrongKind(spec: KeySpec, given: unknown, wanted: string, text: boolean): Fault {
  return new Fault(`must be ${wanted}${shown(spec, given, text)}`);
}

function checkNumber(spec: KeySpec, value: unknown, given: unknown, text: boolean): Value | Fault {
  const whole = spec.kind === 'integer';
  if (typeof value !== 'number' || !Number.isFinite(value) || (whole && !Number.isSafeInteger(value))) {
    return wrongKind(spec, given, whole ? 'a whole number' : 'a number', text);
  }
  const [min, max] = spec.range ?? [-Infinity, Infinity];
  return value >= min && value <= max ? value : wrongKind(spec, given, `between ${min} and ${max}`, text);
}

function checkString(spec: KeySpec, value: string, context: CheckContext): string | Fault {
  if (value === '') return spec.required ? new Fault('must be given') : value;
  if (spec.words && !spec.words.includes(value)) return notAWord(spec);
  if (spec.format === 'file') return readNamedFile(value, context);
  return badFormat(spec, value) ?? value;
}

function checkStrings(spec: KeySpec, value: unknown, given: unknown, text: boolean): Value | Fault {
  if (!Array.isArray(value) || !value.every((v) => typeof v === 'string')) {
    return wrongKind(spec, given, 'a list of texts', text);
  }
  // By their places, as an entry may be a secret that slipped in here.
  const unknown = value.findIndex((element) => spec.words?.includes(element) === false);
  if (unknown >= 0) return new Fault(`entry ${unknown + 1} must be one of ${spec.words?.join(', ')}`);
  const repeated = value.findIndex((element, index) => value.indexOf(element) < index);
  if (repeated >= 0) return new Fault(`entry ${repeated + 1} stands there before`);
  for (const element of value) {
    const fault = badFormat(spec, element);
    if (fault) return fault;
  }
  return value;
}

function checkTables(spec: KeySpec, value: unknown, text: boolean, context: CheckContext): Value | Fault {
  if (!Array.isArray(value)) return new Fault(`must be a list of tables: [[${spec.path}]]`);
  const tables: TableValue[] = [];
  for (const [index, entry] of value.entries()) {
    const table = checkTable(spec, entry, text, context);
    if (table instanceof Fault) return new Fault(`entry ${index + 1}: ${table.message}`);
    tables.push(table);
  }
  return tables;
}

function checkTable(spec: KeySpec, entry: unknown, text: boolean, context: CheckContext): TableValue | Fault {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return new Fault('must be a table');
  const given = new Map(Object.entries(entry));
  const unknown = [...given.keys()].find((key) => !spec.items.some((item) => item.path === key));
  if (unknown !== undefined) return new Fault(`${unknown} is not a key`);
  const table: Record<string, TableValue[string]> = {};
  for (const item of spec.items) {
    if (item.required && !given.has(item.path)) return new Fault(`${item.path} must be given`);
    const value = given.has(item.path) ? checkValue(item, given.get(item.path), text, context) : item.fallback;
    if (value instanceof Fault) return new Fault(`${item.path} ${value.message}`);
    if (!isTableElement(value)) return new Fault(`${item.path} cannot hold tables`);
    table[item.path] = value;
  }
  return table;
}

const isTableElement = (value: Value): value is TableValue[string] =>
  !Array.isArray(value) || value.every((v) => typeof v === 'string');

const notAWord = (spec: KeySpec): Fault => new Fault(`must be one of ${spec.words?.join(', ')}`);

function readNamedFile(path: string, context: CheckContext): string | Fault {
  try {
    return context.readFile(path);
  } catch {
    return new Fault('names a file that cannot be read');
  }
}

const SHAPES: Readonly<Record<Exclude<Format, 'file'>, { readonly wanted: string; fits(value: string): boolean }>> = {
  address: { wanted: 'host:port', fits: (v) => parseAddress(v) !== undefined },
  email: { wanted: 'an e-mail address', fits: (v) => /^[^\s@<>",;]+@[^\s@<>",;]+$/.test(v) },
  'host-or-range': { wanted: 'a host name, an address or a range', fits: isHostOrRange },
  // Credentials in the address would be left out of the call, and shown wherever the address is.
  'http-url': { wanted: 'an http or https address without credentials', fits: isHttpUrl },
  locale: { wanted: 'a BCP 47 language tag', fits: isLocale },
  'mongodb-url': { wanted: 'a mongodb:// or mongodb+srv:// address', fits: (v) => /^mongodb(\+srv)?:\/\/\S+$/.test(v) },
  name: { wanted: 'letters, digits, _ . or -, at most 64', fits: (v) => /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(v) },
  // Credentials in the address would be shown wherever the address is.
  'nats-url': { wanted: 'nats://host:port without credentials', fits: (v) => /^((nats|tls):\/\/)?[^\s@/]+$/.test(v) },
  sha256: { wanted: '64 hexadecimal digits', fits: (v) => /^[0-9a-fA-F]{64}$/.test(v) },
  // Standard Webhooks: 24 to 64 random bytes.
  'webhook-secret': { wanted: 'whsec_ and base64 of 24 to 64 bytes', fits: isWebhookSecret },
};

function isHttpUrl(value: string): boolean {
  const url = /^https?:\/\//.test(value) ? URL.parse(value) : null;
  return url !== null && url.username === '' && url.password === '';
}

function badFormat(spec: KeySpec, value: string): Fault | undefined {
  if (spec.format === undefined || spec.format === 'file') return undefined;
  const shape = SHAPES[spec.format];
  return shape.fits(value) ? undefined : new Fault(`must be ${shape.wanted}`);
}

export interface Address {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

export function parseAddress(text: string): Address | undefined {
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[^\s:/@]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === undefined || Number(port) > 65_535) return undefined;
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || (ipaddr.isValid(host) && ipaddr.process(host).range() === 'loopback');
}

function isHostOrRange(value: string): boolean {
  return ipaddr.isValidCIDR(value) || ipaddr.isValid(value) || /^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/.test(value);
}

function isLocale(value: string): boolean {
  try {
    return Intl.getCanonicalLocales(value).length === 1;
  } catch {
    return false;
  }
}

function isWebhookSecret(value: string): boolean {
  if (!/^whsec_[A-Za-z0-9+/]+={0,2}$/.test(value)) return false;
  const bytes = Buffer.from(value.slice('whsec_'.length), 'base64').length;
  return bytes >= 24 && bytes <= 64;
}
