import type { SchemaBudget } from "./schema-budget.ts";
import type { ObjectNode, ReadSchema, SchemaNode } from "./schema-node.ts";

type Definitions = ReadSchema["definitions"];

/** Whether no value fits two of the branches, as far as their kinds and constants show it. Pure. */
export function exclusive(branches: readonly SchemaNode[], definitions: Definitions, budget: SchemaBudget): boolean {
  const all = branches.map((branch) => leavesOf(branch, definitions, budget));
  return all.every((mine, i) =>
    all.slice(i + 1).every((theirs) => mine.every((one) => theirs.every((other) => apart(one, other, budget)))),
  );
}

/** What unions and references stand for, one level deep each way; a reference to what is still read stays one. */
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

function apart(one: SchemaNode, other: SchemaNode, budget: SchemaBudget): boolean {
  budget.step(1);
  const [mine, theirs] = [typesOf(one), typesOf(other)];
  if (mine === null || theirs === null) return false;
  if (![...mine].some((type) => theirs.has(type))) return true;
  if (one.kind === "literals" && other.kind === "literals") return !share(one.values, other.values, budget);
  return one.kind === "object" && other.kind === "object" && toldApart(one, other, budget);
}

/** By a member that both must have, with constants that differ. */
function toldApart(one: ObjectNode, other: ObjectNode, budget: SchemaBudget): boolean {
  return one.properties.some(({ name, required, node }) => {
    if (!required || node.kind !== "literals") return false;
    budget.step(other.properties.length);
    const theirs = other.properties.find((property) => property.name === name && property.required)?.node;
    return theirs?.kind === "literals" && !share(node.values, theirs.values, budget);
  });
}

function share(one: readonly unknown[], other: readonly unknown[], budget: SchemaBudget): boolean {
  budget.step(one.length + other.length);
  const known = new Set(one.map((value) => JSON.stringify(value)));
  return other.some((value) => known.has(JSON.stringify(value)));
}

/** The JSON types of a node's values; null where they may be all. */
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
