/**
 * The regular expressions that a worker can enforce while it generates: ECMA-262 without assertions inside the text, back
 * references and Unicode properties. A pattern matches a part of what the expression matches, never more. It has no
 * characters outside the Basic Multilingual Plane, because validators count them as one character or as two.
 */
export type Pattern =
  /** One character: ranges of code points, sorted, without overlap. */
  | { readonly kind: "chars"; readonly ranges: readonly Range[] }
  | { readonly kind: "sequence"; readonly parts: readonly Pattern[] }
  | { readonly kind: "choice"; readonly ways: readonly Pattern[] }
  | { readonly kind: "repeat"; readonly part: Pattern; readonly min: number; readonly max: number | null };

export type Range = readonly [from: number, to: number];

const MAX = Object.freeze({ sourceChars: 2_000, groups: 80, positions: 400 } as const);

/** Returns null if the expression is malformed or uses syntax that this reader does not support. */
export function readPattern(source: string): Pattern | null {
  if (source.length > MAX.sourceChars) return null;
  try {
    const pattern = new PatternReader(source).read();
    return positionsOf(pattern) <= MAX.positions ? pattern : null;
  } catch (error) {
    if (error instanceof UnsupportedPattern) return null;
    throw error;
  }
}

/** Positions in the written-out pattern: a bound of its open alternatives, and of the rules that it needs. */
export function positionsOf(pattern: Pattern): number {
  switch (pattern.kind) {
    case "chars":
      return 1;
    case "sequence":
      return pattern.parts.reduce((sum, part) => sum + positionsOf(part), 0);
    case "choice":
      return pattern.ways.reduce((sum, way) => sum + positionsOf(way), 0);
    case "repeat":
      return positionsOf(pattern.part) * Math.max(1, pattern.max ?? pattern.min + 1);
    default:
      return pattern satisfies never;
  }
}

/** The minimum and the maximum number of characters of a match. The maximum is null if there is none. */
export function lengthsOf(pattern: Pattern): readonly [least: number, most: number | null] {
  switch (pattern.kind) {
    case "chars":
      return [1, 1];
    case "sequence": {
      const all = pattern.parts.map(lengthsOf);
      return [
        all.reduce((sum, [least]) => sum + least, 0),
        all.reduce<number | null>((sum, [, most]) => (sum === null || most === null ? null : sum + most), 0),
      ];
    }
    case "choice": {
      const all = pattern.ways.map(lengthsOf);
      const mosts = all.map(([, most]) => most ?? Infinity);
      const most = Math.max(...mosts);
      return [Math.min(...all.map(([least]) => least)), most === Infinity ? null : most];
    }
    case "repeat": {
      const [least, most] = lengthsOf(pattern.part);
      return [least * pattern.min, pattern.max === null || most === null ? null : most * pattern.max];
    }
    default:
      return pattern satisfies never;
  }
}

/**
 * Limits the length of a pattern's matches. This works if the pattern has exactly one unbounded repetition, of single
 * characters, and all other parts have bounded lengths; else the result is null.
 */
export function limitLength(pattern: Pattern, least: number, most: number | null): Pattern | null {
  const parts = pattern.kind === "sequence" ? pattern.parts : [pattern];
  const open = parts.filter((part) => part.kind === "repeat" && part.max === null && part.part.kind === "chars");
  const [one] = open;
  const others = parts.filter((part) => part !== one);
  const [othersLeast, othersMost] = lengthsOf({ kind: "sequence", parts: others });
  if (open.length !== 1 || one?.kind !== "repeat" || othersMost === null) return null;
  const min = Math.max(one.min, least - othersLeast);
  const max = most === null ? null : most - othersMost;
  if (max !== null && max < min) return null;
  const held: Pattern = { kind: "sequence", parts: parts.map((part) => (part === one ? { ...one, min, max } : part)) };
  return positionsOf(held) <= MAX.positions ? held : null;
}

class UnsupportedPattern extends Error {}

const LAST_CODE = 0xffff;

