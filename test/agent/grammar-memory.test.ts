import { LlamaGrammarEvaluationState } from "node-llama-cpp";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { readJsonSchema } from "../../schema/wire/json-schema/json-schema.ts";
import { jsonGrammar } from "../../worker-agent/engine/grammar/call-grammar.ts";
import { DEAR_SCHEMAS, dearTools } from "../fuzz/dear-schemas.ts";
import { answer, chat, type LoadedModel, loadEmbedded } from "./loaded-model.ts";

/** How much a worker's memory may grow. */
const MOST_MIB = 200;
const SLOTS = 4;
const ROUNDS = 4;

let model: LoadedModel;
beforeAll(async () => {
  model = await loadEmbedded({ slots: SLOTS });
  // The context allocates its memory at its first use.
  await askAll((salt) => ({
    responseFormat: { type: "json_schema", schema: { type: "string", maxLength: salt + 1 } },
  }));
});
afterAll(() => model.engine.dispose());

const residentMiB = () => process.memoryUsage().rss / 2 ** 20;

/** Fills all slots, several times. */
async function askAll(request: (salt: number) => Parameters<typeof chat>[1], maxTokens = 12): Promise<number> {
  let most = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const all = Array.from({ length: SLOTS }, async (_, i) => {
      const job = chat("Hello", { ...request(SLOTS * round + i), maxTokens, temperature: 1 });
      const { last } = await answer(model.engine, job, undefined, () => {
        most = Math.max(most, residentMiB());
      });
      expect(last, JSON.stringify(last)).toMatchObject({ type: "end" });
    });
    await Promise.all(all);
    most = Math.max(most, residentMiB());
  }
  return most;
}

it("a worker's memory does not grow, whatever schemas it receives, in sequence and at once", async () => {
  const clone = vi.spyOn(LlamaGrammarEvaluationState.prototype, "clone");
  const before = residentMiB();
  const grown: Record<string, number> = {};
  for (const [what, schema] of Object.entries(DEAR_SCHEMAS)) {
    const most = await askAll((salt) => ({ responseFormat: { type: "json_schema", schema: schema(salt) } }));
    grown[what] = Math.round(most - before);
  }
  const tools = await askAll((salt) => ({ tools: dearTools(salt).slice(0, 1), toolChoice: "required" }));
  grown.tools = Math.round(tools - before);
  expect(
    Object.values(grown).filter((mib) => mib >= MOST_MIB),
    JSON.stringify(grown),
  ).toEqual([]);
  // A copy of a state copies its grammar, so none is made for a token.
  expect(clone).not.toHaveBeenCalled();
});

it.each(Object.entries(DEAR_SCHEMAS))("the grammar of %s has bounded size", (_what, schema) => {
  const reading = readJsonSchema(schema(0));
  const grammar = reading.ok ? jsonGrammar(reading.schema) : expect.fail(reading.message);
  expect(grammar.length).toBeLessThan(512 * 1024);
});
