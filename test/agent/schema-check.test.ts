import { expect, it } from "vitest";
import { allMatch } from "../../worker-agent/engine/upstream/schema-check.ts";

const object = (properties: object, ...required: string[]) => ({ type: "object", properties, required });
const string = { type: "string" };
const integer = { type: "integer" };

const matchesSchema = (value: unknown, schema: object, mode: { strict: boolean }) => allMatch([[value, schema]], mode);

type Row = [what: string, schema: object, valid: unknown[], invalid: unknown[]];

function held(schema: object, valid: unknown[], invalid: unknown[], strict: boolean): void {
  const results = [...valid, ...invalid].map((value) => ({ value, ok: matchesSchema(value, schema, { strict }) }));
  expect(results).toEqual([
    ...valid.map((value) => ({ value, ok: true })),
    ...invalid.map((value) => ({ value, ok: false })),
  ]);
}

it.each<Row>([
  ["a type", integer, [1, -2], [1.5, "1", null, [], true]],
  ["several types", { type: ["string", "null"] }, ["", null], [0, {}]],
  ["bounds", { type: "number", minimum: 1, exclusiveMaximum: 2 }, [1, 1.9], [0.9, 2]],
  ["a length, of characters", { type: "string", minLength: 2, maxLength: 2 }, ["ab", "😀😀"], ["a", "abc", "😀"]],
  ["constants", { enum: ["a", 1, null, { b: [1] }] }, ["a", 1, null, { b: [1] }], ["b", 2, { b: [2] }, false]],
  ["one constant", { const: { a: [null] } }, [{ a: [null] }], [{ a: [] }, null]],
  ["one constant, which is null", { const: null }, [null], [0, "", {}]],
  ["a constant of several", { enum: [1, "a"], const: "a" }, ["a"], [1]],
  ["no constant", { enum: [1], const: 2 }, [], [1, 2]],
  ["items", { type: "array", items: string, minItems: 1, maxItems: 2 }, [["a"], ["a", "b"]], [[], [1], {}]],
  [
    "members",
    object({ a: string, b: { type: "number" } }, "a"),
    [{ a: "" }, { a: "", b: 1 }, { a: "", other: 1 }],
    [{}, { b: 1 }, { a: 1 }, { a: "", b: "" }, null, []],
  ],
  ["members of other names", { type: "object", additionalProperties: { type: "number" } }, [{}, { a: 1 }], [{ a: "" }]],
  ["alternatives", { anyOf: [string, object({ a: { type: "null" } }, "a")] }, ["", { a: null }], [1, {}]],
  [
    "a reference to itself",
    {
      $ref: "#/$defs/list",
      $defs: { list: object({ next: { anyOf: [{ $ref: "#/$defs/list" }, { type: "null" }] } }, "next") },
    },
    [{ next: null }, { next: { next: null } }],
    [{}, { next: { next: 1 } }],
  ],
  ["a pattern", { pattern: "^abc$" }, ["abc", 1], ["zz"]],
  ["the pattern of its names", { propertyNames: { pattern: "^x" } }, [{ x1: 1 }, {}, "y"], [{ y: 1 }]],
  ["not", { not: string }, [1, null], ["a"]],
  ["oneOf", { oneOf: [{ minimum: 2 }, { maximum: 3 }] }, [1, 4], [2, 3]],
  ["allOf", { allOf: [object({}, "a"), { maxProperties: 1 }] }, [{ a: 1 }], [{}, { a: 1, b: 2 }]],
  [
    "unique items",
    { uniqueItems: true },
    [
      [1, 2],
      [{ a: 1 }, { a: 2 }],
    ],
    [[{ a: 1 }, { a: 1 }]],
  ],
  ["a decimal step", { multipleOf: 0.1 }, [0.3, 1], [0.35]],
])("a value is checked against %s", (_what, schema, valid, invalid) => held(schema, valid, invalid, false));

it.each<Row>([
  [
    "prefixItems, and more or fewer items",
    { prefixItems: [string, integer] },
    [["a", 1, true], ["a"], [], 5],
    [["a", "b"]],
  ],
  ["items as a list, as in draft 7", { items: [integer, string] }, [[1], [1, "a", null]], [["a"]]],
  ["one of a list and null", { oneOf: [{ prefixItems: [string] }, { type: "null" }] }, [["a", "b"]], [null]],
  ["properties, of objects only", { properties: { a: string } }, [[1], "x", { a: "" }], [{ a: 1 }]],
  ["a length, of text only", { minLength: 3 }, [5, "abc", null], ["ab"]],
  ["a bound, of numbers only", { minimum: 3 }, ["x", 3], [2]],
])("a keyword applies to its own type only: %s", (_what, schema, valid, invalid) => held(schema, valid, invalid, true));

