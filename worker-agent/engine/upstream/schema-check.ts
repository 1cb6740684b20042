import { deepCompareStrict, dereference, type Schema, type SchemaDraft, validate } from "@cfworker/json-schema";
import * as z from "zod";
import { STRING_FORMATS } from "../../../schema/wire/json-schema/string-formats.ts";
import { runWithTimeLimit } from "./time-limit.ts";

/** Some regular expressions and recursive alternatives take practically forever. */
const LIMIT_MS = 500;

/** A value that another server generated, and the client's schema for it. */
export type Check = readonly [value: unknown, schema: object];

/**
 * Whether all values validate against their schemas, by the rules of JSON Schema. If the check is not possible, or takes
 * longer than `LIMIT_MS` for all values together, the values count as valid.
 *
 * @param strict whether to check `format` too; in JSON Schema 2020-12 it is only an annotation
 */
export function allMatch(checks: readonly Check[], { strict }: { readonly strict: boolean }): boolean {
  return runWithTimeLimit(LIMIT_MS, () => checks.every((check) => matches(check, strict))) ?? true;
}

function matches([value, schema]: Check, strict: boolean): boolean {
  try {
    // The library modifies the schema that it reads.
    const root: Schema = structuredClone(schema);
    const lookup = dereference(root);
    const nodes = Object.values(lookup).filter((node): node is Schema => typeof node === "object");
    const draft = draftOf(root.$schema, nodes);
    if (draft === null || !nodes.every((node) => supportedKeywords.safeParse(node).success)) return true;
    for (const node of nodes) {
      if (!strict || !STRING_FORMATS.some((known) => known === node.format)) delete node.format;
      keepMessagesShort(node);
      if (node.nullable === true) allowNull(node);
    }
    return validate(value, root, draft, lookup).valid;
  } catch {
    // A reference without a target, a malformed regular expression, or nesting that overflows the stack.
    return true;
  }
}

/** Null if the schema names an unknown dialect. */
function draftOf(dialect: unknown, nodes: readonly Schema[]): SchemaDraft | null {
  const [, name = ""] = /^https?:\/\/json-schema\.org\/draft[-/]([\d-]+)\/schema#?$/.exec(String(dialect)) ?? [];
  const draft = dialect === undefined ? "2020-12" : DRAFTS.get(name);
  if (draft === undefined) return null;
  return nodes.some(hasBooleanBound) ? "4" : draft;
}

const DRAFTS: ReadonlyMap<string, SchemaDraft> = new Map([
  ["04", "4"],
  ["06", "7"],
  ["07", "7"],
  ["2019-09", "2019-09"],
  ["2020-12", "2020-12"],
]);

/** Draft 4 and OpenAPI 3.0 write `exclusiveMinimum: true` beside `minimum`. */
function hasBooleanBound({ exclusiveMinimum, exclusiveMaximum }: Schema): boolean {
  return typeof exclusiveMinimum === "boolean" || typeof exclusiveMaximum === "boolean";
}

/** Implements OpenAPI 3.0's `nullable`. Keeps the node object itself, because references point to it. */
function allowNull(node: Schema): void {
  const rest: Schema = Object.create(null, Object.getOwnPropertyDescriptors(node));
  for (const key of Object.keys(node)) delete node[key];
  node.anyOf = [{ type: "null" }, rest];
}

const count = z.int().nonnegative().optional();
const bound = z.union([z.number(), z.boolean()]).optional();
const typeName = z.enum(["string", "number", "integer", "boolean", "null", "object", "array"]);
/** The library repeats a node's constants in each of its many error messages. This empties them, to save memory. */
function keepMessagesShort(node: Schema): void {
  const { const: only, enum: values = [only] } = node;
  if (only !== undefined) node.enum = values.filter((value) => deepCompareStrict(value, only));
  delete node.const;
  if (node.enum !== undefined) Object.defineProperty(node.enum, "toJSON", { value: () => [] });
}

const list = z.array(z.unknown()).optional();
/** The types of keywords in JSON Schema. The library does not check them and would refuse values for a malformed keyword. */
const supportedKeywords = z.looseObject({
  type: z.union([typeName, z.array(typeName)]).optional(),
  enum: list,
  required: z.array(z.string()).optional(),
  pattern: z.string().optional(),
  ...{ anyOf: list, oneOf: list, allOf: list, prefixItems: list },
  ...{ minLength: count, maxLength: count, minItems: count, maxItems: count, minContains: count, maxContains: count },
  ...{ minProperties: count, maxProperties: count, uniqueItems: z.boolean().optional() },
  ...{ minimum: z.number().optional(), maximum: z.number().optional(), multipleOf: z.number().positive().optional() },
  ...{ exclusiveMinimum: bound, exclusiveMaximum: bound },
  // The library does not implement these two correctly.
  ...{ $dynamicRef: z.never().optional(), $recursiveRef: z.never().optional() },
});
