/**
 * Checks that llama.cpp tokenises as training did: `export.py` writes strings and their token ids into build/tokens.json.
 *
 *   node scripts/train/tokens.ts
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const samples = JSON.parse(readFileSync(here("build/tokens.json"), "utf8")) as { text: string; ids: number[] }[];
const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: here("../../worker-agent/models/ligand-embedded.gguf") });
const different = samples.filter(({ text, ids }) => model.tokenize(text).join() !== ids.join());
for (const { text, ids } of different) {
  process.stdout.write(
    `DIFFERENT ${JSON.stringify(text)}\n  training  ${ids.join()}\n  llama.cpp ${model.tokenize(text).join()}\n`,
  );
}
await model.dispose();
await llama.dispose();
process.stdout.write(
  `${JSON.stringify({ ok: different.length === 0, strings: samples.length, different: different.length })}\n`,
);
process.exitCode = different.length === 0 ? 0 : 1;
