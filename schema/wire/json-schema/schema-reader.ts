import { LIMITS } from "../limits.ts";
import { findTarget, isPointer } from "./json-pointer.ts";
import { BOUND_KEYWORDS, readBounds } from "./number-bounds.ts";
import type { SchemaBudget } from "./schema-budget.ts";
import { emptyCycles, hasFiniteValue } from "./schema-ends.ts";
import {
  ANNOTATIONS,
  impliedType,
  isAnyString,
  isNever,
  isObject,
  isOfType,
  namesOf,
  type Schema,
  TYPES,
  typeOf,
} from "./schema-keywords.ts";
import { mergeAllOf } from "./schema-merge.ts";
import { ANY, type Json, type Property, type ReadSchema, type SchemaNode } from "./schema-node.ts";
import { areExclusive } from "./schema-union.ts";
import { formatPattern, isImplied, STRING_FORMATS } from "./string-formats.ts";
import { lengthsOf, limitLength, type Pattern, positionsOf, readPattern } from "./string-pattern.ts";

/** Carries a refusal out of the recursion. `json-schema.ts` turns it into a result. */
export class Refused extends Error {
  readonly path: readonly string[];
  readonly remedy: string | null;

  /** @param remedy null if the schema is malformed */
  constructor(path: readonly string[], message: string, remedy: string | null = null) {
    super(message);
    this.path = path;
    this.remedy = remedy;
  }
}

/** The advice about keywords without specific advice. */
const CHECK = "Leave it out of the schema, and check the answer for it.";
const ADVICE: Readonly<Record<string, string>> = Object.freeze({
  patternProperties: "Use properties, or additionalProperties.",
});

type Path = readonly string[];
type Take = (key: string) => unknown;

/** Reads one schema. Under `strict` it refuses the first keyword that is not enforced, by name; else it ignores them. */
export class SchemaReader {
  readonly #given: unknown;
  readonly #strict: boolean;
  readonly #budget: SchemaBudget;
  readonly #definitions = new Map<string, SchemaNode>();
  readonly #begun = new Set<string>();
  /** References that `allOf` has replaced by their targets, around the schema that is being read. */
  readonly #inlined: string[] = [];
  #nodes = 0;

  constructor(given: unknown, strict: boolean, budget: SchemaBudget) {
    this.#given = given;
    this.#strict = strict;
    this.#budget = budget;
  }