it.each<Row>([
  ["with a type", { type: "string", nullable: true }, [null, "a"], [1]],
  ["with constants", { type: "string", enum: ["a"], nullable: true }, [null, "a"], ["b"]],
  [
    "with a reference, also for what is inside of it",
    object({
      a: { $ref: "#/definitions/b", nullable: true },
      c: { type: "object", nullable: true, properties: { d: string } },
      e: { $ref: "#/properties/c/properties/d" },
    }),
    [{ a: null }, { a: "" }, { c: null, e: "" }],
    [{ c: { d: 1 } }, { e: 1 }, { e: null }],
  ],
  ["that is false", { type: "string", nullable: false }, ["a"], [null]],
  ["that is the name of a member", object({ nullable: string }), [{ nullable: "" }], [null, { nullable: null }]],
])("OpenAPI's nullable allows null: %s", (_what, schema, valid, invalid) => {
  held({ definitions: { b: string }, ...schema }, valid, invalid, true);
});

const date = { format: "date" };
it.each<[what: string, schema: object, value: unknown, loosely: boolean, strictly: boolean]>([
  ["a valid value", date, "2024-02-29", true, true],
  ["an invalid value", date, "2023-02-29", true, false],
  ["not a format", { not: date }, "2024-02-29", false, false],
  ["a format of other tools", { format: "int32" }, "x", true, true],
  ["a format with the name of an object's part", { format: "toString" }, "x", true, true],
])("a format is checked only under strict: %s", (_what, schema, value, loosely, strictly) => {
  const results = [false, true].map((strict) => matchesSchema(value, schema, { strict }));
  expect(results).toEqual([loosely, strictly]);
});

const draft4 = "http://json-schema.org/draft-04/schema#";
it.each<Row>([
  ["draft 4", { $schema: draft4, minimum: 1, exclusiveMinimum: true }, [1.5], [1]],
  ["OpenAPI 3.0, which has no dialect name here", { minimum: 0, exclusiveMinimum: true }, [0.5], [0]],
  ["a bound that is false", { minimum: 0, exclusiveMinimum: false }, [0, 0.5], [-1]],
  [
    "draft 7, which ignores everything beside a reference",
    {
      $schema: "http://json-schema.org/draft-07/schema#",
      definitions: { a: {} },
      items: { $ref: "#/definitions/a", maximum: 1 },
    },
    [[2]],
    [],
  ],
  [
    "2020-12",
    { $schema: "https://json-schema.org/draft/2020-12/schema", $defs: { a: {} }, $ref: "#/$defs/a", maximum: 1 },
    [1],
    [2],
  ],
])("a schema is checked by its dialect: %s", (_what, schema, valid, invalid) => held(schema, valid, invalid, true));

const deep = (levels: number, inner: unknown, wrap = (value: unknown): unknown => [value]) => {
  let value = inner;
  for (let level = 0; level < levels; level++) value = wrap(value);
  return value;
};
const twoWays = {
  anyOf: [
    { type: "array", items: { $ref: "#" } },
    { type: "array", items: { $ref: "#" }, minItems: 1 },
  ],
};
it.each<[what: string, schema: object, value: unknown]>([
  ["an unknown dialect", { $schema: "https://example.org/mine", type: "string" }, 1],
  ["an external reference", { $ref: "https://example.org/other.json" }, 1],
  ["a reference to a missing definition", { not: { $ref: "#/$defs/none" } }, 1],
  ["a reference to itself", { $ref: "#" }, 1],
  ["a dynamic reference", { not: { $dynamicRef: "#a" } }, 1],
  ["a type that JSON does not have", { type: "STRING" }, 1],
  ["an invalid length", { maxLength: null }, "a"],
  ["required names that are not a list", { type: "object", required: "ab" }, {}],
  ["an expression that is malformed", { pattern: "(" }, "a"],
  ["an expression with exponential time", { pattern: "^(a+)+$" }, `${"a".repeat(100)}!`],
  // Each level has two ways to fail, so that all of them together have 2 ** 40.
  ["alternatives with exponential time", twoWays, deep(40, 1)],
  ["a value that is nested too deeply", { type: "array", items: { $ref: "#" } }, deep(100_000, 1)],
  ["a schema that is nested too deeply", deep(100_000, { type: "string" }, (items) => ({ items })) as object, [1]],
])("a value that cannot be checked passes: %s", (_what, schema, value) => {
  expect(matchesSchema(value, schema, { strict: true })).toBe(true);
  // The next check works as usual.
  expect(matchesSchema(1, string, { strict: true })).toBe(false);
});

it("the client's schema is not modified", () => {
  const schema = Object.freeze({ type: "string", nullable: true, format: "date" });
  expect(matchesSchema(null, schema, { strict: false })).toBe(true);
  expect(Object.getOwnPropertyNames(schema)).toEqual(["type", "nullable", "format"]);
});

it("one invalid value anywhere makes the check fail", () => {
  const results = [[], [1, "a"], ["a", 1], ["a", "b"]].map((values) =>
    allMatch(
      values.map((value) => [value, string]),
      { strict: true },
    ),
  );
  expect(results).toEqual([true, false, false, true]);
});
