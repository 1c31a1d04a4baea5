/** Locale-aware formatters. Making one costs some 20 microseconds, using one below 1, so they are kept. */

/** Values in one generation; locales, time zones and options come from callers, so there must be a bound. */
const MAX_GENERATION = 250;

/** Keeps what was used of late: what a whole new generation has not asked for is let go. */
class Kept<V> {
  #young = new Map<string, V>();
  #old = new Map<string, V>();

  get(key: string, make: () => V): V {
    const found = this.#young.get(key);
    if (found !== undefined) return found;
    const value = this.#old.get(key) ?? make();
    if (this.#young.size === MAX_GENERATION) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
    return value;
  }
}

/** Every method throws RangeError for a locale, currency, time zone or option that Intl does not know. */
export class Formats {
  readonly #money = new Kept<Intl.NumberFormat>();
  readonly #numbers = new Kept<Intl.NumberFormat>();
  readonly #dates = new Kept<Intl.DateTimeFormat>();
  readonly #plurals = new Kept<Intl.PluralRules>();

  /** `currency` is an ISO 4217 code. */
  money(locale: string, currency: string): Intl.NumberFormat {
    const make = (): Intl.NumberFormat => new Intl.NumberFormat(locale, { style: 'currency', currency });
    return this.#money.get(`${locale} ${currency}`, make);
  }

  number(locale: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
    return this.#numbers.get(`${locale} ${JSON.stringify(options)}`, () => new Intl.NumberFormat(locale, options));
  }

  date(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
    return this.#dates.get(`${locale} ${JSON.stringify(options)}`, () => new Intl.DateTimeFormat(locale, options));
  }

  plural(locale: string): Intl.PluralRules {
    return this.#plurals.get(locale, () => new Intl.PluralRules(locale));
  }
}
