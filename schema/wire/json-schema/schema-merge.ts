type Schema = Record<string, unknown>;

interface Merging {
  /** What a reference names; undefined where that is nothing. */
  find(ref: string): unknown;
  /** References that are put in place already, further out: once more would have no end. */
  readonly inlined: readonly string[];
  step(): void;
}

/**
 * One schema for those of an `allOf` and for what stands beside it, as far as they can be written as one. Where two say
 * different things by the same keyword the first one holds. Pure.
 */
export function flattened(given: Schema, merging: Merging): { schema: Schema; inlined: string[] } {
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
    return parts.reduce<Schema>(merged, own);
  };
  const { $defs: _defs, definitions: _definitions, ...schema } = open(given);
  return { schema, inlined };
}

function merged(one: Schema, other: Schema): Schema {
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
