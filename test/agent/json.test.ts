import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { ENDLESS_CHOICES } from "../fuzz/schemas.ts";
import { answer, chat, type LoadedModel, loadEmbedded } from "./loaded-model.ts";

/** Answers of a model that knows no JSON. The grammar makes them valid. */
let model: LoadedModel;
beforeAll(async () => {
  model = await loadEmbedded({ slots: 8 });
});
afterAll(() => model.engine.dispose());

const SEEDS = [1, 2, 3, 4, 5, 6];

/** Answers that ended by themselves. An answer that reached the limit ends with length. */
async function answers(responseFormat: object, request: object = {}): Promise<unknown[]> {
  const job = { responseFormat, temperature: 1, maxTokens: 400, ...request } as Parameters<typeof chat>[1];
  const all = await Promise.all(
    SEEDS.map(async (seed) => {
      const given = await answer(model.engine, chat("What is a pool?", { ...job, ...(seed % 2 === 0 && { seed }) }));
      const { text, last, tokens } = given;
      if (last?.type !== "end") throw new Error(JSON.stringify(last));
      // The last token may be half a character, which is not sent.
      expect(last.usage.completionTokens).toBeGreaterThanOrEqual(tokens);
      if (last.finishReason === "length") return [];
      return [JSON.parse(text) as unknown];
    }),
  );
  return all.flat();
}
const schemaAnswers = (schema: object, request?: object) => answers({ type: "json_schema", schema }, request);

const strict = (properties: object, more: object = {}) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
});

