import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasMoreValuesThan } from "../../../edge/http/json-values.ts";

/** As one counts who has parsed it. */
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
    ["empty ones in one", "[[],{},[[]]]", 5],
    ["strings of JSON", '["[1,2,3]","{\\"a\\":[1,2]}"]', 3],
    ["strings that end in backslashes", '["\\\\","\\\\\\"",",,,"]', 4],
    ["a string alone", '"a,b"', 1],
  ])("are counted: %s", (_what, text, values) => {
    expect([values - 1, values].map((most) => hasMoreValuesThan(most, text))).toEqual([true, false]);
  });

  it("are as many as a parser finds, however they are written", () => {
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
    ["an abyss", "[".repeat(4_000_000)],
    ["an abyss of objects", '{"":'.repeat(1_000_000)],
    ["nothings", `[${"{},".repeat(1_000_000)}`],
  ])("are found to be too many before they are all read: %s", (_what, text) => {
    expect(hasMoreValuesThan(1_000, text)).toBe(true);
  });

  it.each([
    ["what never ends", '["a'],
    ["nothing", ""],
    ["commas of none", ",,,"],
    ["ends of none", "]]]"],
  ])("are counted without a fault in %s", (_what, text) => expect(hasMoreValuesThan(10, text)).toBe(false));
});
