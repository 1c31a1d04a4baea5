/** Compiles templates with Handlebars, where they find our helpers and nothing else, and every rendering has a budget. */
import Handlebars from 'handlebars';

import { RenderError } from './render-error.ts';
import { SourceError } from './template-faults.ts';
import { Formats } from './template-formats.ts';
import { guard, PRINT } from './template-guard.ts';
import { BLOCK_HELPERS, isTruthy, VALUE_HELPERS } from './template-helpers.ts';
import type { BlockHelper, Named, ValueHelper } from './template-helpers.ts';
import type { Scope } from './template-scope.ts';
import type { RenderState } from './template-state.ts';

/** What Handlebars hands over as a helper's last argument. */
interface HelperOptions {
  readonly hash: Named;
  readonly data: LoopFrame;
  readonly loc: { readonly start: { readonly line: number } };
  readonly fn: Body;
  readonly inverse: (context: unknown) => string;
}

type Body = (context: unknown, options?: { readonly data?: LoopFrame; readonly blockParams?: unknown[] }) => string;

interface LoopFrame {
  readonly state: RenderState;
  readonly escape: (text: string) => string;
  index?: number;
  key?: string | number;
  first?: boolean;
  last?: boolean;
}

type BlockBody = (self: unknown, value: unknown, options: HelperOptions) => string;

function at(options: HelperOptions, problem: string, cause?: unknown): RenderError {
  return new RenderError(`line ${options.loc.start.line}: ${problem}`, cause === undefined ? {} : { cause });
}

function split(all: readonly unknown[]): { args: readonly unknown[]; options: HelperOptions } {
  // Handlebars always hands its options over last.
  return { args: all.slice(0, -1), options: all.at(-1) as HelperOptions };
}

function valueHelper(name: string, helper: ValueHelper): (...all: unknown[]) => unknown {
  return (...all) => {
    const { args, options } = split(all);
    options.data.state.step();
    try {
      return helper(args, options.hash, options.data.state);
    } catch (thrown) {
      const problem = thrown instanceof RenderError ? thrown.problem : 'cannot take these values';
      throw at(options, `${name} ${problem}`, thrown);
    }
  };
}

function blockHelper(body: BlockBody): (this: unknown, ...all: unknown[]) => string {
  return function block(this: unknown, ...all) {
    const { args, options } = split(all);
    options.data.state.step();
    return body(this, args[0], options);
  };
}

function each(self: unknown, list: unknown, options: HelperOptions): string {
  if (typeof list !== 'object' || list === null) throw at(options, 'each needs a list or an object');
  const { state } = options.data;
  const entries: [string | number, unknown][] = Array.isArray(list) ? [...list.entries()] : Object.entries(list);
  if (entries.length === 0) return options.inverse(self);
  // Typed as any by Handlebars: a copy of the frame it is given.
  const frame = Handlebars.createFrame(options.data) as LoopFrame;
  let out = '';
  for (const [index, [key, value]] of entries.entries()) {
    state.step();
    frame.index = index;
    frame.key = key;
    frame.first = index === 0;
    frame.last = index === entries.length - 1;
    out += options.fn(value, { data: frame, blockParams: [value, key] });
    state.checkLength(out.length);
  }
  return out;
}

const BLOCKS: Readonly<Record<BlockHelper, BlockBody>> = {
  if: (self, value, options) => (isTruthy(value) ? options.fn(self) : options.inverse(self)),
  unless: (self, value, options) => (isTruthy(value) ? options.inverse(self) : options.fn(self)),
  with: (self, value, options) =>
    isTruthy(value) ? options.fn(value, { data: options.data, blockParams: [value] }) : options.inverse(self),
  each,
};

function print(...all: unknown[]): string {
  const { args, options } = split(all);
  const [value, name] = args;
  options.data.state.step();
  if (value === null) return '';
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') {
    throw at(options, `${String(name)} is ${value === undefined ? 'not in the data' : 'not a single value'}`);
  }
  const text = String(value);
  options.data.state.charge(text.length);
  return options.data.escape(text);
}

/** How a printed value is kept from being markup. */
export type Escaping = 'html' | 'slack' | 'none';

const same = (text: string): string => text;

/** What `print` does; Handlebars itself escapes HTML, after it. */
const ESCAPES: Readonly<Record<Escaping, (text: string) => string>> = {
  html: same,
  none: same,
  // A value could hold a link or call everybody: <!channel> (docs.slack.dev/messaging/formatting-message-text#escaping).
  slack: (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;'),
};

export interface PartOptions {
  /** Named in errors. */
  readonly source: string;
  readonly scope: Scope;
  readonly escaping: Escaping;
  /** Variables that hold finished HTML: see GuardOptions. */
  readonly trusted?: readonly string[];
}

/** One compiled file. Throws RenderError. */
export type Part = (context: Readonly<Record<string, unknown>>, state: RenderState) => string;

const HELPERS: ReadonlyMap<string, Handlebars.HelperDelegate> = new Map([
  ...Object.entries(VALUE_HELPERS).map(([name, helper]) => [name, valueHelper(name, helper)] as const),
  ...BLOCK_HELPERS.map((name) => [name, blockHelper(BLOCKS[name])] as const),
  [PRINT, print] as const,
]);

/** A Handlebars with these helpers and no other. Each run wraps them all, so it gets only those it uses. */
function createEnvironment(names: ReadonlySet<string>): {
  handlebars: typeof Handlebars;
  knownHelpers: Record<string, boolean>;
} {
  const handlebars = Handlebars.create();
  const knownHelpers: Record<string, boolean> = {};
  for (const builtIn of Object.keys(handlebars.helpers)) {
    handlebars.unregisterHelper(builtIn);
    knownHelpers[builtIn] = false;
  }
  for (const [name, helper] of HELPERS) {
    if (!names.has(name)) continue;
    handlebars.registerHelper(name, helper);
    knownHelpers[name] = true;
  }
  return { handlebars, knownHelpers };
}

export class TemplateEngine {
  readonly formats = new Formats();

  /** @throws SourceError when it is not a template, or one that must not run. */
  compile(text: string, options: PartOptions): Part {
    const tree = this.#parse(text);
    const { faults, helpers } = guard(tree, { scope: options.scope, trusted: options.trusted ?? [] });
    if (faults.length > 0) throw new SourceError(faults);
    const { handlebars, knownHelpers } = createEnvironment(helpers);
    const run = handlebars.compile<unknown>(tree, {
      knownHelpers,
      knownHelpersOnly: true,
      noEscape: options.escaping !== 'html',
    });
    return (context, state) => {
      state.beginPart();
      try {
        return run(context, {
          data: { state, escape: ESCAPES[options.escaping] },
          // Said outright, or Handlebars writes each refusal to the console.
          allowProtoMethodsByDefault: false,
          allowProtoPropertiesByDefault: false,
        });
      } catch (thrown) {
        throw RenderError.in(options.source, thrown);
      }
    };
  }

  #parse(text: string): hbs.AST.Program {
    try {
      return Handlebars.parseWithoutProcessing(text);
    } catch (thrown) {
      // The parser quotes the template, which its author wrote.
      throw new SourceError([thrown instanceof Error ? thrown.message : 'is not a template']);
    }
  }
}
