import fc from "fast-check";
import { expect, it } from "vitest";
import { type ReadSchema, readJsonSchema } from "../../schema/wire/json-schema.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { ENDLESS_CHOICES, schemas } from "../../scripts/fuzz/schemas.ts";
import { GrammarBuilder } from "../../worker-agent/engine/json-grammar.ts";
import { GrammarReader } from "./grammar-reader.ts";

/** Rules that lead to one another: the way to each stack that is kept. */
const MOST_STEPS = 8 * LIMITS.schemaChoices;

function grammarOf(schema: ReadSchema): string {
  const builder = new GrammarBuilder();
  return builder.grammar(builder.json(schema));
}

it.each(Object.entries(ENDLESS_CHOICES))("a schema with %s is refused with what to do", (_what, schema) => {
  const reading = readJsonSchema(schema);
  expect(reading).toMatchObject({ ok: false, remedy: null, path: "" });
  expect(!reading.ok && reading.message).toMatch(/1000 ways .* tells them apart/);
});

/** ASCII, from the space on. */
const CHARACTERS = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));

it("whatever schema is read, its grammar is read in bounded steps", () => {
  let accepted = 0;
  let refused = 0;
  fc.assert(
    fc.property(schemas, fc.array(fc.nat(), { minLength: 60, maxLength: 60 }), (given, picks) => {
      const reading = readJsonSchema(given);
      if (!reading.ok) {
        refused += Number(reading.message.includes("ways of going on"));
        return;
      }
      accepted++;
      const reader = new GrammarReader(grammarOf(reading.schema), MOST_STEPS);
      for (const pick of picks) {
        const next = reader.next();
        const one = next[pick % next.length];
        if (one === undefined) break;
        const character = typeof one === "string" ? one : CHARACTERS.find((char) => one.test(char));
        expect(reader.read(character ?? "")).toBe(true);
      }
      expect(reader.widest).toBeLessThanOrEqual(LIMITS.schemaChoices);
    }),
    { numRuns: 1_500 },
  );
  // Neither side of the rule goes untried.
  expect(accepted).toBeGreaterThan(100);
  expect(refused).toBeGreaterThan(10);
});
