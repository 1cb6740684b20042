import { availableParallelism } from "node:os";
import { loadLlamaEngine } from "../../worker-agent/engine/llama/llama-engine.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";

/**
 * Calls the engine directly, in a separate process, with the same model, slots and threads as the agent. It answers each
 * message `{streams, rounds}` with `{tokensPerSecond}`.
 */
const { BENCH_SLOTS = "8", BENCH_THREADS = "1" } = process.env;
const meter = { generationStarted() {}, promptEvaluated() {}, tokensGenerated() {}, generationEnded() {} };
const loaded = await loadLlamaEngine({
  file: { ...EMBEDDED_MODEL, sha256: "" },
  slots: Number(BENCH_SLOTS),
  gpu: false,
  meter,
  threads: async () => Math.min(Number(BENCH_THREADS), availableParallelism()),
});
if (!loaded.ok) throw new Error(loaded.message);
const { engine } = loaded;

async function stream(question: string): Promise<number> {
  const request = { messages: [{ role: "user" as const, content: question }], stream: true, temperature: 0.7 };
  let tokens = 0;
  const job = { model: EMBEDDED_MODEL.name, kind: "chat" as const, request };
  for await (const event of engine.generate(job, new AbortController().signal)) {
    if (event.type === "end") tokens = event.usage.completionTokens;
  }
  return tokens;
}

process.on("disconnect", () => process.exit(0));
process.on("message", async ({ streams, rounds, question }: { streams: number; rounds: number; question: string }) => {
  const startedMs = performance.now();
  let tokens = 0;
  for (let round = 0; round < rounds; round++) {
    const counts = await Promise.all(Array.from({ length: streams }, () => stream(question)));
    tokens += counts.reduce((sum, n) => sum + n, 0);
  }
  process.send?.({ tokensPerSecond: (tokens * 1_000) / (performance.now() - startedMs) });
});
process.send?.("loaded");