function chars(ranges: readonly Range[]): Pattern {
  const all = sorted(ranges);
  // A worker never writes other control characters, nor U+FFFD.
  const isWritten = all.some(([from, to]) => to > 0x1f && !(from === 0x7f && to === 0x7f) && from < 0xfffd);
  if (!isWritten && !all.some(([from, to]) => [9, 10, 13].some((code) => from <= code && code <= to)))
    throw new UnsupportedPattern();
  return { kind: "chars", ranges: all };
}
const one = (code: number): Range => [code, code];

/** ECMA-262 22.2.2.9, CharacterClassEscape. */
const DIGITS: readonly Range[] = [[0x30, 0x39]];
const WORDS: readonly Range[] = [[0x30, 0x39], [0x41, 0x5a], one(0x5f), [0x61, 0x7a]];
const SPACES: readonly Range[] = [
  [0x09, 0x0d],
  ...[0x20, 0xa0, 0x1680].map(one),
  [0x2000, 0x200a],
  ...[0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff].map(one),
];
const LINE_ENDS: readonly Range[] = [one(0x0a), one(0x0d), [0x2028, 0x2029]];
const CONTROL: Readonly<Record<string, number>> = Object.freeze({ t: 9, n: 10, v: 11, f: 12, r: 13, "0": 0 });

/** Any text: it stands before and after an expression without anchors. */
const ANYTHING: Pattern = { kind: "repeat", part: chars(complement([])), min: 0, max: null };

class PatternReader {
  readonly #source: string;
  #at = 0;
  #groups = 0;

  constructor(source: string) {
    this.#source = source;
  }

