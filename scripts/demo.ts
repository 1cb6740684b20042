import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { type Command, EXIT, text } from "../worker-agent/cli/shared/command.ts";
import { runCommand } from "../worker-agent/cli/shared/run-command.ts";
import { stopOnSignal } from "../worker-agent/cli/shared/stop-signal.ts";
import { jsonLine, manyLines, oneLine } from "../worker-agent/terminal-text.ts";
import { type LocalNetwork, startLocalNetwork } from "./runtime/local-network.ts";

/** `npm run demo`: starts a temporary pool and a worker with the embedded model, and streams one answer. */

const QUESTION = "What is a pool?";
const ANSWER_TOKENS = 256;

interface Outcome {
  model: string;
  answer: string;
  prompt_tokens: number;
  completion_tokens: number;
  ttft_ms: number;
  tokens_per_second: number;
}

const demo: Command = {
  summary: "Start a temporary pool and a worker, and stream one answer.",
  usage: "[--model embedded|PATH.gguf]",
  help: ["--model M  the worker's model: embedded (default), or the path of a GGUF file"],
  options: { model: { type: "string" } },
  positionals: { min: 0, max: 0 },
  run: (values) => show(text(values, "model")),
};

// Exit at once: idle connections would keep the process alive for another second.
process.exit(await runCommand(demo, "npm run demo --", process.argv.slice(2)));

async function show(model: string | undefined): Promise<number> {
  const stop = stopOnSignal();
  const stateDir = await mkdtemp(join(tmpdir(), "ligand-demo-"));
  let network: LocalNetwork | undefined;
  try {
    network = await startLocalNetwork({
      stateDir,
      port: 0,
      worker: true,
      ...(model !== undefined && { model }),
      signal: stop.signal,
      log: (line) => console.error(oneLine(line)),
    });
    const outcome = await ask(network, stop.signal, model !== undefined);
    console.log(jsonLine({ ok: true, ...outcome }));
    return EXIT.ok;
  } catch (error) {
    const message = stop.signal.aborted ? "interrupted" : error instanceof Error ? error.message : String(error);
    console.log(jsonLine({ ok: false, error: message }));
    return EXIT.failed;
  } finally {
    await network?.stop();
    await rm(stateDir, { recursive: true, force: true });
  }
}

/** @param mayBeCut other models than the embedded one may reach the token limit */
async function ask({ credentials, admin }: LocalNetwork, signal: AbortSignal, mayBeCut: boolean): Promise<Outcome> {
  const { workers } = await admin.workers();
  const client = new OpenAI({ baseURL: `${credentials.url}/v1`, apiKey: credentials.client_key, maxRetries: 0 });
  console.error(`\n> ${QUESTION}\n`);
  const startedMs = performance.now();
  const { data: stream, response } = await client.chat.completions
    .create(
      {
        model: "auto",
        messages: [{ role: "user", content: QUESTION }],
        temperature: 0,
        max_tokens: ANSWER_TOKENS,
        stream: true,
        stream_options: { include_usage: true },
      },
      { signal },
    )
    .withResponse();
  let answer = "";
  let model = "";
  let finish: string | null = null;
  let firstMs: number | undefined;
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const chunk of stream) {
    model = chunk.model;
    usage = chunk.usage ?? usage;
    const piece = chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    if (piece === "") continue;
    firstMs ??= performance.now();
    answer += piece;
    process.stdout.write(process.stdout.isTTY ? manyLines(piece) : piece);
  }
  const endedMs = performance.now();
  process.stdout.write("\n");

  signal.throwIfAborted();
  const served = response.headers.get("x-ligand-worker");
  if (!workers.some((worker) => worker.worker_id === served))
    throw new Error(`answered by ${served}, not by our worker`);
  if (firstMs === undefined || answer.trim() === "") throw new Error("the answer is empty");
  if (finish !== "stop" && !(mayBeCut && finish === "length"))
    throw new Error(`the answer is not complete (${finish})`);
  if (!usage || usage.completion_tokens < 1 || usage.prompt_tokens < 1) throw new Error("the usage is missing");
  return {
    model,
    answer,
    prompt_tokens: usage.prompt_tokens,
    completion_tokens: usage.completion_tokens,
    ttft_ms: Math.round(firstMs - startedMs),
    tokens_per_second: Math.round((usage.completion_tokens / (endedMs - startedMs)) * 10_000) / 10,
  };
}
