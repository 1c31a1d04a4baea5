/**
 * Reads a parsed template before it is compiled. It refuses whatever reaches past the helpers and the data, names every
 * variable that the schema does not know, and routes each printed value through the `print` helper: that one refuses
 * absent values by name (Handlebars' own strict mode takes inherited ones such as `constructor` for known) and counts
 * what is written.
 */
import Handlebars from 'handlebars';

import { BLOCK_HELPERS, VALUE_HELPERS } from './template-helpers.ts';
import { follow, itemScope } from './template-scope.ts';
import type { Scope } from './template-scope.ts';

/** Not a name that a template can write. */
export const PRINT = ' print';

/** Blocks and calls inside one another. */
const MAX_NESTING = 32;
const LOOP_VARIABLES = ['index', 'key', 'first', 'last'];

interface Frame {
  readonly scope: Scope;
  readonly names: ReadonlyMap<string, Scope>;
}

type Call = Pick<hbs.AST.SubExpression, 'path' | 'params' | 'hash' | 'loc'>;

export interface GuardOptions {
  readonly scope: Scope;
  /** Variables that hold finished HTML and may stand in `{{{ }}}`: only a layout has some. */
  readonly trusted: readonly string[];
}

const isHelperName = (name: string): boolean => Object.hasOwn(VALUE_HELPERS, name);
const isBlockName = (name: string): boolean => BLOCK_HELPERS.some((block) => block === name);
const isPath = (node: hbs.AST.Node): node is hbs.AST.PathExpression => node.type === 'PathExpression';

class Guard extends Handlebars.Visitor {
  readonly faults: string[] = [];
  readonly helpers = new Set([PRINT]);
  readonly #trusted: readonly string[];
  readonly #frames: Frame[];
  #nesting = 0;

  constructor(options: GuardOptions) {
    super();
    this.#trusted = options.trusted;
    this.#frames = [{ scope: options.scope, names: new Map() }];
  }

  override MustacheStatement(node: hbs.AST.MustacheStatement): void {
    const { path } = node;
    if (!isPath(path)) {
      this.#fault(node, 'write text as it is, without braces');
      return;
    }
    if (!node.escaped && !this.#trusted.includes(path.original)) {
      this.#fault(node, `{{{${path.original}}}} would let a value be markup: use two braces`);
    }
    const value = this.#printed(node, path);
    this.accept(value);
    // From here on it is a call of `print` with the value and the name to blame.
    node.path = { ...path, data: false, depth: 0, parts: [PRINT], original: PRINT };
    node.params = [value, this.#literal(node, path.original)];
    node.hash = { type: 'Hash', pairs: [], loc: node.loc };
  }

  override SubExpression(node: hbs.AST.SubExpression): void {
    const name = node.path.original;
    if (!isPath(node.path) || !isHelperName(name)) this.#fault(node, `there is no helper ${name}`);
    this.helpers.add(name);
    this.#nested(node, () => this.#acceptArguments(node));
  }

  override BlockStatement(node: hbs.AST.BlockStatement): void {
    const name = node.path.original;
    const [subject, ...more] = node.params;
    if (!isPath(node.path) || !isBlockName(name) || subject === undefined || more.length > 0) {
      this.#fault(node, `a block is one of ${BLOCK_HELPERS.join(', ')} and takes one value`);
      return;
    }
    this.helpers.add(name);
    this.#nested(node, () => {
      this.#acceptArguments(node);
      // In a chain of `else if` Handlebars leaves either branch out, whatever its types say.
      const { program, inverse }: { program?: hbs.AST.Program; inverse?: hbs.AST.Program } = node;
      if (program) this.#acceptBody(program, name, subject);
      if (inverse) this.accept(inverse);
    });
  }

  override PathExpression(node: hbs.AST.PathExpression): void {
    if (this.#resolve(node) === 'missing') this.#fault(node, `there is no variable ${node.original}`);
  }

  override PartialStatement(node: hbs.AST.PartialStatement): void {
    this.#fault(node, 'partials are not available');
  }

  override PartialBlockStatement(node: hbs.AST.PartialBlockStatement): void {
    this.#fault(node, 'partials are not available');
  }

  override Decorator(node: hbs.AST.Decorator): void {
    this.#fault(node, 'decorators are not available');
  }

  override DecoratorBlock(node: hbs.AST.DecoratorBlock): void {
    this.#fault(node, 'decorators are not available');
  }

  #printed(node: hbs.AST.MustacheStatement, path: hbs.AST.PathExpression): hbs.AST.Expression {
    // The parser leaves `hash` out when there is none, whatever its types say.
    const hash: hbs.AST.Hash | undefined = node.hash;
    const called = node.params.length > 0 || hash !== undefined || isHelperName(path.original);
    if (!called) return path;
    const call: hbs.AST.SubExpression = { type: 'SubExpression', path, params: node.params, hash, loc: node.loc };
    return call;
  }

  #literal(node: hbs.AST.Node, value: string): hbs.AST.StringLiteral {
    return { type: 'StringLiteral', value, original: value, loc: node.loc };
  }

  #acceptArguments(call: Call): void {
    for (const param of call.params) this.accept(param);
    const hash: hbs.AST.Hash | undefined = call.hash;
    for (const pair of hash?.pairs ?? []) this.accept(pair.value);
  }

  #acceptBody(program: hbs.AST.Program, block: string, subject: hbs.AST.Expression): void {
    if (block !== 'each' && block !== 'with') {
      this.accept(program);
      return;
    }
    const whole = isPath(subject) ? this.#resolve(subject) : 'open';
    // A missing one is reported where it is named, not again for everything in it.
    const inside = whole === 'missing' ? 'open' : whole;
    const scope = block === 'each' ? itemScope(inside) : inside;
    const blockParams: readonly string[] | undefined = program.blockParams;
    const [valueName, keyName] = blockParams ?? [];
    const names = new Map(this.#frames.at(-1)?.names);
    if (valueName !== undefined) names.set(valueName, scope);
    if (keyName !== undefined) names.set(keyName, 'open');
    this.#frames.push({ scope, names });
    this.accept(program);
    this.#frames.pop();
  }

  #resolve(path: hbs.AST.PathExpression): Scope {
    const [first, ...rest] = path.parts;
    if (path.data) {
      if (first === 'root' && path.depth === 0) return follow(this.#frames[0]?.scope ?? 'open', rest);
      return first !== undefined && LOOP_VARIABLES.includes(first) && rest.length === 0 ? 'open' : 'missing';
    }
    const scoped = /^(\.|this\b)/.test(path.original);
    const named = first === undefined || scoped ? undefined : this.#frames.at(-1)?.names.get(first);
    if (named !== undefined) return follow(named, rest);
    const frame = this.#frames.at(-1 - path.depth);
    return frame === undefined ? 'missing' : follow(frame.scope, path.parts);
  }

  #nested(node: hbs.AST.Node, visit: () => void): void {
    this.#nesting += 1;
    if (this.#nesting > MAX_NESTING) this.#fault(node, `nested more than ${MAX_NESTING} deep`);
    else visit();
    this.#nesting -= 1;
  }

  #fault(node: hbs.AST.Node, problem: string): void {
    this.faults.push(`line ${node.loc.start.line}: ${problem}`);
  }
}

/** Changes the tree so that it can be compiled; answers what is wrong with it and which helpers it calls. */
export function guard(
  tree: hbs.AST.Program,
  options: GuardOptions,
): { readonly faults: readonly string[]; readonly helpers: ReadonlySet<string> } {
  const guard = new Guard(options);
  guard.accept(tree);
  return guard;
}
