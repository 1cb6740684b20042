type Schema = Record<string, unknown>;

interface MergeContext {
  /** Resolves a reference. Undefined if it has no target. */
  find(ref: string): unknown;
  /** References that are already replaced in an outer schema. Replacing them again would never end. */
  readonly inlined: readonly string[];
  step(): void;
}

/**
 * Merges the schemas of an `allOf` and the keywords beside it into one schema, as far as possible. If two schemas have
 * different values for a keyword, the first one applies.
 */
export function mergeAllOf(given: Schema, merging: MergeContext): { schema: Schema; inlined: string[] } {
  const inlined: string[] = [];
  const open = (one: unknown): Schema => {
    merging.step();
    if (typeof one !== "object" || one === null || Array.isArray(one)) return {};
    const { allOf, $ref, ...own } = one as Schema;
    const parts = Array.isArray(allOf) ? allOf.map(open) : [];
    if (typeof $ref === "string" && !merging.inlined.includes($ref) && !inlined.includes($ref)) {
      inlined.push($ref);
      parts.unshift(open(merging.find($ref)));
    }
    return parts.reduce<Schema>(mergeTwo, own);
  };
  const { $defs: _defs, definitions: _definitions, ...schema } = open(given);
  return { schema, inlined };
}

function mergeTwo(one: Schema, other: Schema): Schema {
  const all: Schema = { ...other, ...one };
  if (isObject(one.properties) && isObject(other.properties)) {
    const mine = one.properties;
    const both = Object.entries(other.properties).map(([name, theirs]) => {
      return [name, Object.hasOwn(mine, name) ? { allOf: [mine[name], theirs] } : theirs] as const;
    });
    all.properties = { ...mine, ...Object.fromEntries(both) };
  }
  if (Array.isArray(one.required) && Array.isArray(other.required)) {
    all.required = [...new Set([...one.required, ...other.required])];
  }
  if (one.additionalProperties !== undefined && other.additionalProperties === false) all.additionalProperties = false;
  return all;
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
