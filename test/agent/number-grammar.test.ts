import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readJsonSchema } from "../../schema/wire/json-schema/json-schema.ts";
import { MAX_INTEGER } from "../../schema/wire/json-schema/number-bounds.ts";
import { SchemaBudget } from "../../schema/wire/json-schema/schema-budget.ts";
import { jsonGrammar } from "../../worker-agent/engine/grammar/call-grammar.ts";
import { GrammarReader } from "./grammar-reader.ts";

/** Limits of the grammar of one number, for any bounds. */
const MOST_CHARS = 1_200;
const MOST_WAYS = 8;

function grammarOf(schema: object): string {
  const reading = readJsonSchema(schema, { strict: true, budget: new SchemaBudget() });
  if (!reading.ok) throw new Error(`${JSON.stringify(schema)}: ${reading.message}`);
  return jsonGrammar(reading.schema);
}

function accepts(grammar: string, text: string): boolean {
  const reader = new GrammarReader(grammar, 200);
  const read = reader.read(text) && reader.mayEnd();
  expect(reader.maxStacks).toBeLessThanOrEqual(MOST_WAYS);
  return read;
}

/** Bounds with 1 to 15 digits, equally distributed. */
const whole = fc
  .integer({ min: 1, max: 15 })
  .chain((digits) => fc.integer({ min: 1 - 10 ** digits, max: 10 ** digits - 1 }));
const range = fc.tuple(whole, whole).map(([a, b]): [number, number] => (a <= b ? [a, b] : [b, a]));

/** Numbers near the bounds, with digits of the bounds, and anywhere. */
const near = ([min, max]: [number, number]) =>
  fc.oneof(
    fc.integer({ min, max }),
    whole,
    fc
      .tuple(fc.constantFrom(min, max, 0), fc.nat({ max: 15 }), fc.integer({ min: -11, max: 11 }))
      .map(([bound, power, steps]) => bound + steps * 10 ** power),
  );

describe("integers between bounds", () => {
  it("are exactly those that the grammar allows, and its size does not depend on their number", () => {
    fc.assert(
      fc.property(
        range.chain((bounds) =>
          fc.tuple(fc.constant(bounds), fc.array(near(bounds), { minLength: 20, maxLength: 20 })),
        ),
        ([[minimum, maximum], values]) => {
          const grammar = grammarOf({ type: "integer", minimum, maximum });
          expect(grammar.length).toBeLessThan(MOST_CHARS);
          for (const value of [minimum, maximum, minimum - 1, maximum + 1, ...values]) {
            // Zero has no sign here.
            expect(accepts(grammar, String(value)), `${value}`).toBe(value >= minimum && value <= maximum);
          }
          for (const text of [
            "",
            "-",
            "-0",
            "00",
            `0${maximum}`,
            `-0${Math.abs(minimum)}`,
            `${maximum}.`,
            `${maximum}e0`,
          ])
            expect(accepts(grammar, text), text).toBe(false);
        },
      ),
      { numRuns: 400 },
    );
  });

  it("are all allowed if they are few", () => {
    fc.assert(
      fc.property(fc.integer({ min: -130, max: 130 }), fc.nat({ max: 130 }), (minimum, width) => {
        const grammar = grammarOf({ type: "integer", minimum, maximum: minimum + width });
        for (let value = minimum - 3; value <= minimum + width + 3; value++)
          expect(accepts(grammar, String(value)), `${value}`).toBe(value >= minimum && value <= minimum + width);
      }),
      { numRuns: 60 },
    );
  });

  it.each<[what: string, schema: object, within: number[], without: number[]]>([
    ["a minimum only", { minimum: 18 }, [18, 100, MAX_INTEGER], [17, 0, -18]],
    ["a maximum only", { maximum: -1 }, [-1, -10, -MAX_INTEGER], [0, 1]],
    ["excluded bounds", { exclusiveMinimum: 0, exclusiveMaximum: 10 }, [1, 9], [0, 10, -1]],
    [
      "both kinds of bound on one side",
      { minimum: 1, exclusiveMinimum: 2, maximum: 9, exclusiveMaximum: 11 },
      [3, 9],
      [2, 10],
    ],
    ["bounds that are not whole", { minimum: 0.5, maximum: 5.5 }, [1, 5], [0, 6]],
    [
      "bounds that are larger than any written number",
      { minimum: -(2 ** 53), maximum: 2 ** 53 },
      [-MAX_INTEGER, MAX_INTEGER, 0],
      [],
    ],
    ["one value", { minimum: 7, maximum: 7 }, [7], [6, 8, -7, 77]],
  ])("with %s", (_what, bounds, within, without) => {
    const grammar = grammarOf({ type: "integer", ...bounds });
    for (const value of within) expect(accepts(grammar, String(value)), `${value}`).toBe(true);
    for (const value of without) expect(accepts(grammar, String(value)), `${value}`).toBe(false);
  });
});

