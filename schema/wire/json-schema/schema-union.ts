import type { SchemaBudget } from "./schema-budget.ts";
import type { ObjectNode, ReadSchema, SchemaNode } from "./schema-node.ts";

type Definitions = ReadSchema["definitions"];

/** Whether no value can fit two of the branches, as far as their kinds and constants show. */
export function areExclusive(branches: readonly SchemaNode[], definitions: Definitions, budget: SchemaBudget): boolean {
  const all = branches.map((branch) => leavesOf(branch, definitions, budget));
  return all.every((mine, i) =>
    all.slice(i + 1).every((theirs) => mine.every((one) => theirs.every((other) => areDisjoint(one, other, budget)))),
  );
}

/** The nodes that unions and references stand for. A reference to a definition that is still being read stays as it is. */
function leavesOf(
  node: SchemaNode,
  definitions: Definitions,
  budget: SchemaBudget,
  seen: readonly string[] = [],
): SchemaNode[] {
  budget.step(1);
  if (node.kind === "union") return node.branches.flatMap((branch) => leavesOf(branch, definitions, budget, seen));
  const target = node.kind === "ref" && !seen.includes(node.to) ? definitions.get(node.to) : undefined;
  return target && node.kind === "ref" ? leavesOf(target, definitions, budget, [...seen, node.to]) : [node];
}

function areDisjoint(one: SchemaNode, other: SchemaNode, budget: SchemaBudget): boolean {
  budget.step(1);
  const [mine, theirs] = [typesOf(one), typesOf(other)];
  if (mine === null || theirs === null) return false;
  if (![...mine].some((type) => theirs.has(type))) return true;
  if (one.kind === "literals" && other.kind === "literals") return !shareValue(one.values, other.values, budget);
  return one.kind === "object" && other.kind === "object" && differInConstant(one, other, budget);
}

/** Whether both objects require a member with different constants. */
function differInConstant(one: ObjectNode, other: ObjectNode, budget: SchemaBudget): boolean {
  return one.properties.some(({ name, required, node }) => {
    if (!required || node.kind !== "literals") return false;
    budget.step(other.properties.length);
    const theirs = other.properties.find((property) => property.name === name && property.required)?.node;
    return theirs?.kind === "literals" && !shareValue(node.values, theirs.values, budget);
  });
}

function shareValue(one: readonly unknown[], other: readonly unknown[], budget: SchemaBudget): boolean {
  budget.step(one.length + other.length);
  const known = new Set(one.map((value) => JSON.stringify(value)));
  return other.some((value) => known.has(JSON.stringify(value)));
}

/** The JSON types of a node's values. Null if they can be of any type. */
function typesOf(node: SchemaNode): ReadonlySet<string> | null {
  switch (node.kind) {
    case "any":
    case "union":
    case "ref":
      return null;
    case "literals":
      return new Set(
        node.values.map((value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value)),
      );
    case "pattern":
      return new Set(["string"]);
    default:
      return new Set([node.kind]);
  }
}
