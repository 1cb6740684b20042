import type { Json, ReadSchema, SchemaNode } from "../../schema/wire/json-schema/schema-node.ts";

/** Validates a value against a read schema, independently of the grammar. */
export function fits(value: Json, { root, definitions }: ReadSchema): boolean {
  const holds = (one: Json, node: SchemaNode): boolean => {
    switch (node.kind) {
      case "any":
        return true;
      case "null":
        return one === null;
      case "boolean":
        return typeof one === "boolean";
      case "literals":
        return node.values.some((literal) => JSON.stringify(literal) === JSON.stringify(one));
      case "string": {
        const length = typeof one === "string" ? [...one].length : -1;
        return length >= node.min && length <= (node.max ?? Infinity);
      }
      case "pattern":
        // `pattern-grammar.test.ts` has the real expressions.
        return typeof one === "string";
      case "number": {
        if (typeof one !== "number" || (node.integer && !Number.isInteger(one))) return false;
        const { min = null, max = null, aboveMin = false, belowMax = false } = node.bounds ?? {};
        const above = min === null || (aboveMin ? one > min : one >= min);
        return above && (max === null || (belowMax ? one < max : one <= max));
      }
      case "object": {
        if (typeof one !== "object" || one === null || Array.isArray(one)) return false;
        const known = new Map(node.properties.map((property) => [property.name, property]));
        const needed = node.properties.every(({ name, required }) => !required || Object.hasOwn(one, name));
        return (
          needed &&
          Object.entries(one).every(([name, inner]) => {
            const member = known.get(name)?.node ?? node.rest;
            return member !== null && holds(inner, member);
          })
        );
      }
      case "array": {
        if (!Array.isArray(one) || one.length < node.prefix.length + node.min) return false;
        if (one.length > node.prefix.length + (node.max ?? Infinity)) return false;
        return one.every((item, i) => holds(item, node.prefix[i] ?? node.items));
      }
      case "union":
        return node.branches.some((branch) => holds(one, branch));
      case "ref": {
        const target = definitions.get(node.to);
        return target !== undefined && holds(one, target);
      }
      default:
        return node satisfies never;
    }
  };
  return holds(value, root);
}
