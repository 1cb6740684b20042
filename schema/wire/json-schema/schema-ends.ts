import type { SchemaBudget } from "./schema-budget.ts";
import type { ReadSchema, SchemaNode } from "./schema-node.ts";

/** Whether a finite value can satisfy the schema. A list whose items must be such lists again has none, for example. */
export function hasFiniteValue(definitions: ReadSchema["definitions"], budget: SchemaBudget): boolean {
  const ending = new Set<string>();
  const ends = (node: SchemaNode): boolean => {
    budget.step(1);
    switch (node.kind) {
      case "ref":
        return ending.has(node.to);
      case "union":
        return node.branches.some(ends);
      case "object":
        return node.properties.every((property) => !property.required || ends(property.node));
      case "array":
        return node.prefix.every(ends) && (node.min === 0 || ends(node.items));
      default:
        return true;
    }
  };
  // First the definitions that need no reference, then those that refer to them, until nothing is added.
  for (let known = -1; known < ending.size; ) {
    known = ending.size;
    for (const [name, node] of definitions) if (!ending.has(name) && ends(node)) ending.add(name);
  }
  return ending.has("#");
}

/** The definitions that refer to themselves without any schema in between. They do not describe a value. */
export function emptyCycles(definitions: ReadSchema["definitions"], budget: SchemaBudget): string[] {
  const leadsTo = (node: SchemaNode, name: string, seen: Set<string>): boolean => {
    budget.step(1);
    if (node.kind === "union") return node.branches.some((branch) => leadsTo(branch, name, seen));
    if (node.kind !== "ref") return false;
    if (node.to === name) return true;
    if (seen.has(node.to)) return false;
    seen.add(node.to);
    const target = definitions.get(node.to);
    return target !== undefined && leadsTo(target, name, seen);
  };
  return [...definitions].flatMap(([name, node]) => (leadsTo(node, name, new Set()) ? [name] : []));
}
