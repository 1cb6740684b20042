import { startLlama, stopLlama } from "../../worker-agent/engine/llama/llama-runtime.ts";
import { ModelHost } from "../../worker-agent/engine/llama/model-host.ts";
import { freeBytes } from "../../worker-agent/engine/llama/model-memory.ts";
import { type Claims, describeEngine, type OpenedEngine } from "./engine-conformance.ts";
import { loadEmbedded } from "./loaded-model.ts";

const CLAIMS: Claims = {
  completion: true,
  embedding: true,
  stop: true,
  tools: true,
  responseFormat: true,
  logprobs: true,
  topK: true,
  countTokens: true,
  seed: true,
};

describeEngine("LlamaEngine with the embedded model", {
  claims: CLAIMS,
  open: async () => ({ ...(await loadEmbedded({ slots: 3 })), close: async () => {} }),
});

describeEngine("ModelHost with the embedded model", { claims: CLAIMS, open: openHost });

async function openHost(): Promise<OpenedEngine> {
  const runtime = await startLlama({ gpu: false });
  // The host loads the engine itself; this one shows its offer and its meter.
  const { engine, counters } = await loadEmbedded({ slots: 3, runtime });
  const [offer] = engine.models();
  if (offer === undefined) throw new Error("The embedded model has no offer.");
  const host = new ModelHost({
    models: [{ offer, bytes: 1, load: async () => ({ ok: true, engine }) }],
    limitBytes: await freeBytes(runtime),
    onStep: () => {},
    onWarning: () => {},
    releaseRuntime: () => stopLlama(runtime),
  });
  return { engine: host, counters, close: async () => {} };
}
