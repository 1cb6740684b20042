import { InstantEngine } from "../../scripts/bench/instant-engine.ts";
import { describeEngine } from "./engine-conformance.ts";

describeEngine("the benches' InstantEngine", {
  claims: {
    completion: false,
    embedding: false,
    stop: false,
    tools: false,
    responseFormat: false,
    logprobs: false,
    topK: false,
    countTokens: false,
    seed: false,
  },
  open: async () => ({ engine: new InstantEngine(4), close: async () => {} }),
});
