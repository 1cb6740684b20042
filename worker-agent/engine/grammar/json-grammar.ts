import type { ArrayNode, Property, ReadSchema, SchemaNode } from "../../../schema/wire/json-schema/schema-node.ts";
import type { Pattern, Range } from "../../../schema/wire/json-schema/string-pattern.ts";
import { integerGrammar, numberGrammar } from "./number-grammar.ts";

/**
 * Builds a grammar in llama.cpp's language GBNF: a set of rules that every next character must follow
 * (docs/spec/engines.md#grammars).
 */
export class GrammarBuilder {
  readonly #rules = new Map<string, string>();
  /** Rule names by expression, so that equal expressions share one rule. */
  readonly #names = new Map<string, string>();
  /** For each item rule: the rules for at most one, two, three … items. */
  readonly #atMostRules = new Map<string, string[]>();
  #next = 0;

  /** Returns the name of a rule for values of the schema: compact JSON with at most one space after `:` and `,`. */
  json(schema: ReadSchema): string {
    // Definitions refer to each other, so all of them get their names first.
    const names = new Map([...schema.definitions.keys()].map((pointer) => [pointer, this.#name()]));
    for (const [pointer, node] of schema.definitions)
      this.#rules.set(names.get(pointer) ?? "", this.#node(node, names));
    return this.rule(this.#node(schema.root, names));
  }

  /** Returns the name of a rule for an expression. */
  rule(expression: string): string {
    const known = this.#names.get(expression);
    if (known !== undefined) return known;
    const name = this.#name();
    this.#rules.set(name, expression);
    this.#names.set(expression, name);
    return name;
  }

  grammar(root: string): string {
    return [`root ::= ${root}`, ...[...this.#rules].map(([name, expression]) => `${name} ::= ${expression}`), ""].join(
      "\n",
    );
  }

  #name(): string {
    return `r${this.#next++}`;
  }

  /** Adds a rule of `SHARED` and the rules that it uses, once. */
  #shared(name: keyof typeof SHARED): string {
    if (!this.#rules.has(name)) {
      this.#rules.set(name, SHARED[name]);
      for (const other of Object.keys(SHARED) as (keyof typeof SHARED)[]) {
        if (new RegExp(`\\b${other}\\b`).test(SHARED[name])) this.#shared(other);
      }
    }
    return name;
  }

  #node(node: SchemaNode, names: ReadonlyMap<string, string>): string {
    switch (node.kind) {
      case "any":
        return this.#shared("value");
      case "null":
        return '"null"';
      case "boolean":
        return this.#shared("boolean");
      case "literals":
        return this.rule(node.values.map((value) => literal(JSON.stringify(value))).join(" | "));
      case "string":
        if (node.min === 0 && node.max === null) return this.#shared("string");
        return this.rule(`"\\"" ${this.#repeated(this.#shared("char"), node.min, node.max)} "\\""`);
      case "pattern":
        return this.rule(`"\\"" ${this.#pattern(node.pattern)} "\\""`);
      case "number":
        return node.bounds === null && !node.integer
          ? this.#shared("number")
          : this.rule((node.integer ? integerGrammar : numberGrammar)(node.bounds));
      case "union":
        return this.rule(node.branches.map((branch) => this.#node(branch, names)).join(" | "));
      case "ref":
        return names.get(node.to) ?? this.#shared("value");
      case "array":
        return this.rule(`"[" ${this.#array(node, names)} "]"`);
      case "object":
        return this.rule(`"{" ${this.#members(node.properties, node.rest, names)} "}"`);
      default:
        return node satisfies never;
    }
  }

  #array({ prefix, items, min, max }: ArrayNode, names: ReadonlyMap<string, string>): string {
    const comma = this.#shared("comma");
    const first = prefix.map((node) => this.#node(node, names));
    if (max === 0) return first.join(` ${comma} `);
    const item = this.rule(this.#node(items, names));
    if (first.length === 0) return this.#list(item, min, max);
    return `${first.join(` ${comma} `)} ${this.#repeated(this.rule(`${comma} ${item}`), min, max)}`;
  }

  #list(item: string, min: number, max: number | null): string {
    const more = this.rule(`${this.#shared("comma")} ${item}`);
    const rest = this.#repeated(more, Math.max(0, min - 1), max === null ? null : max - 1);
    return min === 0 ? `(${item} ${rest})?` : `${item} ${rest}`;
  }

  /**
   * A rule repeated `min` to `max` times. llama.cpp expands its own `{min,max}` at every place where it stands. These
   * rules are shared by all places that repeat the same rule, and an exact count needs only as many rules as the count
   * has binary digits.
   */
  #repeated(item: string, min: number, max: number | null): string {
    const parts: string[] = [];
    for (let left = min, power = item; left > 0; left = Math.floor(left / 2)) {
      if (left % 2 === 1) parts.push(power);
      if (left > 1) power = this.rule(`${power} ${power}`);
    }
    if (max === null) parts.push(`${item}*`);
    else if (max > min) parts.push(this.#atMost(item, max - min));
    return parts.join(" ");
  }

  #atMost(item: string, count: number): string {
    const known = this.#atMostRules.get(item) ?? [];
    this.#atMostRules.set(item, known);
    while (known.length < count) {
      const fewer = known.at(-1) ?? "";
      known.push(this.rule(`${item} ${fewer} | ""`));
    }
    return known[count - 1] ?? "";
  }

  #pattern(pattern: Pattern): string {
    switch (pattern.kind) {
      case "chars":
        return characters(pattern.ranges);
      case "sequence":
        return pattern.parts.map((part) => this.#pattern(part)).join(" ");
      case "choice":
        return this.rule(pattern.ways.map((way) => this.#pattern(way) || '""').join(" | "));
      case "repeat": {
        const { min, max } = pattern;
        return max === 0 ? "" : this.#repeated(this.rule(this.#pattern(pattern.part) || '""'), min, max);
      }
      default:
        return pattern satisfies never;
    }
  }

  /** First the required members in the schema's order; then any of the optional members, also in the schema's order. */
  #members(properties: readonly Property[], rest: SchemaNode | null, names: ReadonlyMap<string, string>): string {
    const colon = '":" " "?';
    const comma = this.#shared("comma");
    if (properties.length === 0) {
      if (rest === null) return "";
      const member = this.rule(`${this.#shared("string")} ${colon} ${this.#node(rest, names)}`);
      return this.#list(member, 0, null);
    }
    const member = ({ name, node }: Property) =>
      this.rule(`${literal(JSON.stringify(name))} ${colon} ${this.#node(node, names)}`);
    const required = properties.filter((property) => property.required).map(member);
    const optional = properties.filter((property) => !property.required).map(member);
    if (required.length > 0) {
      return [required.join(` ${comma} `), ...optional.map((one) => `(${comma} ${one})?`)].join(" ");
    }
    // The first optional member has no comma before it. Any later members may follow, each with a comma.
    let after = "";
    const starts: string[] = [];
    for (const one of optional.toReversed()) {
      starts.unshift(`${one} ${after}`);
      after = this.rule(`(${comma} ${one})? ${after}`);
    }
    return `(${starts.join(" | ")})?`;
  }
}

/** Text as a GBNF literal. JSON text needs no other escapes: JSON has already escaped other control characters. */
export function literal(text: string): string {
  if (text === "") return "";
  const escaped = text
    .replace(/[\\"]/g, "\\$&")
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r")
    .replaceAll("\t", "\\t");
  return `"${escaped}"`;
}

/**
 * Rules that many grammars use. `char` allows no control characters and no lone surrogates, escaped or not, and no
 * U+FFFD, which a detokenizer writes for invalid bytes.
 */
const SHARED = Object.freeze({
  comma: '"," " "?',
  boolean: '"true" | "false"',
  char: String.raw`[^"\\\x00-\x1F\x7F\uFFFD] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex))`,
  hex: "[0-9a-fA-F]",
  string: String.raw`"\"" char* "\""`,
  number: numberGrammar(null),
  array: '"[" (value (comma value)*)? "]"',
  object: '"{" (string ":" " "? value (comma string ":" " "? value)*)? "}"',
  value: 'object | array | string | number | boolean | "null"',
} as const);

/** Characters that JSON escapes, and their escapes. A model may write no other control characters. */
const ESCAPED: readonly (readonly [code: number, written: string])[] = [
  [0x22, literal('\\"')],
  [0x5c, literal("\\\\")],
  [0x09, literal("\\t")],
  [0x0a, literal("\\n")],
  [0x0d, literal("\\r")],
];
const NOT_PLAIN: readonly Range[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x7f, 0x7f],
  [0xfffd, 0xfffd],
];

/** One character of a JSON string, from the given ranges. */
function characters(ranges: readonly Range[]): string {
  const plain = NOT_PLAIN.reduce<readonly Range[]>(
    (left, [low, high]) =>
      left.flatMap(([from, to]): Range[] => [
        ...(from < low ? [[from, Math.min(to, low - 1)] as const] : []),
        ...(to > high ? [[Math.max(from, high + 1), to] as const] : []),
      ]),
    ranges,
  );
  const code = (point: number) => `\\u${point.toString(16).padStart(4, "0")}`;
  const written = plain.map(([from, to]) => (from === to ? code(from) : `${code(from)}-${code(to)}`)).join("");
  const escaped = ESCAPED.flatMap(([point, text]) =>
    ranges.some(([from, to]) => from <= point && point <= to) ? [text] : [],
  );
  const alternatives = [...(written === "" ? [] : [`[${written}]`]), ...escaped];
  return alternatives.length === 1 ? (alternatives[0] ?? "") : `(${alternatives.join(" | ")})`;
}
