import type { TableValue, Value } from './schema.ts';

/** Typed reading of checked values. A wrong name or kind is a fault of this program and throws. */
export class Values {
  /** The keys that were read, so that a test can tell that none is left out. */
  readonly used = new Set<string>();
  private readonly values: ReadonlyMap<string, Value>;

  constructor(values: ReadonlyMap<string, Value>) {
    this.values = values;
  }

  string(key: string): string {
    const value = this.value(key);
    return typeof value === 'string' ? value : mistaken(key);
  }

  /** Undefined for an empty text, which stands for "not given". */
  optional(key: string): string | undefined {
    return this.string(key) || undefined;
  }

  number(key: string): number {
    const value = this.value(key);
    return typeof value === 'number' ? value : mistaken(key);
  }

  boolean(key: string): boolean {
    const value = this.value(key);
    return typeof value === 'boolean' ? value : mistaken(key);
  }

  strings(key: string): readonly string[] {
    const value = this.value(key);
    if (!Array.isArray(value)) return mistaken(key);
    return value.map((element) => (typeof element === 'string' ? element : mistaken(key)));
  }

  /** One of the words, which are those that the key's own rule allows. */
  word<W extends string>(key: string, words: readonly W[]): W {
    const value = this.string(key);
    return words.find((word) => word === value) ?? mistaken(key);
  }

  words<W extends string>(key: string, words: readonly W[]): readonly W[] {
    return this.strings(key).map((value) => words.find((word) => word === value) ?? mistaken(key));
  }

  /** A reader for each entry of a list of tables. */
  tables(key: string): readonly Values[] {
    const value = this.value(key);
    if (!Array.isArray(value)) return mistaken(key);
    return value.map((entry: string | TableValue) =>
      typeof entry === 'string' ? mistaken(key) : new Values(new Map(Object.entries(entry))),
    );
  }

  /** Of whatever kind. */
  value(key: string): Value {
    this.used.add(key);
    return this.values.get(key) ?? mistaken(key);
  }
}

function mistaken(key: string): never {
  throw new Error(`the configuration has no ${key} of that kind`);
}