describe("a JSON schema", () => {
  it.each<[what: string, schema: Record<string, unknown>]>([
    ["scalars", strict({ name: { type: "string", maxLength: 12 }, n: { type: "integer" }, ok: { type: "boolean" } })],
    ["an enum, a constant, null", strict({ e: { enum: ["a", 2, null] }, c: { const: 'x"\\\n' }, z: { type: "null" } })],
    [
      "bounds",
      strict({
        a: { type: "integer", minimum: 1 },
        b: { type: "number", minimum: 0 },
        s: { type: "string", minLength: 3, maxLength: 5 },
      }),
    ],
    [
      "ranges",
      strict({
        stars: { type: "integer", minimum: 1, maximum: 5 },
        age: { type: "integer", minimum: 18, exclusiveMaximum: 130 },
        share: { type: "number", minimum: 0, maximum: 1 },
        below: { type: "number", exclusiveMaximum: 0 },
      }),
    ],
    ["a list", strict({ list: { type: "array", items: { type: "boolean" }, minItems: 2, maxItems: 4 } })],
    [
      "formats",
      strict({
        d: { type: "string", format: "date" },
        t: { type: "string", format: "date-time" },
        u: { type: "string", format: "uuid" },
        h: { type: "string", format: "hostname" },
        i: { type: "string", format: "ipv4" },
      }),
    ],
    [
      "patterns",
      strict({ a: { type: "string", pattern: "^[a-z]{2,4}-\\d$" }, b: { type: "string", pattern: '^["\\\\]{2}$' } }),
    ],
    ["a tuple", strict({ t: { type: "array", prefixItems: [{ type: "boolean" }, { type: "null" }], items: false } })],
    [
      "a tuple that may be longer",
      { type: "array", prefixItems: [{ type: "null" }], items: { type: "boolean" }, minItems: 3, maxItems: 5 },
    ],
    ["as many items as a count says", { type: "array", items: { type: "null" }, minItems: 13, maxItems: 13 }],
    [
      "alternatives",
      strict({
        x: { anyOf: [{ type: "null" }, strict({ y: { type: "boolean" } })] },
        y: { type: ["integer", "null"] },
      }),
    ],
    [
      "optional members",
      {
        type: "object",
        properties: { a: { type: "boolean" }, b: { type: "null" }, c: { type: "integer" } },
        additionalProperties: false,
      },
    ],
    [
      "recursive definitions",
      {
        $defs: {
          node: strict({ value: { type: "boolean" }, next: { anyOf: [{ type: "null" }, { $ref: "#/$defs/node" }] } }),
        },
        $ref: "#/$defs/node",
      },
    ],
    [
      "ten kinds of objects",
      {
        anyOf: Array.from({ length: 10 }, (_, i) =>
          strict({ kind: { const: `kind ${i}` }, name: { anyOf: [{ type: "boolean" }, { type: "null" }] } }),
        ),
      },
    ],
    [
      "a tree whose branches have a discriminator",
      {
        $defs: {
          tree: {
            anyOf: [
              strict({ op: { const: "leaf" }, value: { type: "boolean" } }),
              strict({ op: { const: "not" }, of: { $ref: "#/$defs/tree" } }),
              strict({ op: { const: "and" }, left: { $ref: "#/$defs/tree" }, right: { $ref: "#/$defs/tree" } }),
              { type: "null" },
            ],
          },
        },
        $ref: "#/$defs/tree",
      },
    ],
    ["members with any name", { type: "object", additionalProperties: { type: "boolean" } }],
    ["a list at the root", { type: "array", items: { enum: ["Ä", "漢", "😀"] }, minItems: 1, maxItems: 3 }],
    ["names that need escapes", strict({ 'a "b"\\c': { type: "null" }, "Ü\n": { type: "null" } })],
  ])("with %s is obeyed", async (_what, schema) => {
    const valid = z.fromJSONSchema(schema);
    // The model knows no such schema, so it may not end its answer. Try other temperatures until it does.
    let given: unknown[] = [];
    for (const temperature of [1, 0, 2]) if (given.length === 0) given = await schemaAnswers(schema, { temperature });
    expect(given.length).toBeGreaterThan(0);
    for (const value of given) expect(valid.safeParse(value)).toMatchObject({ success: true });
  });

  it.each(Object.entries(ENDLESS_CHOICES))(
    "with %s is answered in any JSON, as a format and as a tool's",
    async (_what, schema) => {
      const asFormat = chat("What is a pool?", { responseFormat: { type: "json_schema", schema }, maxTokens: 20 });
      const tools = [{ name: "f", parameters: schema }];
      const asTool = chat("What is a pool?", { tools, toolChoice: "required", maxTokens: 20 });
      for (const job of [asFormat, asTool]) {
        expect((await answer(model.engine, job)).last).toMatchObject({ type: "end" });
      }
    },
  );

  it("of a range of integers, as zod writes it, gives an integer in the range", async () => {
    const stars = z.int().min(1).max(5);
    const { $schema, ...schema } = z.toJSONSchema(stars);
    expect(schema).toEqual({ type: "integer", minimum: 1, maximum: 5 });
    const given = await schemaAnswers(schema, { temperature: 2 });
    expect(given).toHaveLength(SEEDS.length);
    for (const value of given) expect(stars.safeParse(value)).toMatchObject({ success: true });
  });

  it("is obeyed at a high temperature and in streams", async () => {
    const schema = strict({
      text: { type: "string", maxLength: 40 },
      more: { type: "array", items: { type: "string", maxLength: 8 }, maxItems: 3 },
    });
    const valid = z.fromJSONSchema(schema as Record<string, unknown>);
    for (const value of await schemaAnswers(schema, { temperature: 2, topP: 1 }))
      expect(valid.safeParse(value).success).toBe(true);
  });

  it("that needs too many tokens gives a prefix and ends with length", async () => {
    const { text, last } = await answer(
      model.engine,
      chat("Hello", {
        responseFormat: { type: "json_schema", schema: strict({ aVeryLongNameOfAMember: { type: "integer" } }) },
        maxTokens: 3,
      }),
    );
    expect(last).toMatchObject({ type: "end", finishReason: "length" });
    expect('{"aVeryLongNameOfAMember":'.startsWith(text)).toBe(true);
  });

  it("that exceeds the pool's size or depth is refused", async () => {
    let deep: Record<string, unknown> = {};
    for (let i = 0; i < 5_000; i++) deep = { items: deep };
    for (const schema of [deep, { const: "x".repeat(70_000) }]) {
      const { last } = await answer(model.engine, chat("Hello", { responseFormat: { type: "json_schema", schema } }));
      expect(last).toMatchObject({ type: "failed", param: "response_format", retryable: false });
    }
  });

  it("that is malformed is refused by the keyword's name", async () => {
    const responseFormat = { type: "json_schema" as const, schema: { type: "string", pattern: 1 } };
    const { last } = await answer(model.engine, chat("Hello", { responseFormat }));
    expect(last).toMatchObject({
      type: "failed",
      code: "http/unsupported-parameter",
      param: "response_format",
      quoted: expect.stringContaining("pattern"),
    });
  });
});

describe("a JSON object", () => {
  it("without a schema is an object", async () => {
    const given = await answers({ type: "json_object" }, { temperature: 0.7 });
    for (const value of given) expect(Object.prototype.toString.call(value)).toBe("[object Object]");
  });

  it("is not cut by marks of the chat template, and the end of the context is reported as length", async () => {
    const { last, text } = await answer(
      model.engine,
      chat(" pool".repeat(900), { responseFormat: { type: "json_object" }, temperature: 2 }),
    );
    expect(last?.type === "end" && (last.finishReason === "length" || JSON.parse(text))).toBeTruthy();
  });
});