  read(): Pattern {
    const pattern = this.#choice(true);
    if (this.#at < this.#source.length) throw new UnsupportedPattern();
    return pattern;
  }

  /** @param outermost each alternative may begin with `^` and end with `$`; without them any text may stand there */
  #choice(outermost: boolean): Pattern {
    const ways = [this.#way(outermost)];
    while (this.#take("|")) ways.push(this.#way(outermost));
    const [only] = ways;
    // A sequence of n groups that can each match nothing in two ways can match nothing in 2ⁿ ways.
    if (!outermost && ways.filter((way) => lengthsOf(way)[0] === 0).length > 1) throw new UnsupportedPattern();
    return ways.length === 1 && only ? only : { kind: "choice", ways };
  }

  #way(outermost: boolean): Pattern {
    const parts: Pattern[] = [];
    if (outermost && !this.#take("^")) parts.push(ANYTHING);
    for (;;) {
      const next = this.#source[this.#at];
      if (next === undefined || next === "|" || next === ")") break;
      if (outermost && next === "$") {
        this.#at += 1;
        const after = this.#source[this.#at];
        if (after !== undefined && after !== "|") throw new UnsupportedPattern();
        return { kind: "sequence", parts };
      }
      parts.push(this.#repeated(this.#atom(next)));
    }
    if (outermost) parts.push(ANYTHING);
    return { kind: "sequence", parts };
  }

  #atom(next: string): Pattern {
    this.#at += 1;
    switch (next) {
      case "(":
        return this.#group();
      case "[":
        return this.#class();
      case "\\":
        return chars(this.#escape(false));
      case ".":
        return chars(complement(LINE_ENDS));
      case "^":
      case "$":
      case "*":
      case "+":
      case "?":
      case "{":
      case "}":
      case "]":
        throw new UnsupportedPattern();
      default:
        return chars([one(this.#code(next))]);
    }
  }

  #group(): Pattern {
    this.#groups += 1;
    if (this.#groups > MAX.groups) throw new UnsupportedPattern();
    if (this.#take("?")) {
      // Lookahead and lookbehind are not supported.
      if (!this.#take(":") && !/^<[A-Za-z_]\w*>/.test(this.#source.slice(this.#at, this.#at + 64)))
        throw new UnsupportedPattern();
      if (this.#source[this.#at] === "<") this.#at = this.#source.indexOf(">", this.#at) + 1;
    }
    const inner = this.#choice(false);
    if (!this.#take(")")) throw new UnsupportedPattern();
    return inner;
  }

  #class(): Pattern {
    const negated = this.#take("^");
    const ranges: Range[] = [];
    while (!this.#take("]")) {
      const from = this.#classItem();
      const [single] = from;
      const isRange =
        this.#source[this.#at] === "-" && this.#source[this.#at + 1] !== "]" && this.#at + 1 < this.#source.length;
      if (!isRange) {
        ranges.push(...from);
        continue;
      }
      this.#at += 1;
      const [last] = this.#classItem();
      if (!single || !last || from.length > 1 || single[0] !== single[1] || last[0] !== last[1] || last[0] < single[0])
        throw new UnsupportedPattern();
      ranges.push([single[0], last[0]]);
    }
    const all = negated ? complement(ranges) : ranges;
    if (all.length === 0) throw new UnsupportedPattern();
    return chars(all);
  }

  #classItem(): readonly Range[] {
    const next = this.#source[this.#at];
    if (next === undefined) throw new UnsupportedPattern();
    this.#at += 1;
    return next === "\\" ? this.#escape(true) : [one(this.#code(next))];
  }

  #escape(inClass: boolean): readonly Range[] {
    const next = this.#source[this.#at] ?? "";
    this.#at += 1;
    switch (next) {
      case "d":
        return DIGITS;
      case "D":
        return complement(DIGITS);
      case "w":
        return WORDS;
      case "W":
        return complement(WORDS);
      case "s":
        return SPACES;
      case "S":
        return complement(SPACES);
      case "x":
        return [one(this.#hex(2))];
      case "u":
        return [one(this.#hex(4))];
      case "b":
        if (inClass) return [one(8)];
        throw new UnsupportedPattern();
      default: {
        const control = Object.hasOwn(CONTROL, next) ? CONTROL[next] : undefined;
        if (control !== undefined) return [one(control)];
        // Other escaped letters and digits have a meaning that this reader does not support.
        if (next === "" || /[A-Za-z0-9]/.test(next)) throw new UnsupportedPattern();
        return [one(this.#code(next))];
      }
    }
  }

  #hex(digits: number): number {
    const text = this.#source.slice(this.#at, this.#at + digits);
    if (text.length < digits || !/^[0-9a-fA-F]+$/.test(text)) throw new UnsupportedPattern();
    this.#at += digits;
    return this.#code(String.fromCharCode(Number.parseInt(text, 16)));
  }

  /** Half a surrogate pair is not a character. */
  #code(char: string): number {
    const code = char.charCodeAt(0);
    if (code >= 0xd800 && code <= 0xdfff) throw new UnsupportedPattern();
    return code;
  }

  #repeated(part: Pattern): Pattern {
    const [min, max] = this.#quantifier() ?? [1, 1];
    // A lazy quantifier matches the same texts.
    if (min !== 1 || max !== 1) this.#take("?");
    if (min === 1 && max === 1) return part;
    // llama.cpp tries every way in which the rest can match nothing. Repetition multiplies these at every level.
    if (lengthsOf(part)[0] === 0) throw new UnsupportedPattern();
    return { kind: "repeat", part, min, max };
  }

  #quantifier(): readonly [number, number | null] | null {
    if (this.#take("*")) return [0, null];
    if (this.#take("+")) return [1, null];
    if (this.#take("?")) return [0, 1];
    if (this.#source[this.#at] !== "{") return null;
    const [text, low = "", comma, high] = /^\{(\d{1,4})(,)?(\d{1,4})?\}/.exec(this.#source.slice(this.#at)) ?? [];
    if (text === undefined || (high !== undefined && comma === undefined)) throw new UnsupportedPattern();
    this.#at += text.length;
    const min = Number(low);
    const max = comma === undefined ? min : high === undefined ? null : Number(high);
    if (max !== null && max < min) throw new UnsupportedPattern();
    return [min, max];
  }

  #take(char: string): boolean {
    const there = this.#source[this.#at] === char;
    if (there) this.#at += 1;
    return there;
  }
}

function sorted(ranges: readonly Range[]): Range[] {
  const merged: [number, number][] = [];
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** The other characters of the Basic Multilingual Plane, without surrogates. */
function complement(ranges: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let from = 0;
  for (const [low, high] of sorted([...ranges, [0xd800, 0xdfff]])) {
    if (low > from) rest.push([from, low - 1]);
    from = high + 1;
  }
  if (from <= LAST_CODE) rest.push([from, LAST_CODE]);
  return rest;
}
