import { deepCompareStrict, dereference, type Schema, type SchemaDraft, validate } from "@cfworker/json-schema";
import * as z from "zod";
import { STRING_FORMATS } from "../../../schema/wire/string-formats.ts";
import { withinTime } from "./time-limit.ts";

/** Regular expressions, and alternatives that refer to themselves, can take longer than the universe lasts. */
const MOST_MS = 500;

/** A value that another server made, and the client's schema for it. */
export type Check = readonly [value: unknown, schema: object];

/**
 * Whether all values validate against their schemas, by JSON Schema's own rules. A value is refused only where its
 * schema refuses it: what cannot be told here, or not in `MOST_MS` for all together, counts as valid.
 *
 * @param strict whether `format` is checked, too; by JSON Schema 2020-12 it only describes
 */
export function allMatch(checks: readonly Check[], { strict }: { readonly strict: boolean }): boolean {
  return withinTime(MOST_MS, () => checks.every((check) => matches(check, strict))) ?? true;
}

function matches([value, schema]: Check, strict: boolean): boolean {
  try {
    // The library writes into the schema that it reads.
    const root: Schema = structuredClone(schema);
    const lookup = dereference(root);
    const nodes = Object.values(lookup).filter((node): node is Schema => typeof node === "object");
    const draft = draftOf(root.$schema, nodes);
    if (draft === null || !nodes.every((node) => understood.safeParse(node).success)) return true;
    for (const node of nodes) {
      if (!strict || !STRING_FORMATS.some((known) => known === node.format)) delete node.format;
      keepMessagesShort(node);
      if (node.nullable === true) allowNull(node);
    }
    return validate(value, root, draft, lookup).valid;
  } catch {
    // A reference that leads nowhere, a malformed expression, or no stack left for what is nested too deep.
    return true;
  }
}

/** Null where the schema names a dialect that is not known here. */
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

/** OpenAPI 3.0's `nullable`. The parts of the schema stay the same objects, because references look them up. */
function allowNull(node: Schema): void {
  const rest: Schema = Object.create(null, Object.getOwnPropertyDescriptors(node));
  for (const key of Object.keys(node)) delete node[key];
  node.anyOf = [{ type: "null" }, rest];
}

const count = z.int().nonnegative().optional();
const bound = z.union([z.number(), z.boolean()]).optional();
const typeName = z.enum(["string", "number", "integer", "boolean", "null", "object", "array"]);
/** The library repeats a node's constants in each of its many messages, which nobody reads and which fill the memory. */
function keepMessagesShort(node: Schema): void {
  const { const: only, enum: values = [only] } = node;
  if (only !== undefined) node.enum = values.filter((value) => deepCompareStrict(value, only));
  delete node.const;
  if (node.enum !== undefined) Object.defineProperty(node.enum, "toJSON", { value: () => [] });
}

const list = z.array(z.unknown()).optional();
/** The keywords as JSON Schema has them. The library does not look, and would refuse values for a malformed one. */
const understood = z.looseObject({
  type: z.union([typeName, z.array(typeName)]).optional(),
  enum: list,
  required: z.array(z.string()).optional(),
  pattern: z.string().optional(),
  ...{ anyOf: list, oneOf: list, allOf: list, prefixItems: list },
  ...{ minLength: count, maxLength: count, minItems: count, maxItems: count, minContains: count, maxContains: count },
  ...{ minProperties: count, maxProperties: count, uniqueItems: z.boolean().optional() },
  ...{ minimum: z.number().optional(), maximum: z.number().optional(), multipleOf: z.number().positive().optional() },
  ...{ exclusiveMinimum: bound, exclusiveMaximum: bound },
  // The library does not follow these two as they are meant.
  ...{ $dynamicRef: z.never().optional(), $recursiveRef: z.never().optional() },
});
