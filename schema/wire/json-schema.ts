import { canonicalBytesOrNull } from "../crypto/canonical.ts";
import { LIMITS } from "./limits.ts";
import { BOUND_KEYWORDS, type Bounds, readBounds } from "./number-bounds.ts";
import { tooManyChoices } from "./schema-choices.ts";

/**
 * The part of JSON Schema (2020-12) that a worker can enforce while it generates. A schema is read into this small
 * form, by the pool so that a client hears at once what is not supported, and by the agent, which makes a grammar of
 * it. A keyword that is not understood is refused by name; none is ignored but annotations.
 *
 * What is generated always validates; not all that validates is generated: an object with `properties` gets those
 * only, and numbers have at most 15 digits.
 */
export type SchemaNode =
  | { readonly kind: "any" | "boolean" | "null" }
  | { readonly kind: "literals"; readonly values: readonly Json[] }
  | { readonly kind: "string"; readonly min: number; readonly max: number | null }
  | { readonly kind: "format"; readonly format: StringFormat }
  | { readonly kind: "number"; readonly integer: boolean; readonly bounds: Bounds | null }
  | { readonly kind: "object"; readonly properties: readonly Property[]; readonly rest: SchemaNode | null }
  | { readonly kind: "array"; readonly items: SchemaNode; readonly min: number; readonly max: number | null }
  | { readonly kind: "union"; readonly branches: readonly SchemaNode[] }
  /** A key of `definitions`. */
  | { readonly kind: "ref"; readonly to: string };

export interface Property {
  readonly name: string;
  readonly required: boolean;
  readonly node: SchemaNode;
}

export type StringFormat = (typeof STRING_FORMATS)[number];
export const STRING_FORMATS = ["date", "time", "date-time", "uuid"] as const;

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface ReadSchema {
  readonly root: SchemaNode;
  /** By pointer: `#`, `#/$defs/name`. */
  readonly definitions: ReadonlyMap<string, SchemaNode>;
}

export type SchemaReading =
  | { readonly ok: true; readonly schema: ReadSchema }
  /** `path` names the offending keyword, dotted, from the schema's root; empty for the whole. */
  | ({ readonly ok: false; readonly path: string } & Refusal);

interface Refusal {
  readonly message: string;
  /** What to do about a part that means something and is not supported; null where the schema is malformed. */
  readonly remedy: string | null;
}

/** An object of anything: `response_format: {type: "json_object"}`, and a function without `parameters`. */
export const ANY_OBJECT: ReadSchema = {
  root: { kind: "object", properties: [], rest: { kind: "any" } },
  definitions: new Map(),
};

const TOO_MANY_CHOICES = `The schema leaves more than ${LIMITS.schemaChoices} ways of going on open at once. Where alternatives begin alike, let a required constant come first that tells them apart.`;

const ANNOTATIONS = new Set([
  ...["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"],
  ...["deprecated", "readOnly", "writeOnly"],
]);
const TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"] as const;

export function readJsonSchema(given: unknown): SchemaReading {
  const reader = new Reader(given);
  try {
    return { ok: true, schema: reader.read() };
  } catch (error) {
    if (error instanceof Refused) return error.reading;
    throw error;
  }
}

/** Carries a refusal out of the recursion; it never leaves this file. */
class Refused extends Error {
  readonly reading: Extract<SchemaReading, { ok: false }>;

  constructor(path: readonly string[], message: string, remedy: string | null = null) {
    super(message);
    this.reading = { ok: false, path: path.join(".").slice(0, 200), message, remedy };
  }
}

/** What a client may do about a keyword that has no better advice. */
const CHECK = "Leave it out of the schema, and check the answer for it.";
const ADVICE: Readonly<Record<string, string>> = Object.freeze({
  oneOf: "Use anyOf.",
  patternProperties: "Use properties, or additionalProperties.",
  prefixItems: "Use an object with a property for each.",
});

