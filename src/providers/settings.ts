/**
 * The settings of a provider, as data: from them come the keys of its section in the configuration with their defaults,
 * checks and explanations, and the type of what the provider is opened with.
 */
import { SECOND } from '../domain/clock.ts';
import type { Format, Kind, Value } from '../config/schema.ts';

export interface Setting<T> {
  readonly kind: Kind;
  /** What its key has after the name in snake case, such as the unit. */
  readonly suffix?: string;
  readonly fallback: Value;
  readonly doc: string;
  readonly format?: Format;
  readonly words?: readonly string[];
  /** Both ends included, in the unit of the file. */
  readonly range?: readonly [number, number];
  readonly secret?: boolean;
  /** Must be given where a route names the provider. */
  readonly needed?: boolean;
  /** From the checked value of the file. */
  read(value: Value): T;
}

/** By their names in the code; in the file they stand in snake case. */
export type Settings = Readonly<Record<string, Setting<unknown>>>;
export type SettingsOf<S extends Settings> = { readonly [K in keyof S]: ReturnType<S[K]['read']> };

interface TextRules {
  readonly format?: Format;
  readonly secret?: boolean;
}

const mistaken = (value: Value): never => {
  throw new Error(`a setting has a value of another kind: ${typeof value}`);
};
const readString = (value: Value): string => (typeof value === 'string' ? value : mistaken(value));
const readNumber = (value: Value): number => (typeof value === 'number' ? value : mistaken(value));

/** Empty in the file stands for "not given". With the format `file` it is the file's text. */
export const text = (doc: string, rules: TextRules = {}): Setting<string | undefined> => ({
  kind: 'string',
  fallback: '',
  doc,
  ...rules,
  read: (value) => readString(value) || undefined,
});

/** Must be given where a route names the provider. */
export const neededText = (doc: string, rules: TextRules = {}): Setting<string> => ({
  kind: 'string',
  fallback: '',
  doc,
  ...rules,
  needed: true,
  read: readString,
});

export const word = <W extends string>(doc: string, fallback: W, words: readonly W[]): Setting<W> => ({
  kind: 'string',
  fallback,
  doc,
  words,
  read: (value) => words.find((one) => one === value) ?? mistaken(value),
});

export const url = (doc: string, fallback: string): Setting<string> => ({
  kind: 'string',
  fallback,
  doc,
  format: 'http-url',
  read: readString,
});

export const flag = (doc: string, fallback: boolean): Setting<boolean> => ({
  kind: 'boolean',
  fallback,
  doc,
  read: (value) => (typeof value === 'boolean' ? value : mistaken(value)),
});

export const whole = (doc: string, fallback: number, range: readonly [number, number]): Setting<number> => ({
  kind: 'integer',
  fallback,
  doc,
  range,
  read: readNumber,
});

/** Seconds in the file, milliseconds in the code. */
export const seconds = (doc: string, fallback: number, range: readonly [number, number]): Setting<number> => ({
  kind: 'fraction',
  suffix: '_seconds',
  fallback,
  doc,
  range,
  read: (value) => readNumber(value) * SECOND,
});

type TextsRules = TextRules & Pick<Setting<unknown>, 'needed'>;

export const texts = (doc: string, rules: TextsRules = {}): Setting<readonly string[]> => ({
  kind: 'strings',
  fallback: [],
  doc,
  ...rules,
  read: (value) =>
    Array.isArray(value) ? value.map((one) => (typeof one === 'string' ? one : mistaken(value))) : mistaken(value),
});

/** What every provider has that speaks HTTP. */
export const HTTP_SETTINGS = {
  timeout: seconds('One call ends within this time.', 10, [0.1, 300]),
  maxConcurrent: whole('Calls at the same time in this process.', 50, [1, 10_000]),
  caFile: text('Authorities, PEM, to check its certificate against. Empty: those of the system.', { format: 'file' }),
};

/** Those of a provider whose service has one address for everybody. */
export const httpSettings = (baseUrl: string) => ({
  baseUrl: url('Where its API is; a path is kept in front of every call.', baseUrl),
  ...HTTP_SETTINGS,
});
