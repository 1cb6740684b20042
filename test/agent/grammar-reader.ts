/** A character, or the number of a rule. A rule is a list of alternatives. */
type Element = string | RegExp | number;
type Rule = Element[][];

/** A position in an alternative, and the position where reading continues after it. */
interface Stack {
  readonly id: number;
  readonly alternative: Element[];
  readonly at: number;
  readonly below: Stack | null;
}

/**
 * Reads the part of GBNF that our grammars use, in the same way as llama.cpp's `llama-grammar.cpp`. It counts the stacks
 * that it keeps and expands.
 */
export class GrammarReader {
  /** The maximum number of stacks at once, and the maximum expanded for one character. */
  maxStacks = 0;
  maxExpanded = 0;
  readonly #rules: readonly Rule[];
  readonly #known = new Map<Element[], Map<string, Stack>>();
  readonly #maxSteps: number;
  #ids = 0;
  #stacks: readonly (Stack | null)[];

  /** @throws if one character needs more steps than this */
  constructor(grammar: string, maxSteps: number) {
    this.#rules = rulesOf(grammar);
    this.#maxSteps = maxSteps;
    this.#stacks = this.#advanced((this.#rules[0] ?? []).map((alternative) => this.#stack(alternative, 0, null)));
  }

  /** Whether the grammar allows the text as a beginning. */
  read(text: string): boolean {
    for (const char of text) {
      const fitting = this.#stacks.flatMap((stack) => {
        const element = stack?.alternative[stack.at];
        const fits = element instanceof RegExp ? element.test(char) : element === char;
        return stack !== null && fits ? [this.#stack(stack.alternative, stack.at + 1, stack.below)] : [];
      });
      this.#stacks = this.#advanced(fitting);
    }
    return this.#stacks.length > 0;
  }

  /** Whether the text may end here. */
  mayEnd(): boolean {
    return this.#stacks.includes(null);
  }

  /** The allowed next characters and classes. */
  next(): (string | RegExp)[] {
    const elements = this.#stacks.flatMap((stack) => stack?.alternative[stack.at] ?? []);
    return [...new Set(elements)].filter((element) => typeof element !== "number");
  }

  #advanced(stacks: readonly (Stack | null)[]): readonly (Stack | null)[] {
    const done = new Set<Stack | null>();
    const todo = [...stacks];
    let steps = 0;
    for (let stack = todo.pop(); stack !== undefined; stack = todo.pop()) {
      if (++steps > this.#maxSteps) throw new Error(`more than ${this.#maxSteps} steps`);
      const element = stack?.alternative[stack.at];
      if (stack === null || typeof element !== "number") done.add(stack);
      else {
        const below = this.#stack(stack.alternative, stack.at + 1, stack.below);
        for (const alternative of this.#rules[element] ?? []) todo.push(this.#stack(alternative, 0, below));
      }
    }
    this.maxStacks = Math.max(this.maxStacks, done.size);
    this.maxExpanded = Math.max(this.maxExpanded, steps);
    return [...done];
  }

  #stack(alternative: Element[], at: number, below: Stack | null): Stack | null {
    if (at >= alternative.length) return below;
    const known = this.#known.get(alternative) ?? new Map<string, Stack>();
    this.#known.set(alternative, known);
    const key = `${at} ${below?.id}`;
    const stack = known.get(key) ?? { id: this.#ids++, alternative, at, below };
    known.set(key, stack);
    return stack;
  }
}

/** The printable ASCII characters. */
const CHARACTERS = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));

/** A text that the grammar allows, chosen by the picks. Null if the picks end before the text. */
export function randomText(reader: GrammarReader, picks: readonly number[]): string | null {
  let text = "";
  for (const pick of picks) {
    const next = reader.next();
    if (reader.mayEnd() && (next.length === 0 || pick % 3 === 0)) return text;
    const one = next[pick % next.length] ?? "";
    const fitting = typeof one === "string" ? [one] : CHARACTERS.filter((char) => one.test(char));
    // For a class without ASCII, take its first character.
    const character = fitting[pick % fitting.length] ?? firstOf(one);
    if (!reader.read(character)) throw new Error(`the grammar stops at ${JSON.stringify(text + character)}`);
    text += character;
  }
  return null;
}

function firstOf(one: string | RegExp): string {
  for (let code = 0x7f; code < 0xffff; code++) {
    const char = String.fromCharCode(code);
    if (typeof one !== "string" && one.test(char)) return char;
  }
  throw new Error("a class without a character");
}

const TOKEN = /\s+|"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{\d+,\d*\}|\w+|[()|?*]/gy;

function rulesOf(grammar: string): Rule[] {
  const lines = grammar.split("\n").filter((line) => line !== "");
  const sides = lines.map((line) => line.split(/ ::= (.*)/s));
  const names = new Map(sides.map(([name = ""], i) => [name, i]));
  const rules: Rule[] = sides.map(() => []);
  const add = (rule: Rule) => rules.push(rule) - 1;

  const repeated = (piece: Element[], min: number, max: number): Element[] => {
    const all = Array.from({ length: min }, () => piece).flat();
    if (max === Infinity) {
      const again: Rule = [[]];
      const self = add(again);
      again.unshift([...piece, self]);
      return [...all, self];
    }
    let last: number | null = null;
    for (let i = min; i < max; i++) last = add([[...piece, ...(last === null ? [] : [last])], []]);
    return last === null ? all : [...all, last];
  };

  const alternatives = (tokens: string[]): Rule => {
    const rule: Rule = [[]];
    let piece: Element[] = [];
    const flush = () => rule.at(-1)?.push(...piece);
    for (let token = tokens.shift(); token !== undefined && token !== ")"; token = tokens.shift()) {
      const range = /^\{(\d+),(\d*)\}$/.exec(token);
      if (token === "?") piece = repeated(piece, 0, 1);
      else if (token === "*") piece = repeated(piece, 0, Infinity);
      else if (range) piece = repeated(piece, Number(range[1]), range[2] === "" ? Infinity : Number(range[2]));
      else {
        flush();
        if (token === "|") rule.push([]);
        if (token === "|") piece = [];
        else if (token === "(") piece = [add(alternatives(tokens))];
        else if (token.startsWith('"')) piece = [...(JSON.parse(token) as string)];
        else if (token.startsWith("[")) piece = [new RegExp(token, "u")];
        else piece = [names.get(token) ?? Number.NaN];
      }
    }
    flush();
    return rule;
  };
  for (const [i, [, right = ""]] of sides.entries()) {
    rules[i] = alternatives((right.match(TOKEN) ?? []).filter((token) => token.trim() !== ""));
  }
  return rules;
}
