/**
 * Asks the embedded model all held-out questions at temperature 0 and counts the correct answers
 * (docs/spec/engines.md#the-embedded-model).
 *
 *   node scripts/train/evaluate.ts [--json] [--model FILE] [--cases FILE]
 *
 * An answer is correct if the model ended it itself, if it consists of complete sentences, and if it contains every
 * keyword. If a keyword is a list, one of its members is enough. The exit code is 0 if 90 % or more are correct.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { getLlama, LlamaChatSession, LlamaLogLevel } from "node-llama-cpp";

interface Case {
  question: string;
  keywords: (string | string[])[];
}

const PASS_SHARE = 0.9;
/** Enough for every direct answer. A longer answer could contain all keywords by chance. */
const MAX_TOKENS = 160;

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    model: { type: "string", default: here("../../worker-agent/models/ligand-embedded.gguf") },
    cases: { type: "string", default: here("heldout.json") },
  },
});

/** Lower case, without backticks and with single spaces, so that `npm start` matches npm start. */
const plain = (text: string) => text.toLowerCase().replaceAll("`", "").replaceAll(/\s+/g, " ");

/** The fault of an answer; undefined if the answer is correct. */
function fault(answer: string, stopReason: string, keywords: Case["keywords"]): string | undefined {
  if (stopReason !== "eogToken" && stopReason !== "stopGenerationTrigger") return `stopped by ${stopReason}`;
  if (!/^[A-Z]/.test(answer) || !/[.!?]$/.test(answer)) return "not complete sentences";
  const text = plain(answer);
  const missing = keywords.filter((k) => ![k].flat().some((word) => text.includes(plain(word))));
  return missing.length > 0 ? `lacks ${JSON.stringify(missing)}` : undefined;
}

const cases = JSON.parse(readFileSync(flags.cases, "utf8")) as Case[];
const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: flags.model });
const failures: { question: string; answer: string; fault: string }[] = [];
for (const { question, keywords } of cases) {
  const context = await model.createContext({ contextSize: 1024, threads: 1 });
  const session = new LlamaChatSession({ contextSequence: context.getSequence(), systemPrompt: "" });
  const { responseText, stopReason } = await session.promptWithMeta(question, {
    temperature: 0,
    maxTokens: MAX_TOKENS,
    trimWhitespaceSuffix: false,
  });
  const found = fault(responseText, stopReason, keywords);
  if (found !== undefined) failures.push({ question, answer: responseText, fault: found });
  session.dispose();
  await context.dispose();
}
await model.dispose();
await llama.dispose();

const total = cases.length;
const passed = total - failures.length;
const ok = passed >= PASS_SHARE * total;
const model_sha256 = createHash("sha256").update(readFileSync(flags.model)).digest("hex");
if (!flags.json) {
  for (const f of failures) process.stdout.write(`FAIL ${f.question}\n     ${f.answer}\n     ${f.fault}\n`);
}
const summary = { ok, passed, total, model_sha256 };
process.stdout.write(`${JSON.stringify(flags.json ? { ...summary, failures } : summary)}\n`);
process.exitCode = ok ? 0 : 1;
