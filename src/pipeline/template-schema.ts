/** Data against a template's JSON Schema (draft 2020-12). */
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ErrorObject } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

import type { JsonObject } from '../domain/notification.ts';
import type { FieldViolation } from '../errors.ts';

export type DataCheck = (data: JsonObject) => readonly FieldViolation[];

/** Enough to put right in one go; data that fails everywhere does not need thousands. */
const MAX_VIOLATIONS = 20;

/**
 * Keywords with which a schema could hold up the process: regular expressions that backtrack, comparisons of every item
 * with every other, references that multiply. A schema that has one is refused.
 */
const REFUSED_KEYWORDS = ['pattern', 'patternProperties', 'uniqueItems', '$ref', '$dynamicRef'];

/** `/order/items/0/price` to `notification.data.order.items[0].price`. */
function fieldPath(data: JsonObject, pointer: string, property?: string): string {
  const parts = pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  let path = 'notification.data';
  let value: unknown = data;
  for (const part of property === undefined ? parts : [...parts, property]) {
    path += Array.isArray(value) ? `[${part}]` : `.${part}`;
    value = typeof value === 'object' && value !== null ? Reflect.get(value, part) : undefined;
  }
  return path;
}

function toViolation(
  data: JsonObject,
  { instancePath, params, message = 'is not valid' }: ErrorObject,
): FieldViolation {
  // Errors about a property that is missing or too many stand at its object; the caller looks for the property.
  const named: unknown = params['missingProperty'] ?? params['additionalProperty'] ?? params['unevaluatedProperty'];
  const property = typeof named === 'string' ? named : undefined;
  const description = params['missingProperty'] === undefined ? message : 'is required';
  return { field: fieldPath(data, instancePath, property), description };
}

export class SchemaCompiler {
  readonly #ajv = new Ajv2020({
    allErrors: true,
    allowUnionTypes: true,
    strict: true,
    strictTypes: false,
    logger: false,
  });

  constructor() {
    formats.default(this.#ajv);
    // The draft's own schema uses these keywords: it is compiled before they go.
    void this.#ajv.validateSchema({});
    for (const keyword of REFUSED_KEYWORDS) this.#ajv.removeKeyword(keyword);
  }

  /** @throws Error from Ajv for a schema that is not valid, or has a keyword that is refused. */
  compile(schema: JsonObject): DataCheck {
    const validate = this.#ajv.compile(schema);
    return (data) =>
      validate(data) ? [] : (validate.errors ?? []).slice(0, MAX_VIOLATIONS).map((error) => toViolation(data, error));
  }
}
