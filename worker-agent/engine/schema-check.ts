import { isDeepStrictEqual } from "node:util";
import type { ReadSchema, SchemaNode } from "../../schema/wire/schema-node.ts";

/** Of one check: a schema that refers to itself within alternatives can ask for more than anybody waits for. */
const MOST_STEPS = 200_000;
const MOST_DEPTH = 500;

/**
 * Pure: whether a value that another server made validates against the part of a schema that Ligand enforces. Of a
 * pattern only that it is text is looked at, and members that the schema does not list pass. What takes more steps than
 * `MOST_STEPS` to tell is taken for valid.
 */
export function matchesSchema(value: unknown, { root, definitions }: ReadSchema): boolean {
  let steps = 0;
  const matches = (one: unknown, node: SchemaNode, depth: number): boolean => {
    steps += 1;
    if (steps > MOST_STEPS) return true;
    if (depth > MOST_DEPTH) return false;
    const inside = (member: unknown, of: SchemaNode) => matches(member, of, depth + 1);
    switch (node.kind) {
      case "any":
        return true;
      case "null":
        return one === null;
      case "boolean":
        return typeof one === "boolean";
      case "literals":
        return node.values.some((literal) => isDeepStrictEqual(literal, one));
      case "string":
        return typeof one === "string" && isWithin([...one].length, node);
      case "pattern":
        return typeof one === "string";
      case "number":
        return isNumber(one, node);
      case "array":
        return Array.isArray(one) && hasItems(one, node, inside);
      case "union":
        return node.branches.some((branch) => inside(one, branch));
      case "ref": {
        const target = definitions.get(node.to);
        return target === undefined || inside(one, target);
      }
      case "object":
        return isObject(one) && hasMembers(one, node, inside);
      default:
        return node satisfies never;
    }
  };
  return matches(value, root, 0);
}

type Of<K extends SchemaNode["kind"]> = Extract<SchemaNode, { kind: K }>;

function hasMembers(
  value: Record<string, unknown>,
  { properties, rest }: Of<"object">,
  inside: (member: unknown, node: SchemaNode) => boolean,
): boolean {
  const listed = new Map(properties.map((property) => [property.name, property]));
  for (const { name, required } of properties) if (required && !Object.hasOwn(value, name)) return false;
  return Object.entries(value).every(([name, member]) => {
    const node = listed.get(name)?.node ?? rest;
    return node === null || inside(member, node);
  });
}

function hasItems(
  value: readonly unknown[],
  { prefix, items, min, max }: Of<"array">,
  inside: (item: unknown, node: SchemaNode) => boolean,
): boolean {
  const more = value.length - prefix.length;
  return isWithin(more, { min, max }) && value.every((item, at) => inside(item, prefix[at] ?? items));
}

function isNumber(value: unknown, { integer, bounds }: Of<"number">): boolean {
  if (typeof value !== "number" || (integer && !Number.isInteger(value))) return false;
  if (bounds === null) return true;
  const { min, max, aboveMin, belowMax } = bounds;
  if (min !== null && (aboveMin ? value <= min : value < min)) return false;
  return max === null || (belowMax ? value < max : value <= max);
}

function isWithin(length: number, { min, max }: { readonly min: number; readonly max: number | null }): boolean {
  return length >= min && (max === null || length <= max);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
