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
 * Whether a grammar of the schema would have too many alternatives open at once. llama.cpp keeps every alternative that
 * the text so far may still become, and expands all of them before the next character. Alternatives add up, and
 * alternatives with the same beginning multiply with the alternatives inside them.
 *
 * All alternatives that are open together belong to one position of one value. So this function visits each position as
 * the set of nodes that can stand there, and each set once. It may overestimate and never underestimates.
 */
export function hasTooManyChoices({ root, definitions }: ReadSchema, budget: SchemaBudget): boolean {
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

  /** Replaces references and unions by the nodes that they stand for. */
  const leaves = (nodes: readonly SchemaNode[]): SchemaNode[] => {
    const found: SchemaNode[] = [];
    const open = [...nodes];
    for (let node = open.pop(), ways = 0; node !== undefined; node = open.pop()) {
      step(1);
      if (node.kind === "union") open.push(...node.branches);
      else if (node.kind === "ref") open.push(definitions.get(node.to) ?? ANY);
      else {
        ways += choicesOf(node);
        if (ways > LIMITS.schemaChoices) throw new TooManyChoices();
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

  /** Objects with `count` members so far. Required members come first, in order; the others may come in any order. */
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
      if (ways > LIMITS.schemaChoices) throw new TooManyChoices();
      for (const name of new Set(next.flatMap((them) => [...them.keys()]))) {
        const fitting = objects.flatMap((object, i) => {
          const node = next[i]?.get(name) ?? object.rest;
          return node === null ? [] : [{ object, node }];
        });
        step(objects.length);
        value(fitting.map(({ node }) => node));
        if (fitting.every(({ object }) => split(object).required.length <= count)) continue;
        for (const left of byConstant(fitting)) members(left, count + 1);
      }
      const rests = objects.flatMap(({ rest }) => rest ?? []);
      if (rests.length > 0) value(rests);
    });
  };

  /** The groups of objects that are possible for each value of a member: a constant distinguishes them. */
  const byConstant = (fitting: readonly { object: ObjectNode; node: SchemaNode }[]): ObjectNode[][] => {
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
    if (error instanceof TooManyChoices) return true;
    throw error;
  }
}

class TooManyChoices extends Error {}

type Leaf = Exclude<SchemaNode, { kind: "union" | "ref" }>;

/** How many alternatives a value of each kind has open at once in the grammar. */
const CHOICES = Object.freeze({ any: 12, boolean: 2, null: 1, string: 4, number: 8, object: 1, array: 2 } as const);

function choicesOf(node: Leaf): number {
  if (node.kind === "literals") return node.values.length;
  return node.kind === "pattern" ? positionsOf(node.pattern) : CHOICES[node.kind];
}

/** The nodes that can stand at a position of a list. */
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

/** The beginnings of a node's values: for constants their kind and their JSON, for other values only their kind. */
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
