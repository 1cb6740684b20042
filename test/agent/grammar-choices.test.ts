import fc from "fast-check";
import { expect, it } from "vitest";
import { readJsonSchema } from "../../schema/wire/json-schema/json-schema.ts";
import { SchemaBudget } from "../../schema/wire/json-schema/schema-budget.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { jsonGrammar } from "../../worker-agent/engine/grammar/call-grammar.ts";
import { ENDLESS_CHOICES, schemas } from "../fuzz/schemas.ts";
import { GrammarReader, randomText } from "./grammar-reader.ts";
import { fits } from "./node-validator.ts";

/** Rules that refer to each other, which open many alternatives at once. */
const MOST_STEPS = 8 * LIMITS.schemaChoices;

const strictly = (schema: unknown) => readJsonSchema(schema, { strict: true, budget: new SchemaBudget() });

it.each(Object.entries(ENDLESS_CHOICES))("a strict schema with %s is refused with advice", (_what, schema) => {
  const reading = strictly(schema);
  expect(reading).toMatchObject({ ok: false, path: "", message: expect.stringMatching(/1000 alternatives/) });
  expect(!reading.ok && reading.remedy).toMatch(/a required constant first/);
});

it("every schema gives a grammar with bounded steps, and what the grammar allows fits the schema", () => {
  const counts = { read: 0, relaxed: 0, ended: 0 };
  fc.assert(
    fc.property(schemas, fc.array(fc.nat(), { minLength: 200, maxLength: 200 }), (given, picks) => {
      const reading = readJsonSchema(given);
      if (!reading.ok) return;
      counts.read++;
      counts.relaxed += Number(!strictly(given).ok);
      const reader = new GrammarReader(jsonGrammar(reading.schema), MOST_STEPS);
      const text = randomText(reader, picks);
      expect(reader.maxStacks).toBeLessThanOrEqual(LIMITS.schemaChoices);
      if (text === null) return;
      counts.ended++;
      expect(fits(JSON.parse(text), reading.schema), text).toBe(true);
    }),
    { numRuns: 1_500 },
  );
  // Both outcomes occurred.
  expect(counts.read).toBeGreaterThan(500);
  expect(counts.relaxed).toBeGreaterThan(100);
  expect(counts.ended).toBeGreaterThan(200);
});
