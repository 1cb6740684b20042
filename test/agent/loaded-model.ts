import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Engine, GenerationEvent, GenerationJob } from "../../worker-agent/engine/engine.ts";
import {
  type LlamaEngine,
  type LlamaEngineOptions,
  loadLlamaEngine,
} from "../../worker-agent/engine/llama/llama-engine.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { Counters } from "../../worker-agent/session/counters.ts";

export interface LoadedModel {
  readonly engine: LlamaEngine;
  readonly counters: Counters;
}

/** Loads the embedded model on the CPU with one thread, without a measurement, so that tests start fast. */
export async function loadEmbedded(options: Partial<LlamaEngineOptions> = {}): Promise<LoadedModel> {
  const counters = new Counters();
  const sha256 = createHash("sha256")
    .update(await readFile(EMBEDDED_MODEL.path))
    .digest("hex");
  const loaded = await loadLlamaEngine({
    file: { ...EMBEDDED_MODEL, sha256 },
    slots: 4,
    gpu: false,
    meter: counters,
    threads: async () => 1,
    ...options,
  });
  if (!loaded.ok) throw new Error(loaded.message);
  return { engine: loaded.engine, counters };
}

export interface Answer {
  readonly text: string;
  /** The sum of the text events' tokens. */
  readonly tokens: number;
  readonly pieces: number;
  readonly promptTokens: number;
  readonly last: GenerationEvent | undefined;
}

/** Runs a job to its end and collects the answer. */
export async function answer(
  engine: Pick<Engine, "generate">,
  job: GenerationJob,
  signal: AbortSignal = new AbortController().signal,
  onText: (text: string) => void = () => {},
): Promise<Answer> {
  let text = "";
  let tokens = 0;
  let pieces = 0;
  let promptTokens = 0;
  let last: GenerationEvent | undefined;
  for await (const event of engine.generate(job, signal)) {
    last = event;
    if (event.type === "accepted") promptTokens = event.promptTokens;
    if (event.type !== "text") continue;
    text += event.text;
    tokens += event.tokens;
    pieces++;
    onText(event.text);
  }
  return { text, tokens, pieces, promptTokens, last };
}

type Chat = Extract<GenerationJob, { kind: "chat" }>["request"];
type Completion = Extract<GenerationJob, { kind: "completion" }>["request"];

export const chat = (content: string, request: Partial<Chat> = {}): GenerationJob => ({
  model: EMBEDDED_MODEL.name,
  kind: "chat",
  request: { messages: [{ role: "user", content }], stream: true, ...request },
});

export const completion = (prompt: string, request: Partial<Completion> = {}): GenerationJob => ({
  model: EMBEDDED_MODEL.name,
  kind: "completion",
  request: { prompt, stream: true, ...request },
});
