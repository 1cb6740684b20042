import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readJsonSchema } from "../../schema/wire/json-schema/json-schema.ts";
import { SchemaBudget } from "../../schema/wire/json-schema/schema-budget.ts";
import { readPattern } from "../../schema/wire/json-schema/string-pattern.ts";
import { jsonGrammar } from "../../worker-agent/engine/grammar/call-grammar.ts";
import { GrammarReader, randomText } from "./grammar-reader.ts";

const MOST_STEPS = 4_000;

function readerOf(schema: object): GrammarReader {
  const reading = readJsonSchema(schema, { strict: true, budget: new SchemaBudget() });
  return new GrammarReader(jsonGrammar(reading.ok ? reading.schema : expect.fail(reading.message)), MOST_STEPS);
}
const accepts = (pattern: string, text: string): boolean => {
  const reader = readerOf({ type: "string", pattern });
  return reader.read(JSON.stringify(text)) && reader.mayEnd();
};

/** Regular expressions from the supported syntax; some are refused for their size or form. */
const atom = fc.constantFrom(
  "a",
  "b",
  "\\d",
  "\\w",
  "\\s",
  "[^a]",
  "[a-c]",
  "[\\d-]",
  ".",
  "\\.",
  "\\u0041",
  '"',
  "\\\\",
  "-",
  "[\\W_]",
);
const quantifier = fc.constantFrom("", "", "", "?", "*", "+", "{2}", "{1,3}", "{2,}", "+?");
const { source } = fc.letrec<{ source: string; part: string }>((tie) => ({
  part: fc.oneof(
    { maxDepth: 2, depthIdentifier: "pattern" },
    fc.tuple(atom, quantifier).map(([one, times]) => one + times),
    fc.tuple(tie("source"), quantifier).map(([inner, times]) => `(?:${inner})${times}`),
  ),
  source: fc
    .array(fc.array(tie("part"), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 2 })
    .map((ways) => ways.map((parts) => parts.join("")).join("|")),
}));
const anchored = fc
  .tuple(fc.constantFrom("^", ""), source, fc.constantFrom("$", ""))
  .map(([begin, inner, end]) => `${begin}(${inner})${end}`);

describe("a pattern", () => {
  it("matches everything that its grammar allows, with and without the flag u", () => {
    let ended = 0;
    fc.assert(
      // Short texts, because JavaScript's engine backtracks and may need exponential time.
      fc.property(anchored, fc.array(fc.nat(), { minLength: 16, maxLength: 16 }), (pattern, picks) => {
        if (readPattern(pattern) === null) return;
        const reader = readerOf({ type: "string", pattern });
        const written = randomText(reader, picks);
        if (written === null) return;
        ended++;
        const text = JSON.parse(written) as string;
        expect(text).toMatch(new RegExp(pattern));
        expect(text).toMatch(new RegExp(pattern, "u"));
      }),
      { numRuns: 2_000 },
    );
    expect(ended).toBeGreaterThan(500);
  });

  it.each<[pattern: string, texts: string[], others: string[]]>([
    ["^ab+$", ["ab", "abbb"], ["a", "abc", ""]],
    ["b", ["b", "abc", 'a"b\\n'], ["", "a"]],
    ["^$|^x", ["", "x", "xy"], ["y"]],
    ["^(a|bc){2,3}$", ["aa", "bca", "abca"], ["a", "aaaa"]],
    ['^["\\\\]$', ['"', "\\"], ["/"]],
    ["^[^\\s]+$", ["äß", "a\u00ad"], ["a b", "\u3000"]],
    ["^\\x41\\u0042\\/$", ["AB/"], ["AB"]],
    ["^(?<year>\\d{4})$", ["2024"], ["024"]],
    ["^a{2,}$", ["aa", "aaaaa"], ["a"]],
    ["^[+\\-.]$", ["+", "-", "."], [","]],
  ])("%s allows what matches", (pattern, texts, others) => {
    for (const text of texts) expect(accepts(pattern, text), text).toBe(true);
    for (const text of others) expect(accepts(pattern, text), text).toBe(false);
  });

  it.each([
    ["looks ahead", "^(?=a)a$"],
    ["looks behind", "(?<=a)b"],
    ["refers back", "^(a)\\1$"],
    ["names a Unicode property", "^\\p{L}$"],
    ["is anchored inside", "a^b"],
    ["ends inside", "^(a$|b)"],
    ["has a boundary of words", "\\bword\\b"],
    ["repeats an empty match without a limit", "^(a*)*$"],
    ["repeats what may be empty", "^(?:a?){2}$"],
    ["repeats what may be empty, at every level", "^(?:(?:(?:a?a?){1,3}){1,3}){1,3}$"],
    ["makes optional what may be empty", "^(?:(?:a?)?)?$"],
    ["can be empty in two ways, repeatedly", "^(?:a?|b?)(?:a?|b?)(?:a?|b?)$"],
    ["is too large", "^([a-z]{1,20}){1,21}$"],
    ["is longer than the limit", `^${"a".repeat(2_000)}$`],
    ["has more groups than the limit", `^${"(a)".repeat(81)}$`],
    ["has a group that is not closed", "^(a"],
    ["has a class that is not closed", "^[a"],
    ["has an empty class", "^[]$"],
    ["has a descending range", "^[z-a]$"],
    ["has a lone surrogate", "^\\ud83d$"],
    ["has a character that JSON never contains unescaped", "^\\x01$"],
    ["repeats a repetition", "a{2"],
    ["has a minimum above its maximum", "a{3,2}"],
  ])("that %s is not supported", (_what, pattern) => expect(readPattern(pattern)).toBeNull());

  it("is read in bounded time, however deeply it is nested", () => {
    for (const pattern of [
      "(".repeat(1_000),
      "(a|".repeat(500),
      `${"(?:a?)".repeat(300)}`,
      "[".repeat(1_999),
      "\\".repeat(1_999),
    ]) {
      expect(() => readPattern(pattern)).not.toThrow();
    }
  });

  it.each<[schema: object, least: number, most: number]>([
    [{ pattern: "^[a-z]+$", minLength: 3, maxLength: 5 }, 3, 5],
    [{ pattern: "^id-\\d*$", minLength: 5, maxLength: 9 }, 5, 9],
    [{ pattern: "^x", maxLength: 4 }, 1, 4],
  ])("lengths beside a pattern are enforced: %j", (schema, least, most) => {
    for (let seed = 0; seed < 40; seed++) {
      const picks = fc.sample(fc.nat(), { seed, numRuns: 100 });
      const text = randomText(readerOf({ type: "string", ...schema }), picks);
      const { length } = JSON.parse(text ?? expect.fail("no end")) as string;
      expect(length).toBeGreaterThanOrEqual(least);
      expect(length).toBeLessThanOrEqual(most);
    }
  });
});