  /** @throws Refused, OverBudget */
  read(): ReadSchema {
    if (!isObject(this.#given)) throw new Refused([], "A schema must be an object.");
    this.#definitions.set("#", this.#node(this.#given, []));
    for (const name of emptyCycles(this.#definitions, this.#budget)) {
      const message = `The definition ${name} refers only to itself.`;
      this.#definitions.set(name, this.#skip([], message, "Leave it out."));
    }
    if (!hasFiniteValue(this.#definitions, this.#budget))
      throw new Refused([], "No finite value can satisfy this schema.");
    return { root: this.#definitions.get("#") ?? ANY, definitions: this.#definitions };
  }

  /** Skips a keyword that is not enforced: refuses it under `strict`, else allows any value. */
  #skip(path: Path, message: string, remedy: string): SchemaNode {
    if (this.#strict) throw new Refused(path, message, remedy);
    return ANY;
  }

  #node(given: unknown, path: Path): SchemaNode {
    this.#budget.step(STEPS_PER_NODE);
    this.#nodes += 1;
    if (this.#nodes > LIMITS.schemaNodes) {
      throw new Refused(path, `The schema has more than ${LIMITS.schemaNodes} parts.`);
    }
    if (given === true) return ANY;
    if (given === false) {
      return this.#skip(path, "A schema must be an object, or true.", "Leave out the part that no value may have.");
    }
    if (!isObject(given)) throw new Refused(path, "A schema must be an object, or true.");
    if (Object.hasOwn(given, "allOf")) return this.#allOf(given, path);

    const left = new Set(Object.keys(given).filter((key) => !ANNOTATIONS.has(key)));
    const take = (key: string): unknown => {
      left.delete(key);
      return Object.hasOwn(given, key) ? given[key] : undefined;
    };
    const node = this.#content(given, take, path);
    for (const unread of left) {
      const remedy = Object.hasOwn(ADVICE, unread) ? (ADVICE[unread] ?? CHECK) : CHECK;
      this.#skip([...path, unread], `The JSON Schema keyword ${unread} is not supported here.`, remedy);
    }
    return node;
  }

  #allOf(given: Schema, path: Path): SchemaNode {
    const { allOf, ...beside } = given;
    const at = [...path, "allOf"];
    if (!Array.isArray(allOf) || allOf.length === 0) throw new Refused(at, "allOf must be a list of schemas.");
    const isPlain = Object.keys(beside).every((key) => ANNOTATIONS.has(key));
    if (allOf.length === 1 && isPlain) return this.#node(allOf[0], [...at, "0"]);
    this.#skip(at, "allOf is supported with a single schema only.", "Write them as one schema.");
    const { schema, inlined } = mergeAllOf(given, {
      find: (ref) => findTarget(this.#given, ref),
      inlined: this.#inlined,
      step: () => this.#budget.step(STEPS_PER_NODE),
    });
    this.#inlined.push(...inlined);
    const node = this.#node(schema, path);
    this.#inlined.length -= inlined.length;
    return node;
  }

  #content(given: Schema, take: Take, path: Path): SchemaNode {
    const ref = take("$ref");
    if (ref !== undefined) return this.#ref(ref, [...path, "$ref"]);
    for (const keyword of ["anyOf", "oneOf"] as const) {
      const branches = take(keyword);
      if (branches !== undefined) return this.#union(keyword, branches, given, take, path);
    }
    if (Object.hasOwn(given, "const")) return this.#literals([take("const") as Json], take("type"), [...path, "const"]);
    const values = take("enum");
    if (values !== undefined) {
      const at = [...path, "enum"];
      if (!Array.isArray(values) || values.length === 0) throw new Refused(at, "enum must be a list of values.");
      return this.#literals(values, take("type"), at);
    }
    const type = take("type");
    const types = type === undefined ? impliedType(given) : Array.isArray(type) ? [...new Set(type)] : [type];
    if (types.length === 0) return ANY;
    const branches = types.map((one) => this.#typed(one, take, path));
    const [only] = branches;
    return branches.length === 1 && only ? only : { kind: "union", branches };
  }

  #literals(values: readonly Json[], type: unknown, at: Path): SchemaNode {
    const types: unknown[] = Array.isArray(type) ? type : [type];
    const fitting = type === undefined ? values : values.filter((value) => types.some((one) => isOfType(value, one)));
    if (fitting.length === 0) throw new Refused(at, "No value of enum has the given type.");
    if (fitting.length <= LIMITS.schemaEnumValues) return { kind: "literals", values: fitting };
    const message = `An enum is enforced with at most ${LIMITS.schemaEnumValues} values.`;
    this.#skip(at, message, "Name fewer values, or leave enum out and check the answer.");
    const kinds = new Set(fitting.map(typeOf));
    return { kind: "union", branches: [...kinds].map((kind) => this.#typed(kind, () => undefined, at)) };
  }

  #union(keyword: "anyOf" | "oneOf", given: unknown, parent: Schema, take: Take, path: Path): SchemaNode {
    const at = [...path, keyword];
    if (!Array.isArray(given) || given.length === 0) throw new Refused(at, `${keyword} must be a list of schemas.`);
    const { [keyword]: _branches, discriminator: _discriminator, ...rest } = parent;
    const beside = Object.fromEntries(Object.entries(rest).filter(([key]) => !ANNOTATIONS.has(key)));
    const branches = given.flatMap((branch, i): SchemaNode[] => {
      if (isNever(branch)) return [];
      // Keywords beside the alternatives apply to each of them. References are kept, so that recursion ends.
      const merges =
        !this.#strict && Object.keys(beside).length > 0 && isObject(branch) && !Object.hasOwn(branch, "$ref");
      return [this.#node(merges ? { allOf: [branch, beside] } : branch, [...at, String(i)])];
    });
    if (branches.length === 0) throw new Refused(at, `No value matches a schema of ${keyword}.`);
    if (keyword === "oneOf" && this.#strict && !areExclusive(branches, this.#definitions, this.#budget)) {
      const remedy = "Use anyOf, or give each schema a required constant with a different value.";
      this.#skip(at, "oneOf is enforced only if no value matches two of its schemas.", remedy);
    }
    // OpenAPI's name for the member that distinguishes the alternatives.
    take("discriminator");
    return { kind: "union", branches };
  }

  #typed(type: unknown, take: Take, path: Path): SchemaNode {
    switch (type) {
      case "boolean":
      case "null":
        return { kind: type };
      case "string":
        return this.#string(take, path);
      case "number":
      case "integer":
        return this.#number(type === "integer", take, path);
      case "array":
        return this.#array(take, path);
      case "object":
        return this.#object(take, path);
      default:
        throw new Refused([...path, "type"], `type must be one of ${TYPES.join(", ")}.`);
    }
  }

  #string(take: Take, path: Path): SchemaNode {
    const pattern = this.#pattern(take, path);
    const [min, max] = this.#range("minLength", "maxLength", LIMITS.schemaStringChars, take, path);
    if (pattern === null) return { kind: "string", min, max };
    const [shortest, longest] = lengthsOf(pattern);
    const tooLong = max !== null && (longest === null || longest > max);
    if (shortest >= min && !tooLong) return { kind: "pattern", pattern };
    const held = limitLength(pattern, min, max);
    if (held !== null && this.#budget.takeRules(positionsOf(held))) return { kind: "pattern", pattern: held };
    const keyword = tooLong ? "maxLength" : "minLength";
    const remedy = "Express the length in the pattern, or leave the keyword out and check the answer.";
    this.#skip([...path, keyword], `${keyword} is not enforced beside this pattern or format.`, remedy);
    return { kind: "pattern", pattern };
  }

  /** The pattern of the keywords `pattern` and `format`. If `pattern` is enforced, `format` is only an annotation. */
  #pattern(take: Take, path: Path): Pattern | null {
    const [format, source] = [take("format"), take("pattern")];
    if (format !== undefined && typeof format !== "string")
      throw new Refused([...path, "format"], "format must be a string.");
    if (source !== undefined && typeof source !== "string")
      throw new Refused([...path, "pattern"], "pattern must be a string.");
    if (source !== undefined) {
      this.#budget.step(source.length);
      const pattern = this.#ifAffordable(readPattern(source), `pattern ${source}`);
      if (pattern !== null) return pattern;
      if (format === undefined || !isImplied(format, source)) {
        const message =
          "This pattern is not enforced: it has a lookahead or lookbehind, is too large, or uses unsupported syntax.";
        this.#skip([...path, "pattern"], message, CHECK);
      }
    }
    if (format === undefined) return null;
    const pattern = this.#ifAffordable(formatPattern(format) ?? null, `format ${format}`);
    if (pattern === null) {
      const message = `This string format is not supported. The supported formats are: ${STRING_FORMATS.join(", ")}.`;
      this.#skip([...path, "format"], message, "Use one of them, or leave format out and check the answer.");
    }
    return pattern;
  }

  #ifAffordable(pattern: Pattern | null, key: string): Pattern | null {
    return pattern !== null && this.#budget.takeRules(positionsOf(pattern), key) ? pattern : null;
  }

  #number(integer: boolean, take: Take, path: Path): SchemaNode {
    const [minimum, exclusiveMinimum, maximum, exclusiveMaximum] = BOUND_KEYWORDS.map(take);
    // Draft 4 and OpenAPI 3.0 write exclusive bounds as flags.
    const given = {
      minimum: exclusiveMinimum === true ? undefined : minimum,
      exclusiveMinimum: exclusiveMinimum === true ? minimum : exclusiveMinimum === false ? undefined : exclusiveMinimum,
      maximum: exclusiveMaximum === true ? undefined : maximum,
      exclusiveMaximum: exclusiveMaximum === true ? maximum : exclusiveMaximum === false ? undefined : exclusiveMaximum,
    };
    let reading = readBounds(given, integer);
    while (!reading.ok) {
      const { keyword, message, remedy } = reading;
      if (remedy === null) throw new Refused([...path, keyword], message);
      this.#skip([...path, keyword], message, remedy);
      given[keyword] = undefined;
      reading = readBounds(given, integer);
    }
    const { bounds } = reading;
    if (bounds === null) return { kind: "number", integer, bounds };
    const digits = [bounds.min, bounds.max].reduce<number>((sum, bound) => sum + String(bound ?? "").length, 0);
    if (this.#budget.takeRules(RULES_PER_DIGIT * digits, `number ${integer} ${JSON.stringify(bounds)}`)) {
      return { kind: "number", integer, bounds };
    }
    this.#skip([...path, bounds.min === null ? "maximum" : "minimum"], TOO_MANY_RULES, CHECK);
    return { kind: "number", integer, bounds: null };
  }

  #array(take: Take, path: Path): SchemaNode {
    const [items, prefixItems, additionalItems] = ["items", "prefixItems", "additionalItems"].map(take);
    // Before draft 2020-12 tuples are written as an array in `items`.
    const isOld = Array.isArray(items) && prefixItems === undefined;
    const first = (isOld ? items : prefixItems) ?? [];
    const keyword = isOld ? "items" : "prefixItems";
    if (!Array.isArray(first)) throw new Refused([...path, keyword], `${keyword} must be a list of schemas.`);
    const more = isOld ? additionalItems : items;
    const [min, max] = this.#range("minItems", "maxItems", LIMITS.schemaItems, take, path);
    if (take("uniqueItems") === true && max !== 0 && max !== 1) {
      this.#skip([...path, "uniqueItems"], "The JSON Schema keyword uniqueItems is not supported here.", CHECK);
    }
    const all = first.map((one, i) => this.#node(one, [...path, keyword, String(i)]));
    const prefix = max === null ? all : all.slice(0, max);
    const rest = Math.max(0, min - prefix.length);
    const none = more === false || isNever(more) || max === prefix.length;
    if (none || (more === undefined && first.length > 0 && rest === 0)) {
      if (rest > 0)
        throw new Refused([...path, "minItems"], "minItems is larger than the number of items that the schema allows.");
      return { kind: "array", prefix, items: ANY, min: 0, max: 0 };
    }
    const node = more === undefined ? ANY : this.#node(more, [...path, isOld ? "additionalItems" : "items"]);
    return { kind: "array", prefix, items: node, min: rest, max: this.#maxItems(rest, max, prefix.length, path) };
  }

  /** The limit of items after the prefix. Null if there is no limit, or if the budget is too small to enforce it. */
  #maxItems(min: number, max: number | null, prefix: number, path: Path): number | null {
    if (max === null) return null;
    const maxRest = max - prefix;
    if (this.#budget.takeRules(maxRest - min)) return maxRest;
    this.#skip([...path, "maxItems"], TOO_MANY_RULES, "Lower maxItems, or leave it out and check the answer.");
    return null;
  }

  #object(take: Take, path: Path): SchemaNode {
    const given = take("properties") ?? {};
    const required = take("required") ?? [];
    const additional = take("additionalProperties");
    if (!isObject(given)) throw new Refused([...path, "properties"], "properties must be an object of schemas.");
    if (!Array.isArray(required) || !required.every((name) => typeof name === "string")) {
      throw new Refused([...path, "required"], "required must be a list of names.");
    }
    const [named, rest] = this.#members(given, required, additional, take, path);
    const needed = new Set<string>(required);
    const entries = named.flatMap(([name, node, at]): Property[] => {
      // Skip members that are forbidden.
      if (!needed.has(name) && isNever(node)) return [];
      return [{ name, required: needed.has(name), node: this.#node(node, at) }];
    });
    if (entries.length > 0) return { kind: "object", properties: entries, rest: null };
    // With listed names, other members could repeat one of these names with a value of another kind.
    if (rest === false || isNever(rest) || named.length > 0) return { kind: "object", properties: [], rest: null };
    const others = rest === undefined ? ANY : this.#node(rest, [...path, "additionalProperties"]);
    return { kind: "object", properties: [], rest: others };
  }

  /** The named members with their schemas, and the schema of all other members. */
  #members(
    given: Schema,
    required: readonly string[],
    additional: unknown,
    take: Take,
    path: Path,
  ): [members: (readonly [name: string, schema: unknown, at: Path])[], rest: unknown] {
    const at = [...path, "additionalProperties"];
    const names = take("propertyNames");
    const listed = Object.keys(given).length === 0 ? namesOf(names) : null;
    if (listed === null && names !== undefined && !isAnyString(names)) {
      const message = "The JSON Schema keyword propertyNames is enforced only with an enum and without properties.";
      this.#skip([...path, "propertyNames"], message, CHECK);
    }
    const members =
      listed?.map((name) => [name, additional ?? true, at] as const) ??
      Object.entries(given).map(([name, node]) => [name, node, [...path, "properties", name]] as const);
    const there = new Set(members.map(([name]) => name));
    const missing = [...new Set(required)].filter((name) => !there.has(name));
    if (missing.length === 0) return [members, additional];
    const message = "Every required name must be one of the properties.";
    if (additional === false || listed !== null) throw new Refused([...path, "required"], message);
    this.#skip([...path, "required"], message, "Add the missing property, or remove its name from required.");
    return [[...members, ...missing.map((name) => [name, additional ?? true, at] as const)], additional];
  }

  #range(low: string, high: string, limit: number, take: Take, path: Path): [number, number | null] {
    const bound = (key: string): number | null => {
      const value = take(key);
      if (value === undefined) return null;
      if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
        throw new Refused([...path, key], `${key} must be a whole number.`);
      }
      return value;
    };
    const [min, max] = [bound(low) ?? 0, bound(high)];
    if (max !== null && max < min) throw new Refused([...path, high], `${high} is smaller than ${low}.`);
    const within = (key: string, value: number | null) => {
      if (value === null || value <= limit) return true;
      this.#skip([...path, key], `${key} is supported up to ${limit}.`, "Lower it, or leave it out.");
      return false;
    };
    return [within(low, min) ? min : 0, within(high, max) ? max : null];
  }

  #ref(ref: unknown, path: Path): SchemaNode {
    if (typeof ref !== "string") throw new Refused(path, "$ref must be a string.");
    if (!isPointer(ref)) {
      const remedy = "Put the referenced schema into $defs at the root of this schema, and refer to it there.";
      return this.#skip(path, "A $ref is # or #/$defs/name.", remedy);
    }
    if (ref !== "#" && !this.#begun.has(ref)) {
      const target = findTarget(this.#given, ref);
      if (target === undefined) throw new Refused(path, `The schema has no ${ref.slice(0, 100)}.`);
      this.#begun.add(ref);
      const at = ref.slice(2).split("/");
      this.#definitions.set(ref, this.#node(target, at));
    }
    return { kind: "ref", to: ref };
  }
}

/** Reading a node takes about as long as this number of steps of counting choices. */
const STEPS_PER_NODE = 10;
/** A range of numbers is written out digit by digit, for both bounds. */
const RULES_PER_DIGIT = 4;
const TOO_MANY_RULES = `The ranges, lists and patterns of a request are written out in at most ${LIMITS.schemaRulesPerRequest} rules.`;
