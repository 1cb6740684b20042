import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalBytes, canonicalBytesOrNull } from "../../../schema/crypto/canonical.ts";
import { sha256Hex } from "../../../schema/crypto/hash.ts";
import numbers from "../../vectors/rfc8785-numbers.json" with { type: "json" };
import events from "../../vectors/signed-events.json" with { type: "json" };

const canonical = (value: unknown) => new TextDecoder().decode(canonicalBytes(value));

describe("RFC 8785", () => {
  it.each(numbers.cases)("appendix B: $ieee754_hex is $text", ({ ieee754_hex, text }) => {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt(`0x${ieee754_hex}`));
    const value = view.getFloat64(0);
    if (text === null) expect(() => canonical(value)).toThrow(TypeError);
    else expect(canonical(value)).toBe(text);
  });

  it("section 3.2.2: literals, numbers and strings", () => {
    const input = String.raw`{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }`;
    const output = String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`;
    expect(canonical(JSON.parse(input))).toBe(output);
  });

  it("section 3.2.3: names sort by UTF-16 code units", () => {
    const input = String.raw`{
      "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
    }`;
    const sorted = [
      "Carriage Return",
      "One",
      "Control",
      "Latin Small Letter O With Diaeresis",
      "Euro Sign",
      "Emoji: Grinning Face",
      "Hebrew Letter Dalet With Dagesh",
    ];
    expect([...canonical(JSON.parse(input)).matchAll(/:"([^"]*)"/g)].map((match) => match[1])).toEqual(sorted);
  });

  it.each<[what: string, input: string, output: string]>([
    [
      "no white space, any depth",
      '{ "b" : [ ] , "a" : { "d" : { } , "c" : [ 1 , [ 2 ] ] } }',
      '{"a":{"c":[1,[2]],"d":{}},"b":[]}',
    ],
    ["arrays keep their order", '[56,{"d":true,"10":null,"1":[]}]', '[56,{"1":[],"10":null,"d":true}]'],
    ["a name like __proto__ is a name", '{"__proto__":{"x":1},"a":2}', '{"__proto__":{"x":1},"a":2}'],
    ["toJSON as data is data", '{"toJSON":1}', '{"toJSON":1}'],
    ["top level may be a string", '"\\u00e9"', '"é"'],
    ["minus zero", "[-0]", "[0]"],
  ])("%s", (_what, input, output) => expect(canonical(JSON.parse(input))).toBe(output));
});

describe("the vectors of events", () => {
  it.each(events.cases)("$comment", async (c) => {
    expect(canonical(c.event)).toBe(c.canonical);
    expect(await sha256Hex(canonicalBytes(c.event))).toBe(c.content_id);
  });
});

describe("values that JSON cannot express are refused:", () => {
  const cycle: unknown[] = [];
  cycle.push(cycle);
  const nested = (depth: number) => JSON.parse("[".repeat(depth) + "]".repeat(depth));

  it.each<[what: string, value: unknown]>([
    ["undefined", undefined],
    ["undefined in an array", [undefined]],
    ["a hole", new Array(1)],
    ["a function", () => 1],
    ["a function as a member", { f: () => 1 }],
    ["a function in an array", [() => 1]],
    ["toJSON", { toJSON: () => 1 }],
    ["a symbol", { s: Symbol("s") }],
    ["a bigint", { n: 1n }],
    ["NaN", [Number.NaN]],
    ["an infinity", { n: Number.NEGATIVE_INFINITY }],
    ["a high surrogate alone", "\ud800"],
    ["a low surrogate alone", ["a\udc00b"]],
    ["surrogates in the wrong order", "\udc00\ud800"],
    ["a lone surrogate in a name", { "\ud800": 1 }],
    ["a Date", new Date(0)],
    ["a Map", new Map()],
    ["bytes", new Uint8Array(1)],
    ["a boxed string", new String("x")],
    ["an instance", new (class Point {})()],
    ["a cycle", cycle],
    ["101 levels", nested(102)],
    ["30,000 levels", nested(30_000)],
  ])("%s", (_what, value) => {
    expect(() => canonicalBytes(value)).toThrow(TypeError);
    expect(canonicalBytesOrNull(value)).toBeNull();
  });

  it("an error does not repeat the value", () => {
    expect(() => canonicalBytes({ secret: "hunter2\ud800" })).toThrow(/^not canonical JSON: a lone surrogate$/);
  });

  it("100 levels are allowed, and an undefined member is left out", () => {
    expect(canonical(nested(100))).toBe("[".repeat(100) + "]".repeat(100));
    expect(canonical({ b: undefined, a: 1 })).toBe('{"a":1}');
    expect(canonical(Object.assign(Object.create(null), { a: 1 }))).toBe('{"a":1}');
  });
});

describe("any JSON value", () => {
  // -0 is written as "0", so it comes back as 0.
  const json = fc.jsonValue({ stringUnit: "binary", maxDepth: 6 }).map((value) => JSON.parse(JSON.stringify(value)));

  it("is unchanged by serialization and parsing", () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(JSON.parse(canonical(value))).toEqual(value);
      }),
    );
  });

  it("has one spelling, whatever the order of names", () => {
    const reversed = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(reversed);
      if (typeof value !== "object" || value === null) return value;
      // fromEntries defines properties, so a member named __proto__ stays one.
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([name, member]) => [name, reversed(member)]),
      );
    };
    fc.assert(
      fc.property(json, (value) => {
        const once = canonical(value);
        expect(canonical(JSON.parse(once))).toBe(once);
        expect(canonical(reversed(value))).toBe(once);
      }),
    );
  });
});
