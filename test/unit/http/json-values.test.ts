import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasMoreValuesThan } from "../../../edge/http/json-values.ts";

/** The same count, from the parsed value. */
function valuesOf(json: unknown): number {
  if (typeof json !== "object" || json === null) return 1;
  return Object.values(json).reduce((sum: number, member) => sum + valuesOf(member), 1);
}

describe("values of JSON text", () => {
  it.each<[what: string, text: string, values: number]>([
    ["an empty object", "{}", 1],
    ["an empty array with white space", "[ \t\r\n]", 1],
    ["members", '{"a":1,"b":[2,{"c":null}]}', 6],
    ["a member called __proto__", '{"__proto__":[1,2]}', 4],
    ["nested empty values", "[[],{},[[]]]", 5],
    ["strings of JSON", '["[1,2,3]","{\\"a\\":[1,2]}"]', 3],
    ["strings that end in backslashes", '["\\\\","\\\\\\"",",,,"]', 4],
    ["a string only", '"a,b"', 1],
  ])("are counted: %s", (_what, text, values) => {
    expect([values - 1, values].map((most) => hasMoreValuesThan(most, text))).toEqual([true, false]);
  });

  it("equal the count of a parser, for any white space", () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom("", " ", "\n\t"), (json, space) => {
        const value: unknown = JSON.parse(json);
        const text = JSON.stringify(value, null, space);
        expect([valuesOf(value) - 1, valuesOf(value)].map((most) => hasMoreValuesThan(most, text))).toEqual([
          true,
          false,
        ]);
      }),
    );
  });

  it.each([
    ["deeply nested arrays", "[".repeat(4_000_000)],
    ["deeply nested objects", '{"":'.repeat(1_000_000)],
    ["millions of empty objects", `[${"{},".repeat(1_000_000)}`],
  ])("are found to be too many before all of the text is read: %s", (_what, text) => {
    expect(hasMoreValuesThan(1_000, text)).toBe(true);
  });

  it.each([
    ["an unfinished text", '["a'],
    ["an empty text", ""],
    ["commas only", ",,,"],
    ["closing brackets only", "]]]"],
  ])("are counted without an exception in %s", (_what, text) => expect(hasMoreValuesThan(10, text)).toBe(false));
});