type Path = readonly string[];
type Schema = Record<string, unknown>;

class Reader {
  readonly #given: unknown;
  readonly #definitions = new Map<string, SchemaNode>();
  readonly #reading = new Set<string>();
  #nodes = 0;

  constructor(given: unknown) {
    this.#given = given;
  }

  read(): ReadSchema {
    if (!isObject(this.#given)) throw new Refused([], "A schema is an object.");
    // Before the walk: neither its depth nor its size is the client's to choose.
    if (depthOf(this.#given) > LIMITS.schemaDepth) {
      throw new Refused([], `The schema is nested deeper than ${LIMITS.schemaDepth} levels.`);
    }
    const bytes = canonicalBytesOrNull(this.#given);
    if (bytes === null) throw new Refused([], "The schema holds text that is not Unicode.");
    if (bytes.length > LIMITS.schemaBytes) {
      throw new Refused([], `The schema is larger than ${LIMITS.schemaBytes} bytes.`);
    }
    const root = this.#node(this.#given, [], 0);
    this.#definitions.set("#", root);
    const schema = { root, definitions: this.#definitions };
    refuseEndless(schema);
    if (tooManyChoices(schema)) throw new Refused([], TOO_MANY_CHOICES);
    return schema;
  }

  #node(given: unknown, path: Path, depth: number): SchemaNode {
    this.#nodes += 1;
    if (this.#nodes > LIMITS.schemaNodes) {
      throw new Refused(path, `The schema has more than ${LIMITS.schemaNodes} parts.`);
    }
    if (given === true) return { kind: "any" };
    if (!isObject(given)) {
      throw new Refused(
        path,
        "A schema is an object, or true.",
        given === false ? "Leave out what may not be there." : null,
      );
    }
    const left = new Set(Object.keys(given).filter((key) => !ANNOTATIONS.has(key)));
    const take = (key: string): unknown => {
      left.delete(key);
      return Object.hasOwn(given, key) ? given[key] : undefined;
    };
    const node = this.#kind(given, take, path, depth);
    const [unread] = left;
    if (unread !== undefined) {
      throw new Refused(
        [...path, unread],
        `The JSON Schema keyword ${unread} is not supported here.`,
        Object.hasOwn(ADVICE, unread) ? ADVICE[unread] : CHECK,
      );
    }
    return node;
  }

  #kind(given: Schema, take: (key: string) => unknown, path: Path, depth: number): SchemaNode {
    const ref = take("$ref");
    if (ref !== undefined) return this.#ref(ref, [...path, "$ref"], depth);

    const allOf = take("allOf");
    if (allOf !== undefined) {
      if (Array.isArray(allOf) && allOf.length === 1) return this.#node(allOf[0], [...path, "allOf", "0"], depth + 1);
      throw new Refused(
        [...path, "allOf"],
        "allOf is supported with a single schema only.",
        "Write them as one schema.",
      );
    }
    const anyOf = take("anyOf");
    if (anyOf !== undefined) {
      const at = [...path, "anyOf"];
      if (!Array.isArray(anyOf) || anyOf.length === 0) throw new Refused(at, "anyOf is a list of schemas.");
      return { kind: "union", branches: anyOf.map((one, i) => this.#node(one, [...at, String(i)], depth + 1)) };
    }
    if (Object.hasOwn(given, "const"))
      return { kind: "literals", values: typed([take("const") as Json], take("type")) };
    const values = take("enum");
    if (values !== undefined) {
      const at = [...path, "enum"];
      if (!Array.isArray(values) || values.length === 0) throw new Refused(at, "enum is a list of values.");
      if (values.length > LIMITS.schemaEnumValues) {
        throw new Refused(at, `An enum has at most ${LIMITS.schemaEnumValues} values.`);
      }
      const fitting = typed(values, take("type"));
      if (fitting.length === 0) throw new Refused(at, "No value of enum is of the given type.");
      return { kind: "literals", values: fitting };
    }

    const type = take("type");
    const types = type === undefined ? impliedType(given) : Array.isArray(type) ? type : [type];
    if (types.length === 0) return { kind: "any" };
    const branches = types.map((one) => this.#typed(one, take, path, depth));
    const [only] = branches;
    return branches.length === 1 && only ? only : { kind: "union", branches };
  }

  #typed(type: unknown, take: (key: string) => unknown, path: Path, depth: number): SchemaNode {
    switch (type) {
      case "boolean":
      case "null":
        return { kind: type };
      case "string":
        return this.#string(take, path);
      case "number":
      case "integer":
        return this.#number(type === "integer", take, path);
      case "array": {
        const items = take("items");
        const [min, max] = this.#range("minItems", "maxItems", LIMITS.schemaItems, take, path);
        const unique = take("uniqueItems");
        if (unique !== undefined && unique !== false) {
          throw new Refused(
            [...path, "uniqueItems"],
            "The JSON Schema keyword uniqueItems is not supported here.",
            CHECK,
          );
        }
        return {
          kind: "array",
          items: items === undefined ? { kind: "any" } : this.#node(items, [...path, "items"], depth + 1),
          min,
          max,
        };
      }
      case "object":
        return this.#object(take, path, depth);
      default:
        throw new Refused([...path, "type"], `A type is one of ${TYPES.join(", ")}.`);
    }
  }

  #string(take: (key: string) => unknown, path: Path): SchemaNode {
    const format = take("format");
    if (format !== undefined) {
      const known = STRING_FORMATS.find((name) => name === format);
      if (known !== undefined) return { kind: "format", format: known };
      const list = STRING_FORMATS.join(", ");
      const remedy = "Use one of them, or leave format out and check the answer.";
      throw new Refused([...path, "format"], `Of string formats these are supported: ${list}.`, remedy);
    }
    const [min, max] = this.#range("minLength", "maxLength", LIMITS.schemaStringChars, take, path);
    return { kind: "string", min, max };
  }

  #number(integer: boolean, take: (key: string) => unknown, path: Path): SchemaNode {
    const [minimum, exclusiveMinimum, maximum, exclusiveMaximum] = BOUND_KEYWORDS.map(take);
    const reading = readBounds({ minimum, exclusiveMinimum, maximum, exclusiveMaximum }, integer);
    if (!reading.ok) throw new Refused([...path, reading.keyword], reading.message, reading.remedy);
    return { kind: "number", integer, bounds: reading.bounds };
  }

  #object(take: (key: string) => unknown, path: Path, depth: number): SchemaNode {
    const properties = take("properties") ?? {};
    const required = take("required") ?? [];
    const additional = take("additionalProperties");
    if (!isObject(properties)) throw new Refused([...path, "properties"], "properties is an object of schemas.");
    if (!Array.isArray(required) || !required.every((name) => typeof name === "string")) {
      throw new Refused([...path, "required"], "required is a list of names.");
    }
    const missing = required.find((name) => !Object.hasOwn(properties, name));
    if (missing !== undefined) {
      const message = "Every required name must be among the properties.";
      throw new Refused([...path, "required"], message, "Add the one that is missing, or leave it out of required.");
    }
    const entries = Object.entries(properties).map(
      ([name, node]): Property => ({
        name,
        required: required.includes(name),
        node: this.#node(node, [...path, "properties", name], depth + 1),
      }),
    );
    const rest =
      additional === undefined || additional === true
        ? ({ kind: "any" } as const)
        : additional === false
          ? null
          : this.#node(additional, [...path, "additionalProperties"], depth + 1);
    // Beside listed names, others could repeat one of them with a value of another kind.
    return { kind: "object", properties: entries, rest: entries.length > 0 ? null : rest };
  }

  #range(low: string, high: string, most: number, take: (key: string) => unknown, path: Path): [number, number | null] {
    const bound = (key: string): number | null => {
      const value = take(key);
      if (value === undefined) return null;
      if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
        throw new Refused([...path, key], `${key} is a whole number.`);
      }
      if (value > most)
        throw new Refused([...path, key], `${key} is supported up to ${most}.`, "Lower it, or leave it out.");
      return value;
    };
    const [min, max] = [bound(low) ?? 0, bound(high)];
    if (max !== null && max < min) throw new Refused([...path, high], `${high} is below ${low}.`);
    return [min, max];
  }

