import { LIMITS } from "../limits.ts";
import { OverBudget, SchemaBudget } from "./schema-budget.ts";
import { tooManyChoices } from "./schema-choices.ts";
import { ANY, ANY_OBJECT, NO_MEMBERS, type ReadSchema, type SchemaNode } from "./schema-node.ts";
import { Refused, SchemaReader } from "./schema-reader.ts";
import { takesNoParameters } from "./tool-parameters.ts";

export interface SchemaMode {
  /** Refuse by name what a worker does not enforce. Otherwise it passes, and a worker enforces the rest. */
  readonly strict: boolean;
  /** Shared by all schemas of one request. */
  readonly budget: SchemaBudget;
}

export type SchemaReading =
  | { readonly ok: true; readonly schema: ReadSchema }
  | {
      readonly ok: false;
      /** Names the offending keyword, dotted, from the schema's root; empty for the whole. */
      readonly path: string;
      readonly message: string;
      /** What to do about a part that means something and is not enforced; null where the schema is malformed. */
      readonly remedy: string | null;
      /** True where the request's schemas together take more steps than one request may take. */
      readonly overBudget: boolean;
    };

const OVER_BUDGET: SchemaReading = {
  ok: false,
  path: "",
  message: "Reading the schemas of this request takes too long. Send smaller schemas, or fewer alternatives.",
  remedy: null,
  overBudget: true,
};

/** By default as an agent reads: what can be enforced is enforced, and the rest passes. */
const lenient = (): SchemaMode => ({ strict: false, budget: new SchemaBudget() });

/** The caller has measured the schema (`json-size.ts`): neither its depth nor its size is the client's to choose. */
export function readJsonSchema(given: unknown, mode = lenient()): SchemaReading {
  return reading(() => read(given, mode));
}

/** The parameters of a function. A schema that names no parameters means `{}`; its top level is always an object. */
export function readToolParameters(given: unknown, mode = lenient()): SchemaReading {
  return reading(() => {
    if (takesNoParameters(given)) return { root: NO_MEMBERS, definitions: new Map() };
    const { root, definitions } = read(given, mode);
    const objects = objectsOnly(root, definitions, mode.budget);
    if (objects === null)
      throw new Refused([], "The parameters of a function are an object: its top level says type object.");
    return { root: objects, definitions };
  });
}

function reading(work: () => ReadSchema): SchemaReading {
  try {
    return { ok: true, schema: work() };
  } catch (error) {
    if (error instanceof OverBudget) return OVER_BUDGET;
    if (!(error instanceof Refused)) throw error;
    const { path, message, remedy } = error;
    return { ok: false, path: path.join(".").slice(0, 200), message, remedy, overBudget: false };
  }
}

function read(given: unknown, { strict, budget }: SchemaMode): ReadSchema {
  const schema = new SchemaReader(given, strict, budget).read();
  if (!tooManyChoices(schema, budget)) return schema;
  if (strict) {
    throw new Refused(
      [],
      `The schema leaves more than ${LIMITS.schemaChoices} ways of going on open at once.`,
      "Where alternatives begin alike, let a required constant come first that tells them apart.",
    );
  }
  const { root, definitions } = schema;
  return { root: objectsOnly(root, definitions, budget) === root ? ANY_OBJECT : ANY, definitions: new Map() };
}

/** The part of a node that is objects, itself where it is nothing else; null where it has none. */
function objectsOnly(
  node: SchemaNode,
  definitions: ReadSchema["definitions"],
  budget: SchemaBudget,
  known = new Map<string, SchemaNode | null>(),
): SchemaNode | null {
  budget.step(1);
  switch (node.kind) {
    case "object":
      return node;
    case "any":
      return ANY_OBJECT;
    case "literals": {
      const values = node.values.filter(
        (value) => typeof value === "object" && value !== null && !Array.isArray(value),
      );
      if (values.length === node.values.length) return node;
      return values.length === 0 ? null : { kind: "literals", values };
    }
    case "ref": {
      const target = definitions.get(node.to);
      if (target === undefined) return null;
      if (!known.has(node.to)) {
        // While it is looked at it adds nothing to itself.
        known.set(node.to, null);
        known.set(node.to, objectsOnly(target, definitions, budget, known));
      }
      const objects = known.get(node.to) ?? null;
      return objects === target ? node : objects;
    }
    case "union": {
      const branches = node.branches.map((branch) => objectsOnly(branch, definitions, budget, known));
      if (branches.every((branch, i) => branch === node.branches[i])) return node;
      const some = branches.filter((branch) => branch !== null);
      return some.length === 0 ? null : { kind: "union", branches: some };
    }
    default:
      return null;
  }
}
