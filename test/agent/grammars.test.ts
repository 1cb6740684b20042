import type { Llama, LlamaModel } from "node-llama-cpp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { GrammarStates } from "../../worker-agent/engine/llama/grammar-states.ts";
import { startLlama, stopLlama } from "../../worker-agent/engine/llama/llama-runtime.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";

let llama: Llama;
let model: LlamaModel;
beforeAll(async () => {
  llama = await startLlama({ gpu: false });
  model = await llama.loadModel({ modelPath: EMBEDDED_MODEL.path });
});
afterAll(async () => {
  await model.dispose();
  await stopLlama(llama);
});

it("a state continues after the tokens that were generated before, anywhere in the grammar", async () => {
  const grammars = new GrammarStates(llama, model);
  const context = await model.createContext({ contextSize: 64, threads: 1 });
  const sequence = context.getSequence();
  const whole = model.tokenize('{"pool": [1, 2, 3], "lane": "ok"}');
  for (const from of [0, 1, Math.floor(whole.length / 2), whole.length - 1, whole.length]) {
    const grammar = `root ::= "${model.detokenize(whole).replaceAll('"', '\\"')}"`;
    const state = await grammars.create(grammar, whole.slice(0, from));
    await sequence.clearHistory();
    let written = model.detokenize(whole.slice(0, from));
    for await (const token of sequence.evaluate(model.tokenize("x"), {
      grammarEvaluationState: state,
      yieldEogToken: true,
    })) {
      if (model.isEogToken(token)) break;
      written += model.detokenize([token]);
    }
    expect(written).toBe(model.detokenize(whole));
  }
  await context.dispose();
});
