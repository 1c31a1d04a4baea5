/**
 * The helpers that templates may call. A value that is absent is an error wherever it would be printed, formatted or
 * looped over; only conditions (`if`, `unless`, `with`, `eq`, `and`, `or`, `not`) and `default` may ask for one.
 */
import { RenderError } from './render-error.ts';
import type { RenderState } from './template-state.ts';

export type Named = Readonly<Record<string, unknown>>;

/** Throws RenderError, or RangeError from Intl, for arguments it cannot take. */
export type ValueHelper = (args: readonly unknown[], named: Named, state: RenderState) => unknown;

/** Amounts of money often come as text, which Intl formats without the loss that a number would mean. */
const DECIMAL = /^-?\d{1,30}(\.\d{1,30})?$/;
const CALENDAR_DATE = /^\d{4}-\d{2}-\d{2}$/;
/** Longer text is no date; not even tried. */
const MAX_DATE_LENGTH = 64;

const CURRENCY_OPTIONS = ['currency'];
const NUMBER_OPTIONS = ['style', 'minimum_fraction_digits', 'maximum_fraction_digits'];
const DATE_COMPONENTS = ['weekday', 'year', 'month', 'day'];
const TIME_COMPONENTS = ['hour', 'minute', 'time_zone_name'];
const TIMES = ['time', ...TIME_COMPONENTS];
const COMPONENTS = [...DATE_COMPONENTS, ...TIME_COMPONENTS];
const DATE_OPTIONS = ['style', 'time', 'time_zone', ...COMPONENTS];

