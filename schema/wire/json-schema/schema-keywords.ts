import { BOUND_KEYWORDS } from "./number-bounds.ts";
import type { Json } from "./schema-node.ts";

/** A schema as it was given: an object whose members are keywords. */
export type Schema = Record<string, unknown>;

/** Keywords that do not affect which values are valid. */
export const ANNOTATIONS = new Set([
  ...["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"],
  ...["deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema"],
]);
export const TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"] as const;

/** If a schema has no type, the first of these keywords implies it. */
const IMPLIED_TYPES = Object.freeze({
  object: ["properties", "required", "additionalProperties", "patternProperties", "propertyNames"],
  array: ["items", "prefixItems", "additionalItems", "minItems", "maxItems", "contains"],
  string: ["format", "pattern", "minLength", "maxLength"],
  number: [...BOUND_KEYWORDS, "multipleOf"],
} as const);

/** Whether no value is valid. zod writes `{not: {}}` for a forbidden member. */
export function isNever(schema: unknown): boolean {
  if (schema === false) return true;
  if (!isObject(schema) || Object.keys(schema).some((key) => key !== "not" && !ANNOTATIONS.has(key))) return false;
  return schema.not === true || (isObject(schema.not) && Object.keys(schema.not).length === 0);
}

/** The names that `propertyNames` lists, or null if it is not a list. */
export function namesOf(schema: unknown): string[] | null {
  if (!isObject(schema)) return null;
  const { enum: list, const: single } = schema;
  const names: unknown[] = Array.isArray(list) ? list : single === undefined ? [] : [single];
  return names.length > 0 && names.every((name) => typeof name === "string") ? [...new Set(names)] : null;
}

/** Whether the schema allows every string. */
export function isAnyString(schema: unknown): boolean {
  if (schema === true) return true;
  if (!isObject(schema)) return false;
  return Object.entries(schema).every(([key, value]) => (key === "type" ? value === "string" : ANNOTATIONS.has(key)));
}

/** The JSON type of a value; "number" for integers too. */
export function typeOf(value: Json): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** Whether a value has this JSON Schema type. */
export function isOfType(value: Json, type: unknown): boolean {
  return type === "integer" ? Number.isInteger(value) : typeOf(value) === type;
}

/** The type that the keywords of a schema without `type` imply, in a list; empty if there is none. */
export function impliedType(given: Schema): string[] {
  const has = ([, keywords]: [string, readonly string[]]) => keywords.some((key) => Object.hasOwn(given, key));
  const found = Object.entries(IMPLIED_TYPES).find(has);
  return found ? [found[0]] : [];
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
