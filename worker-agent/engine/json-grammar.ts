import type { Property, ReadSchema, SchemaNode, StringFormat } from "../../schema/wire/json-schema.ts";
import { integerGrammar, numberGrammar } from "./number-grammar.ts";

/** llama.cpp's grammar language, GBNF: a program of rules that each next character must follow. */
export class GrammarBuilder {
  readonly #rules = new Map<string, string>();
  #next = 0;

  /** The name of a rule for the schema's values: compact JSON, with a space at most after `:` and `,`. */
  json(schema: ReadSchema): string {
    // Names first: definitions refer to each other.
    const names = new Map([...schema.definitions.keys()].map((pointer) => [pointer, this.#name()]));
    for (const [pointer, node] of schema.definitions)
      this.#rules.set(names.get(pointer) ?? "", this.#node(node, names));
    return this.rule(names.get("#") ?? this.#node(schema.root, names));
  }

  /** A rule of its own for an expression. */
  rule(expression: string): string {
    const name = this.#name();
    this.#rules.set(name, expression);
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

  /** The same rule for all who need it. */
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
        return this.rule(`"\\"" ${this.#shared("char")}{${node.min},${node.max ?? ""}} "\\""`);
      case "format":
        return this.rule(`"\\"" (${FORMATS[node.format]}) "\\""`);
      case "number":
        return node.bounds === null && !node.integer
          ? this.#shared("number")
          : this.rule((node.integer ? integerGrammar : numberGrammar)(node.bounds));
      case "union":
        return this.rule(node.branches.map((branch) => this.#node(branch, names)).join(" | "));
      case "ref":
        return names.get(node.to) ?? this.#shared("value");
      case "array": {
        const items = this.rule(this.#node(node.items, names));
        return this.rule(`"[" ${this.#list(items, node.min, node.max)} "]"`);
      }
      case "object":
        return this.rule(`"{" ${this.#members(node.properties, node.rest, names)} "}"`);
      default:
        return node satisfies never;
    }
  }

  #list(item: string, min: number, max: number | null): string {
    if (max === 0) return "";
    const more = `(${this.#shared("comma")} ${item}){${Math.max(0, min - 1)},${max === null ? "" : max - 1}}`;
    return min === 0 ? `(${item} ${more})?` : `${item} ${more}`;
  }

  /** Required members first, in the schema's order, then those of the others that the model wants, in theirs. */
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
    // Whichever comes first has no comma before it; after it each later one may follow.
    let after = "";
    const starts: string[] = [];
    for (const one of optional.toReversed()) {
      starts.unshift(`${one} ${after}`);
      after = this.rule(`(${comma} ${one})? ${after}`);
    }
    return `(${starts.join(" | ")})?`;
  }
}

/** Text as a GBNF literal; in JSON, what would need more escapes than these is escaped already. */
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
 * A string's characters: no control characters and no half surrogates, also not escaped; no U+FFFD, which stands for
 * bytes that are no text.
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

const YEAR = "[0-9]{4}";
const DAYS_28 = '("0" [1-9] | "1" [0-9] | "2" [0-8])';
const MONTHS_31 = '("0" [13578] | "1" [02])';
const MONTHS_30 = '("0" [469] | "11")';
/** Without 29 February, which not every year has. */
const DATE = `${YEAR} "-" (("0" [1-9] | "1" [0-2]) "-" ${DAYS_28} | (${MONTHS_31} | ${MONTHS_30}) "-" ("29" | "30") | ${MONTHS_31} "-31")`;
const CLOCK = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]';
/** RFC 3339. */
const TIME = `${CLOCK} ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] ${CLOCK})`;
const FORMATS: Readonly<Record<StringFormat, string>> = Object.freeze({
  date: DATE,
  time: TIME,
  "date-time": `${DATE} "T" ${TIME}`,
  uuid: '[0-9a-f]{8} "-" [0-9a-f]{4} "-" [1-8] [0-9a-f]{3} "-" [89ab] [0-9a-f]{3} "-" [0-9a-f]{12}',
});
