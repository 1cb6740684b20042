import fc from "fast-check";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { readJsonSchema, readToolParameters } from "../../schema/wire/json-schema/json-schema.ts";
import { SchemaBudget } from "../../schema/wire/json-schema/schema-budget.ts";
import type { ReadSchema } from "../../schema/wire/json-schema/schema-node.ts";
import { jsonGrammar } from "../../worker-agent/engine/grammar/call-grammar.ts";
import { GrammarReader, randomText } from "./grammar-reader.ts";

const Tree = z.object({
  name: z.string().max(3),
  get children() {
    return z.array(Tree).max(1);
  },
});
const Status = z.enum(["open", "closed"]).meta({ id: "Status" });

/** Schemas of zod users that are enforced completely: everything that the grammar allows parses. */
const ENFORCED: Readonly<Record<string, z.ZodType>> = {
  url: z.url(),
  email: z.email(),
  uuid: z.uuid(),
  "uuid of a version": z.uuidv4(),
  "iso datetime": z.iso.datetime(),
  "iso datetime with offset": z.iso.datetime({ offset: true }),
  "iso datetime of milliseconds": z.iso.datetime({ precision: 3 }),
  "iso date": z.iso.date(),
  "iso time": z.iso.time(),
  "iso duration": z.iso.duration(),
  ipv4: z.ipv4(),
  ipv6: z.ipv6(),
  cidr: z.cidrv4(),
  hostname: z.hostname(),
  base64: z.base64(),
  nanoid: z.nanoid(),
  ulid: z.ulid(),
  e164: z.e164(),
  record: z.record(z.string(), z.int()),
  "record of an enum": z.record(z.enum(["a", "b"]), z.boolean()),
  "partial record": z.partialRecord(z.enum(["a", "b"]), z.boolean()),
  tuple: z.tuple([z.string(), z.int()]),
  "tuple with a rest": z.tuple([z.boolean()], z.null()),
  "discriminated union": z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("a"), v: z.string() }),
    z.object({ kind: z.literal("b"), n: z.int() }),
  ]),
  union: z.union([z.string(), z.number(), z.object({ a: z.boolean() })]),
  intersection: z.intersection(z.object({ a: z.boolean() }), z.object({ b: z.boolean() })),
  nullable: z.string().nullable(),
  optional: z.object({ a: z.boolean().optional(), b: z.boolean() }),
  never: z.object({ a: z.never().optional() }),
  default: z.object({ a: z.string().default("x") }),
  enum: z.object({ a: Status, b: Status }),
  literal: z.literal(["a", 1, null]),
  int: z.int(),
  int32: z.int32(),
  float: z.float32(),
  range: z.number().gt(0).lte(10),
  regex: z.string().regex(/^[A-Z]{2}-\d+$/),
  "regex and lengths": z
    .string()
    .regex(/^[a-z]+$/)
    .min(2)
    .max(5),
  "starts with": z.string().startsWith("ab"),
  includes: z.string().includes("x"),
  length: z.string().length(5),
  template: z.templateLiteral(["a-", z.int()]),
  list: z.array(z.array(z.boolean()).max(2)).min(1).max(3),
  loose: z.looseObject({ a: z.boolean() }),
  catchall: z.object({ a: z.boolean() }).catchall(z.number()),
  recursive: Tree,
};

function texts(schema: ReadSchema, count: number): string[] {
  const grammar = jsonGrammar(schema);
  return Array.from({ length: count }, (_, seed) => {
    const picks = fc.sample(fc.nat(), { seed, numRuns: 600 });
    return randomText(new GrammarReader(grammar, 4_000), picks) ?? [];
  }).flat();
}

const strictly = () => ({ strict: true, budget: new SchemaBudget() });

describe("a zod schema", () => {
  it.each(Object.entries(ENFORCED))("of %s is enforced, and generated values parse", (_what, type) => {
    const schema = z.toJSONSchema(type);
    expect(readJsonSchema(schema, strictly())).toMatchObject({ ok: true });
    // The agent reads schemas without strict.
    const reading = readJsonSchema(schema);
    const all = texts(reading.ok ? reading.schema : expect.fail(reading.message), 40);
    expect(all.length).toBeGreaterThan(10);
    for (const text of all) expect(type.safeParse(JSON.parse(text)), text).toMatchObject({ success: true });
  });

  it.each<[what: string, type: z.ZodType, path: string]>([
    ["a token", z.jwt(), "format"],
    ["an emoji", z.emoji(), "pattern"],
    ["a bound that is not an integer", z.number().min(0.5), "minimum"],
    ["a multiple", z.number().multipleOf(0.5), "multipleOf"],
    ["a long text", z.string().max(100_000), "maxLength"],
  ])("of %s is accepted, and refused by name under strict", (_what, type, path) => {
    expect(readJsonSchema(z.toJSONSchema(type))).toMatchObject({ ok: true });
    expect(readJsonSchema(z.toJSONSchema(type), strictly())).toMatchObject({ ok: false, path });
  });
});

describe("the official SDK's helpers, which set strict,", () => {
  const Event = z.object({
    id: z.uuid(),
    at: z.iso.datetime(),
    day: z.iso.date(),
    mail: z.email().nullable(),
    link: z.url(),
    kind: Status,
    before: Status,
    count: z.int().min(1).max(5),
    tags: z.array(z.enum(["a", "b"])).max(2),
    what: z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("a"), v: z.boolean() }),
      z.object({ kind: z.literal("b"), n: z.int() }),
    ]),
  });
  const format = zodResponseFormat(Event, "event", { schemaDefinitions: { Place: z.object({ name: z.string() }) } });
  const tool = zodFunction({ name: "add_event", parameters: Event }).function;
  it.each<[what: string, strict: boolean | null | undefined, read: () => ReturnType<typeof readJsonSchema>]>([
    ["zodResponseFormat", format.json_schema.strict, () => readJsonSchema(format.json_schema.schema, strictly())],
    [
      "zodTextFormat",
      zodTextFormat(Event, "event").strict,
      () => readJsonSchema(zodTextFormat(Event, "event").schema, strictly()),
    ],
    ["zodFunction", tool.strict, () => readToolParameters(tool.parameters, strictly())],
  ])("set a schema that is enforced: %s", (_what, strict, read) => {
    expect(strict).toBe(true);
    const reading = read();
    const all = texts(reading.ok ? reading.schema : expect.fail(`${reading.path}: ${reading.message}`), 10);
    expect(all.length).toBeGreaterThan(3);
    for (const text of all) expect(Event.safeParse(JSON.parse(text)), text).toMatchObject({ success: true });
  });
});

it("zod's lookahead expressions beside a format match everything that is generated for it", () => {
  const before: [format: string, pattern: string][] = [
    [
      "email",
      "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
    ],
    ["hostname", `${z.toJSONSchema(z.hostname()).pattern}`],
    ["duration", `${z.toJSONSchema(z.iso.duration()).pattern}`],
  ];
  for (const [format, pattern] of before) {
    const reading = readJsonSchema({ type: "string", format, pattern }, strictly());
    const all = texts(reading.ok ? reading.schema : expect.fail(`${format}: ${reading.message}`), 60);
    expect(all.length).toBeGreaterThan(10);
    for (const text of all) expect(JSON.parse(text)).toMatch(new RegExp(pattern));
  }
});