/** What Handlebars takes for true: not false, null, '', 0, absent or an empty list. */
export function isTruthy(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

function checkArguments(args: readonly unknown[], count: number, named: Named, allowed: readonly string[]): void {
  if (args.length !== count) throw new RenderError(`takes ${count} values, not ${args.length}`);
  for (const name in named) {
    if (!allowed.includes(name)) throw new RenderError(`has no option ${name}`);
  }
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new RenderError(`${what} must be text`);
  return value;
}

function optionalText(value: unknown, what: string): string | undefined {
  return value === undefined ? undefined : text(value, what);
}

function amount(value: unknown): number | Intl.StringNumericLiteral {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  // The pattern is the proof of the type.
  if (typeof value === 'string' && DECIMAL.test(value)) return value as Intl.StringNumericLiteral;
  throw new RenderError('the value must be a number');
}

function comparable(args: readonly unknown[], named: Named): [number, number] {
  checkArguments(args, 2, named, []);
  const [left, right] = args;
  if (typeof left !== 'number' || typeof right !== 'number') throw new RenderError('both values must be numbers');
  return [left, right];
}

/** `{{currency order.total}}`, `{{currency order.total "EUR"}}` or `{{currency order.total currency=order.currency}}`. */
const currency: ValueHelper = (args, named, { formats, place }) => {
  checkArguments(args, args.length === 2 ? 2 : 1, named, CURRENCY_OPTIONS);
  // A currency that is named but absent from the data is an error, not dollars.
  const code = args.length === 2 ? args[1] : { currency: 'USD', ...named }.currency;
  return formats.money(place.locale, text(code, 'currency')).format(amount(args[0]));
};

/** `{{number stock}}`, `{{number share style="percent" maximum_fraction_digits=1}}`. */
const number: ValueHelper = (args, named, { formats, place }) => {
  checkArguments(args, 1, named, NUMBER_OPTIONS);
  const style = named['style'] ?? 'decimal';
  if (style !== 'decimal' && style !== 'percent') throw new RenderError('style must be decimal or percent');
  const digits = (name: string): number | undefined => {
    const value = named[name];
    if (value === undefined || typeof value === 'number') return value;
    throw new RenderError(`${name} must be a number`);
  };
  const least = digits('minimum_fraction_digits');
  const most = digits('maximum_fraction_digits');
  const options: Intl.NumberFormatOptions = {
    style,
    ...(least === undefined ? {} : { minimumFractionDigits: least }),
    ...(most === undefined ? {} : { maximumFractionDigits: most }),
  };
  return formats.number(place.locale, options).format(amount(args[0]));
};

interface Moment {
  readonly at: number;
  /** A day of the calendar: the same one in every time zone. */
  readonly dayOnly: boolean;
}

function moment(value: unknown): Moment {
  if (typeof value === 'number' && Number.isFinite(value)) return { at: value, dayOnly: false };
  if (typeof value !== 'string' || value.length > MAX_DATE_LENGTH) {
    throw new RenderError('the value must be an ISO 8601 date or milliseconds since 1970');
  }
  if (CALENDAR_DATE.test(value)) {
    return { at: Temporal.PlainDate.from(value).toZonedDateTime('UTC').epochMilliseconds, dayOnly: true };
  }
  return { at: Temporal.Instant.from(value).epochMilliseconds, dayOnly: false };
}

/** snake_case, as templates write it, to Intl's own names. */
function dateOptions(named: Named, timeZone: string): Intl.DateTimeFormatOptions {
  const components: Record<string, string> = {};
  for (const name of COMPONENTS) {
    const value = optionalText(named[name], name);
    if (value !== undefined) components[name === 'time_zone_name' ? 'timeZoneName' : name] = value;
  }
  const time = optionalText(named['time'], 'time');
  const plain = Object.keys(components).length === 0;
  const style = optionalText(named['style'], 'style') ?? (plain ? 'medium' : undefined);
  // Intl checks the values and throws RangeError or TypeError for one it does not know.
  return {
    timeZone,
    ...(style === undefined ? {} : { dateStyle: style }),
    ...(time === undefined ? {} : { timeStyle: time }),
    ...components,
  } as Intl.DateTimeFormatOptions;
}

/**
 * `{{date_format placed_at}}`, with `style` and `time` each short, medium, long or full, or with components such as
 * `weekday="long" month="short"`. In the recipient's time zone unless `time_zone` names another.
 */
const dateFormat: ValueHelper = (args, named, { formats, place }) => {
  checkArguments(args, 1, named, DATE_OPTIONS);
  const { at, dayOnly } = moment(args[0]);
  if (dayOnly && TIMES.some((name) => named[name] !== undefined)) {
    throw new RenderError('a date without a time has no time to show');
  }
  const zone = dayOnly ? 'UTC' : (optionalText(named['time_zone'], 'time_zone') ?? place.timeZone);
  return formats.date(place.locale, dateOptions(named, zone)).format(at);
};

/** `{{plural count one="item" other="items"}}`: the word only. */
const plural: ValueHelper = (args, named, { formats, place }) => {
  checkArguments(args, 1, named, ['zero', 'one', 'two', 'few', 'many', 'other']);
  const [count] = args;
  if (typeof count !== 'number') throw new RenderError('the value must be a number');
  const category = formats.plural(place.templateLocale).select(count);
  return text(named[category] ?? named['other'], 'other');
};

const changeCase =
  (change: (value: string, locale: string) => string): ValueHelper =>
  (args, named, state) => {
    checkArguments(args, 1, named, []);
    const value = text(args[0], 'the value');
    state.charge(value.length);
    return change(value, state.place.locale);
  };

export const VALUE_HELPERS: Readonly<Record<string, ValueHelper>> = {
  currency,
  number,
  date_format: dateFormat,
  plural,
  uppercase: changeCase((value, locale) => value.toLocaleUpperCase(locale)),
  lowercase: changeCase((value, locale) => value.toLocaleLowerCase(locale)),
  default: (args, named) => {
    checkArguments(args, 2, named, []);
    const [value, fallback] = args;
    return value === undefined || value === null || value === '' ? fallback : value;
  },
  eq: (args, named) => {
    checkArguments(args, 2, named, []);
    return args[0] === args[1];
  },
  gt: (args, named) => {
    const [left, right] = comparable(args, named);
    return left > right;
  },
  lt: (args, named) => {
    const [left, right] = comparable(args, named);
    return left < right;
  },
  not: (args, named) => {
    checkArguments(args, 1, named, []);
    return !isTruthy(args[0]);
  },
  and: (args) => args.every(isTruthy),
  or: (args) => args.some(isTruthy),
};

export const BLOCK_HELPERS = ['if', 'unless', 'each', 'with'] as const;
export type BlockHelper = (typeof BLOCK_HELPERS)[number];
