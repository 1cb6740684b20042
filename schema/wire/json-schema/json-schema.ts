import { LIMITS } from "../limits.ts";
import { OverBudget, SchemaBudget } from "./schema-budget.ts";
import { hasTooManyChoices } from "./schema-choices.ts";
import { ANY, ANY_OBJECT, NO_MEMBERS, type ReadSchema, type SchemaNode } from "./schema-node.ts";
import { Refused, SchemaReader } from "./schema-reader.ts";
import { takesNoParameters } from "./tool-parameters.ts";

export interface SchemaMode {
  /** If true, a keyword that a worker does not enforce is refused by name. If false, such keywords are ignored. */
  readonly strict: boolean;
  /** Shared by all schemas of one request. */
  readonly budget: SchemaBudget;
}

export type SchemaReading =
  | { readonly ok: true; readonly schema: ReadSchema }
  | {
      readonly ok: false;
      /** The path to the keyword from the schema's root, with dots. Empty for the whole schema. */
      readonly path: string;
      readonly message: string;
      /** What the client can do about a keyword that is not enforced. Null if the schema is malformed. */
      readonly remedy: string | null;
      /** True if the schemas of the request together need more steps than one request may use. */
      readonly overBudget: boolean;
    };

const OVER_BUDGET: SchemaReading = {
  ok: false,
  path: "",
  message: "Reading the schemas of this request takes too long. Send smaller schemas, or fewer alternatives.",
  remedy: null,
  overBudget: true,
};

/** The mode of the agent, and the default: keywords that cannot be enforced are ignored. */
const lenient = (): SchemaMode => ({ strict: false, budget: new SchemaBudget() });

/** Reads a schema. The caller must have checked its size and depth (`json-size.ts`). */
export function readJsonSchema(given: unknown, mode = lenient()): SchemaReading {
  return asReading(() => read(given, mode));
}

/** Reads the parameters of a function. A schema without parameters means `{}`. The top level is always an object. */
export function readToolParameters(given: unknown, mode = lenient()): SchemaReading {
  return asReading(() => {
    if (takesNoParameters(given)) return { root: NO_MEMBERS, definitions: new Map() };
    const { root, definitions } = read(given, mode);
    const objects = objectsOnly(root, definitions, mode.budget);
    if (objects === null)
      throw new Refused([], "The parameters of a function must be an object: set type to object at the top level.");
    return { root: objects, definitions };
  });
}

function asReading(work: () => ReadSchema): SchemaReading {
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
  if (!hasTooManyChoices(schema, budget)) return schema;
  if (strict) {
    throw new Refused(
      [],
      `The schema allows more than ${LIMITS.schemaChoices} alternatives at the same position.`,
      "If alternatives begin in the same way, put a required constant first, with a different value in each.",
    );
  }
  const { root, definitions } = schema;
  return { root: objectsOnly(root, definitions, budget) === root ? ANY_OBJECT : ANY, definitions: new Map() };
}

/** The objects among a node's values: the node itself if all its values are objects, null if none is. */
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
        // A recursive reference adds nothing.
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