describe("numbers between bounds", () => {
  const decimals = fc.string({ unit: fc.constantFrom(..."0123456789"), minLength: 0, maxLength: 15 });

  it("stay within them after JSON is parsed, even if a bound is excluded", () => {
    let accepted = 0;
    fc.assert(
      fc.property(
        range
          .filter(([min, max]) => min < max)
          .chain((bounds) => fc.tuple(fc.constant(bounds), near(bounds), decimals)),
        fc.boolean(),
        fc.boolean(),
        ([[min, max], near, digits], aboveMin, belowMax) => {
          const grammar = grammarOf({
            type: "number",
            [aboveMin ? "exclusiveMinimum" : "minimum"]: min,
            [belowMax ? "exclusiveMaximum" : "maximum"]: max,
          });
          expect(grammar.length).toBeLessThan(MOST_CHARS);
          const isWithin = (value: number) =>
            (aboveMin ? value > min : value >= min) && (belowMax ? value < max : value <= max);
          for (const value of [near, min, max, min - 1, max + 1]) {
            expect(accepts(grammar, String(value)), `${value}`).toBe(isWithin(value));
            for (const text of [`${value}.${digits}`, `${value}.${"9".repeat(15)}`, `${value}.0`]) {
              if (!accepts(grammar, text)) continue;
              accepted++;
              expect(isWithin(JSON.parse(text)), text).toBe(true);
            }
          }
          // Short fractions are always allowed.
          const short = `${near}.${digits.slice(0, 1) || "5"}`;
          if (near !== 0) expect(accepts(grammar, short), short).toBe(isWithin(JSON.parse(short)));
        },
      ),
      { numRuns: 400 },
    );
    expect(accepted).toBeGreaterThan(100);
  });

  it.each<[what: string, schema: object, within: string[], without: string[]]>([
    [
      "bounds of 0 and 1",
      { minimum: 0, maximum: 1 },
      ["0", "1", "0.0", "1.0", "0.25", "0.000001"],
      ["-0", "1.01", "2", "-0.5", "1e-2"],
    ],
    ["a minimum of 0, excluded", { exclusiveMinimum: 0 }, ["0.1", "1", "19.99", "1000000"], ["0", "0.0", "-1"]],
    ["a temperature", { minimum: -273, maximum: 100 }, ["-273", "-272.9", "-0.5", "0", "99.9"], ["-273.1", "100.5"]],
    ["a maximum of 0, excluded", { exclusiveMaximum: 0 }, ["-0.1", "-1", "-5.25"], ["0", "-0", "-0.0", "1"]],
    ["one value", { minimum: 3, maximum: 3 }, ["3", "3.00"], ["3.01", "2.9"]],
    [
      "the largest numbers, excluded",
      { exclusiveMinimum: -MAX_INTEGER, exclusiveMaximum: MAX_INTEGER },
      [`${MAX_INTEGER - 1}`, `${1 - MAX_INTEGER}`, "0"],
      [`${MAX_INTEGER}`, `-${MAX_INTEGER}`, `${MAX_INTEGER}.0`],
    ],
    ["bounds larger than any written number", { minimum: -3.4e38, maximum: 3.4e38 }, ["-2.5", "0", "123456"], ["1e40"]],
  ])("with %s", (_what, bounds, within, without) => {
    const grammar = grammarOf({ type: "number", ...bounds });
    for (const text of within) expect(accepts(grammar, text), text).toBe(true);
    for (const text of without) expect(accepts(grammar, text), text).toBe(false);
  });

  it.each([{ exclusiveMinimum: MAX_INTEGER }, { exclusiveMaximum: -MAX_INTEGER }])(
    "of which none has at most 15 digits are refused: %j",
    (bounds) => {
      expect(() => grammarOf({ type: "number", ...bounds })).toThrow("excludes all of them");
    },
  );
});
