import type { Bounds } from "./number-bounds.ts";
import { PLAIN_FORMATS } from "./plain-keywords.ts";
import type { ReadSchema, SchemaNode } from "./schema-node.ts";
import { formatPattern } from "./string-formats.ts";

/**
 * Writes a schema with only the keywords that agents before `ligand.worker.v1.2` know. Those agents fail a job whose
 * schema has any other keyword. A pattern becomes any text, and a tuple becomes a list of any of its items.
 */
export function plainSchema({ root, definitions }: ReadSchema): Record<string, unknown> {
  const names = new Map<string, string>();
  const refTo = (to: string): string => {
    const name = names.get(to) ?? `d${names.size}`;
    names.set(to, name);
    return `#/$defs/${name}`;
  };
  const schema = plainNode(root, refTo);
  const $defs: Record<string, unknown> = {};
  // Writing a definition can add further names.
  for (const [to, name] of names) $defs[name] = plainNode(definitions.get(to) ?? { kind: "any" }, refTo);
  return names.size === 0 ? schema : { ...schema, $defs };
}

function plainNode(node: SchemaNode, refTo: (to: string) => string): Record<string, unknown> {
  switch (node.kind) {
    case "any":
      return {};
    case "null":
    case "boolean":
      return { type: node.kind };
    case "literals":
      return { enum: node.values };
    case "string":
      return {
        type: "string",
        ...(node.min > 0 && { minLength: node.min }),
        ...(node.max !== null && { maxLength: node.max }),
      };
    case "pattern": {
      const format = PLAIN_FORMATS.find((name) => formatPattern(name) === node.pattern);
      return { type: "string", ...(format && { format }) };
    }
    case "number":
      return { type: node.integer ? "integer" : "number", ...(node.bounds && boundKeywords(node.bounds)) };
    case "object":
      return {
        type: "object",
        properties: Object.fromEntries(node.properties.map(({ name, node: inner }) => [name, plainNode(inner, refTo)])),
        required: node.properties.filter(({ required }) => required).map(({ name }) => name),
        additionalProperties: node.rest === null ? false : plainNode(node.rest, refTo),
      };
    case "array": {
      const { prefix, min, max } = node;
      const all = [...prefix, ...(max === 0 ? [] : [node.items])].map((item) => plainNode(item, refTo));
      const [only = {}] = all;
      return {
        type: "array",
        items: all.length > 1 ? { anyOf: all } : only,
        minItems: prefix.length + min,
        ...(max !== null && { maxItems: prefix.length + max }),
      };
    }
    case "union":
      return { anyOf: node.branches.map((branch) => plainNode(branch, refTo)) };
    case "ref":
      return { $ref: refTo(node.to) };
    default:
      return node satisfies never;
  }
}

function boundKeywords({ min, max, aboveMin, belowMax }: Bounds): Record<string, number> {
  return {
    ...(min !== null && { [aboveMin ? "exclusiveMinimum" : "minimum"]: min }),
    ...(max !== null && { [belowMax ? "exclusiveMaximum" : "maximum"]: max }),
  };
}
