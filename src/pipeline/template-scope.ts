/** Which variables a template can name, read from JSON Schema, so that a misspelt one is found before anything is sent. */
import type { Json, JsonObject } from '../domain/notification.ts';

/** A schema; `open` where the schema does not say what there is; `missing` where it says that there is no such value. */
export type Scope = JsonObject | 'open' | 'missing';

/** Keywords after which `properties` is not the whole truth. */
const COMPOSING = ['anyOf', 'oneOf', 'allOf', 'if', 'patternProperties', 'unevaluatedProperties'];
const SCALARS = ['string', 'number', 'integer', 'boolean', 'null'];

const STRING: JsonObject = { type: 'string' };

/** What every template can name besides its data. The service sets these; data of the same name is not seen. */
const GLOBALS: JsonObject = {
  recipient: {
    properties: {
      id: STRING,
      email: STRING,
      phone: STRING,
      first_name: STRING,
      last_name: STRING,
      locale: STRING,
      time_zone: STRING,
    },
  },
  store_name: STRING,
  store_url: STRING,
  year: { type: 'integer' },
};

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSchema(value: Json | undefined): value is JsonObject {
  return isObject(value);
}

/** The variables at the top: those of the schema and the globals. */
export function rootScope(schema: JsonObject): Scope {
  const properties = schema['properties'];
  if (!isSchema(properties)) return 'open';
  return { ...schema, properties: { ...properties, ...GLOBALS } };
}

/** What the items of a list, or the values of an object, are. */
export function itemScope(scope: Scope): Scope {
  if (typeof scope === 'string') return scope;
  const items = scope['items'];
  return isSchema(items) ? items : 'open';
}

function stepInto(scope: JsonObject, part: string): Scope {
  if (COMPOSING.some((keyword) => keyword in scope)) return 'open';
  const properties = scope['properties'];
  if (isSchema(properties)) {
    const found = Object.hasOwn(properties, part) ? properties[part] : undefined;
    if (found !== undefined) return isSchema(found) ? found : 'open';
    const others = scope['additionalProperties'];
    return others === true || isSchema(others) ? 'open' : 'missing';
  }
  if (scope['type'] === 'array') {
    if (part === 'length') return 'open';
    return /^\d+$/.test(part) ? itemScope(scope) : 'missing';
  }
  return SCALARS.some((type) => type === scope['type']) && part !== 'length' ? 'missing' : 'open';
}

/** Follows a path such as `order.total`. */
export function follow(scope: Scope, parts: readonly string[]): Scope {
  return parts.reduce<Scope>((at, part) => (typeof at === 'string' ? at : stepInto(at, part)), scope);
}
