import { expect, it } from "vitest";
import { readJsonSchema } from "../../schema/wire/json-schema.ts";
import { matchesSchema } from "../../worker-agent/engine/schema-check.ts";

const matches = (value: unknown, schema: object) => {
  const reading = readJsonSchema(schema);
  if (!reading.ok) throw new Error(reading.message);
  return matchesSchema(value, reading.schema);
};
const object = (properties: object, ...required: string[]) => ({ type: "object", properties, required });

it.each<[what: string, schema: object, valid: unknown[], invalid: unknown[]]>([
  ["a type", { type: "integer" }, [1, -2], [1.5, "1", null, [], true]],
  ["several types", { type: ["string", "null"] }, ["", null], [0, {}]],
  ["bounds", { type: "number", minimum: 1, exclusiveMaximum: 2 }, [1, 1.9], [0.9, 2]],
  ["a length, of characters", { type: "string", minLength: 2, maxLength: 2 }, ["ab", "😀😀"], ["a", "abc", "😀"]],
  ["constants", { enum: ["a", 1, null, { b: [1] }] }, ["a", 1, null, { b: [1] }], ["b", 2, { b: [2] }, false]],
  ["items", { type: "array", items: { type: "string" }, minItems: 1, maxItems: 2 }, [["a"], ["a", "b"]], [[], [1], {}]],
  [
    "members",
    object({ a: { type: "string" }, b: { type: "number" } }, "a"),
    [{ a: "" }, { a: "", b: 1 }, { a: "", other: 1 }],
    [{}, { b: 1 }, { a: 1 }, { a: "", b: "" }, null, []],
  ],
  ["members of other names", { type: "object", additionalProperties: { type: "number" } }, [{}, { a: 1 }], [{ a: "" }]],
  ["alternatives", { anyOf: [{ type: "string" }, object({ a: { type: "null" } }, "a")] }, ["", { a: null }], [1, {}]],
  [
    "itself",
    {
      $ref: "#/$defs/list",
      $defs: { list: object({ next: { anyOf: [{ $ref: "#/$defs/list" }, { type: "null" }] } }, "next") },
    },
    [{ next: null }, { next: { next: null } }],
    [{}, { next: { next: 1 } }],
  ],
])("a value is held to %s", (_what, schema, valid, invalid) => {
  for (const value of valid) expect({ value, ok: matches(value, schema) }).toEqual({ value, ok: true });
  for (const value of invalid) expect({ value, ok: matches(value, schema) }).toEqual({ value, ok: false });
});

it("a value that is nested deeper than any answer is not valid, and one that is too dear to check is", () => {
  const node = {
    anyOf: [
      { type: "array", items: { $ref: "#" } },
      { type: "array", items: { $ref: "#" }, minItems: 1 },
    ],
  };
  const deep = (levels: number, inner: unknown) => {
    let value = inner;
    for (let level = 0; level < levels; level++) value = [value];
    return value;
  };
  // Each level has two ways to fail, so that all of them together have 2 ** 40.
  expect(matches(deep(40, 1), node)).toBe(true);
  expect(matches(deep(100_000, []), { type: "array", items: { $ref: "#" } })).toBe(false);
});