  #ref(ref: unknown, path: Path, depth: number): SchemaNode {
    const name = typeof ref === "string" ? /^#(?:\/(\$defs|definitions)\/([^/~%]+))?$/.exec(ref) : null;
    if (!name || typeof ref !== "string") {
      const remedy = "Put what it refers to under $defs at the root of this schema, and name it that way.";
      throw new Refused(path, "A $ref is # or #/$defs/name.", remedy);
    }
    const [, group, key] = name;
    if (group !== undefined && key !== undefined && !this.#reading.has(ref)) {
      const defs = isObject(this.#given) ? this.#given[group] : undefined;
      if (!isObject(defs) || !Object.hasOwn(defs, key)) throw new Refused(path, `There is no ${ref}.`);
      this.#reading.add(ref);
      this.#definitions.set(ref, this.#node(defs[key], [group, key], depth + 1));
    }
    return { kind: "ref", to: ref };
  }
}

/** A value that could only be endless (a list whose items must be lists whose …), or a name that only means itself. */
function refuseEndless({ definitions }: ReadSchema): void {
  const ending = new Set<string>();
  const ends = (node: SchemaNode): boolean => {
    switch (node.kind) {
      case "ref":
        return ending.has(node.to);
      case "union":
        return node.branches.some(ends);
      case "object":
        return node.properties.every((property) => !property.required || ends(property.node));
      case "array":
        return node.min === 0 || ends(node.items);
      default:
        return true;
    }
  };
  // What ends without any reference first, then what refers to that, until nothing is added.
  for (let known = -1; known < ending.size; ) {
    known = ending.size;
    for (const [name, node] of definitions) if (ends(node)) ending.add(name);
  }
  const meansItself = (node: SchemaNode, name: string, seen: Set<string>): boolean => {
    if (node.kind === "union") return node.branches.some((branch) => meansItself(branch, name, seen));
    if (node.kind !== "ref") return false;
    if (node.to === name) return true;
    if (seen.has(node.to)) return false;
    seen.add(node.to);
    const target = definitions.get(node.to);
    return target !== undefined && meansItself(target, name, seen);
  };
  for (const [name, node] of definitions) {
    if (meansItself(node, name, new Set())) {
      throw new Refused([], `The definition ${name} refers to itself without anything in between.`);
    }
  }
  if (!ending.has("#")) throw new Refused([], "No finite value can satisfy this schema.");
}

function typed(values: readonly Json[], type: unknown): Json[] {
  if (type === undefined) return [...values];
  const types: unknown[] = Array.isArray(type) ? type : [type];
  return values.filter((value) => types.some((one) => isOfType(value, one)));
}

function isOfType(value: Json, type: unknown): boolean {
  switch (type) {
    case "integer":
      return Number.isInteger(value);
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    default:
      return typeof value === type;
  }
}

function impliedType(given: Schema): string[] {
  if (["properties", "required", "additionalProperties"].some((key) => Object.hasOwn(given, key))) return ["object"];
  return Object.hasOwn(given, "items") ? ["array"] : [];
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Without recursion: the value may be nested as deep as a body is long. */
function depthOf(value: unknown): number {
  let level: unknown[] = [value];
  let depth = 0;
  while (level.length > 0 && depth <= LIMITS.schemaDepth) {
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
    depth += 1;
  }
  return depth;
}
