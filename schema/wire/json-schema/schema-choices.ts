import { LIMITS } from "../limits.ts";
import type { SchemaBudget } from "./schema-budget.ts";
import {
  ANY,
  ANY_OBJECT,
  type Json,
  type ObjectNode,
  type Property,
  type ReadSchema,
  type SchemaNode,
} from "./schema-node.ts";
import { positionsOf } from "./string-pattern.ts";

/**
 * Pure: whether a grammar of the schema stays within bounds. A grammar is read without looking back: llama.cpp keeps
 * every alternative that what was written so far may still become, and writes all of them out before the next
 * character. Alternatives add up, and those that begin alike multiply with what lies inside them.
 *
 * All that is kept at once stands at one place of one value. So places are visited as the set of nodes that may stand
 * there together, each such set once. More is assumed than may come, never less.
 */
export function tooManyChoices({ root, definitions }: ReadSchema, budget: SchemaBudget): boolean {
  const ids = new Map<SchemaNode, number>();
  const splits = new Map<ObjectNode, Members>();
  const seen = new Set<string>();
  const todo: (() => void)[] = [];
  const begins = new Map<SchemaNode, readonly string[]>();
  const step = (count: number) => budget.step(count);
  const once = (kind: string, nodes: readonly SchemaNode[], then: () => void) => {
    const names = nodes.map((node) => ids.get(node) ?? ids.set(node, ids.size).size - 1).sort((a, b) => a - b);
    const key = `${kind} ${names}`;
    if (seen.has(key)) return;
    seen.add(key);
    todo.push(then);
  };

  const split = (object: ObjectNode): Members => {
    const known = splits.get(object) ?? membersOf(object);
    splits.set(object, known);
    return known;
  };

  /** What references and unions stand for, as often as they do. */
  const leaves = (nodes: readonly SchemaNode[]): SchemaNode[] => {
    const found: SchemaNode[] = [];
    const open = [...nodes];
    for (let node = open.pop(), ways = 0; node !== undefined; node = open.pop()) {
      step(1);
      if (node.kind === "union") open.push(...node.branches);
      else if (node.kind === "ref") open.push(definitions.get(node.to) ?? ANY);
      else {
        ways += waysOf(node);
        if (ways > LIMITS.schemaChoices) throw new TooMany();
        found.push(node);
      }
    }
    return found;
  };

  const value = (nodes: readonly SchemaNode[]) => {
    const all = leaves(nodes);
    once("value", all, () => {
      members(
        all.flatMap((node) => (node.kind === "object" ? [node] : node.kind === "any" ? [ANY_OBJECT] : [])),
        0,
      );
      const lists = all.filter((node) => node.kind === "array");
      const longest = Math.max(0, ...lists.map(({ prefix }) => prefix.length));
      for (let at = 0; at <= longest; at++) {
        const items = all.flatMap((node) => itemAt(node, at));
        if (items.length > 0) value(items);
      }
    });
  };

  /** Objects that have all got so many members. Required ones come first, in order; others have no order here. */
  const members = (objects: readonly ObjectNode[], count: number) => {
    if (objects.length === 0) return;
    once(`members ${count}`, objects, () => {
      const next = objects.map((object): ReadonlyMap<string, SchemaNode> => {
        const { required, optional } = split(object);
        const one = required[count];
        return one === undefined ? optional : new Map([[one.name, one.node]]);
      });
      const ways = next.reduce((sum, them) => sum + them.size + 1, 0);
      step(ways);
      if (ways > LIMITS.schemaChoices) throw new TooMany();
      for (const name of new Set(next.flatMap((them) => [...them.keys()]))) {
        const fitting = objects.flatMap((object, i) => {
          const node = next[i]?.get(name) ?? object.rest;
          return node === null ? [] : [{ object, node }];
        });
        step(objects.length);
        value(fitting.map(({ node }) => node));
        if (fitting.every(({ object }) => split(object).required.length <= count)) continue;
        for (const left of toldApart(fitting)) members(left, count + 1);
      }
      const rests = objects.flatMap(({ rest }) => rest ?? []);
      if (rests.length > 0) value(rests);
    });
  };

  /** Which objects may be meant once the member's value is known: a constant tells them apart. */
  const toldApart = (fitting: readonly { object: ObjectNode; node: SchemaNode }[]): ObjectNode[][] => {
    const known = fitting.map(({ object, node }) => ({ object, begins: new Set(leaves([node]).flatMap(begin)) }));
    const values = new Set(known.flatMap(({ begins }) => [...begins]));
    step(values.size * fitting.length);
    return [...values].map((one) =>
      known
        .filter(({ begins }) => begins.has(one) || begins.has(kindOf(one)) || begins.has("any"))
        .map(({ object }) => object),
    );
  };

  const begin = (node: SchemaNode): readonly string[] => {
    const known = begins.get(node) ?? beginOf(node);
    begins.set(node, known);
    return known;
  };

  try {
    value([root]);
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) next();
    return false;
  } catch (error) {
    if (error instanceof TooMany) return true;
    throw error;
  }
}

class TooMany extends Error {}

type Leaf = Exclude<SchemaNode, { kind: "union" | "ref" }>;

/** How many ways of going on a value of its own has at once, as the grammar writes it. */
const WAYS = Object.freeze({ any: 12, boolean: 2, null: 1, string: 4, number: 8, object: 1, array: 2 } as const);

function waysOf(node: Leaf): number {
  if (node.kind === "literals") return node.values.length;
  return node.kind === "pattern" ? positionsOf(node.pattern) : WAYS[node.kind];
}

/** What stands at a place of a list. */
function itemAt(node: SchemaNode, at: number): SchemaNode[] {
  if (node.kind === "any") return [node];
  if (node.kind !== "array") return [];
  const first = node.prefix[at];
  if (first !== undefined) return [first];
  return node.max === 0 ? [] : [node.items];
}

interface Members {
  readonly required: readonly Property[];
  readonly optional: ReadonlyMap<string, SchemaNode>;
}

function membersOf({ properties }: ObjectNode): Members {
  const optional = properties.filter(({ required }) => !required);
  return {
    required: properties.filter(({ required }) => required),
    optional: new Map(optional.map(({ name, node }) => [name, node])),
  };
}

/** Constants as JSON, after their kind; other values by their kind alone. */
function beginOf(node: SchemaNode): string[] {
  switch (node.kind) {
    case "literals":
      return node.values.map((value) => `${jsonKind(value)} ${JSON.stringify(value)}`);
    case "pattern":
      return ["string"];
    default:
      return [node.kind];
  }
}

const kindOf = (begun: string) => begun.split(" ", 1)[0] ?? "";

function jsonKind(value: Json): SchemaNode["kind"] {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  const type = typeof value;
  return type === "string" || type === "number" || type === "boolean" ? type : "object";
}
