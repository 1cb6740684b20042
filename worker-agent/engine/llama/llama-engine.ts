import { availableParallelism } from "node:os";
import type { Llama, LlamaContext, LlamaModel } from "node-llama-cpp";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobKind } from "../../../schema/wire/worker-frames.ts";
import type {
  EmbeddingEvent,
  EmbeddingJob,
  Engine,
  EngineMeter,
  Failed,
  GenerationEvent,
  GenerationJob,
  JobFailure,
  ModelOffer,
} from "../engine.ts";
import { type Constraint, readConstraint } from "./constraint.ts";
import { Embedder } from "./embedder.ts";
import { Generation } from "./generation.ts";
import { GrammarStates } from "./grammar-states.ts";
import { createContext, type RuntimeOptions, startLlama, stopLlama } from "./llama-runtime.ts";
import { captureLog, loadFailureMessage } from "./load-failure.ts";
import { type Prompt, type PromptBuilder, promptBuilder } from "./prompt.ts";
import { SequencePool } from "./sequence-pool.ts";
import { measureThreads } from "./thread-benchmark.ts";

/** The default number of slots: enough jobs to fill a batch. Each slot needs the memory of a context. */
export const DEFAULT_SLOTS = Object.freeze({ cpu: 4, gpu: 8 } as const);

/**
 * The default context of each slot. Each slot has its own context, so memory limits the context more than the model
 * does.
 */
export const DEFAULT_CONTEXT_TOKENS = 8_192;

/** The kinds of job that a model serves, by the dimensions of its embeddings. */
export function llamaKinds(dimensions: number): readonly JobKind[] {
  const text: readonly JobKind[] = ["chat", "completion"];
  return dimensions > LIMITS.embeddingDimensions ? text : [...text, "embedding"];
}

/**
 * Prompt tokens that are evaluated between two checks of the abort signal, and between two turns of the other sequences.
 * Small on a CPU, where a token of the prompt takes about as long as a token of an answer.
 */
const PREFILL_TOKENS = Object.freeze({ cpu: 64, gpu: 512 } as const);

export interface LlamaEngineOptions extends RuntimeOptions {
  readonly file: { readonly name: string; readonly path: string; readonly sha256: string };
  readonly slots?: number;
  /** The upper limit. The engine uses less if memory or the model's training allow less. */
  readonly contextTokens?: number;
  /** A Jinja template that replaces the one in the file. */
  readonly chatTemplate?: string;
  /** A runtime that several engines share and that outlives them. By default an engine starts its own. */
  readonly runtime?: Llama;
  readonly meter: EngineMeter;
  /** Chooses the thread count, by a measurement or from a cache. */
  readonly threads: (machine: MeasurableMachine) => Promise<number>;
  readonly signal?: AbortSignal;
}

interface MeasurableMachine {
  readonly cores: number;
  /** `cpu`, or the name of the GPU backend. */
  readonly backend: string;
  /** Tokens a second with this number of threads, measured in a short burst. */
  measure(threads: number): Promise<number>;
}

export type LoadedEngine =
  | {
      readonly ok: true;
      readonly engine: LlamaEngine;
      readonly backend: string;
      readonly threads: number;
      /** The context that the model was trained for. */
      readonly trainedTokens: number;
    }
  | { readonly ok: false; readonly message: string };

/** Loads a GGUF file. If the machine or the file does not allow it, the result has a message that says what to do. */
export async function loadLlamaEngine(options: LlamaEngineOptions): Promise<LoadedEngine> {
  const { file } = options;
  const maxContextTokens = options.contextTokens ?? DEFAULT_CONTEXT_TOKENS;
  const cores = Math.max(1, availableParallelism());
  let llama: Llama | null = null;
  let model: LlamaModel | null = null;
  const logLines: string[] = [];
  let stopCapture = () => {};
  try {
    llama = options.runtime ?? (await startLlama(options));
    options.onStep?.(`loading ${file.name}`);
    stopCapture = captureLog(llama, logLines);
    const loaded = await llama.loadModel({
      modelPath: file.path,
      ...(options.signal === undefined ? {} : { loadSignal: options.signal }),
    });
    model = loaded;
    stopCapture();
    for (const line of logLines.splice(0)) options.onWarning?.(line);
    const contextTokens = Math.min(maxContextTokens, model.trainContextSize);
    const slots = options.slots ?? (llama.gpu === false ? DEFAULT_SLOTS.cpu : DEFAULT_SLOTS.gpu);

    options.onStep?.("choosing the number of threads");
    const backend = llama.gpu === false ? "cpu" : llama.gpu;
    const measure = (threads: number) => measureThreads(loaded, threads, Math.min(slots, 4));
    const threads = await options.threads({ cores, backend, measure });

    options.onStep?.(`making room for ${slots} jobs at once`);
    const shared = await createContext(model, { sequences: slots, contextTokens, threads });
    const seeded = await createContext(model, { sequences: 1, contextTokens: shared.contextSize, threads });
    const engine = new LlamaEngine({ ...options, slots, llama, model, shared, seeded, threadCount: threads });
    return { ok: true, engine, backend, threads, trainedTokens: model.trainContextSize };
  } catch (error) {
    // llama.cpp delivers its last log lines in the next turn of the event loop.
    await new Promise(setImmediate);
    stopCapture();
    await model?.dispose();
    if (options.runtime === undefined && llama !== null) await stopLlama(llama);
    return { ok: false, message: loadFailureMessage(error, file.path, logLines) };
  }
}

interface Parts extends LlamaEngineOptions {
  readonly slots: number;
  readonly llama: Llama;
  readonly model: LlamaModel;
  readonly shared: LlamaContext;
  readonly seeded: LlamaContext;
  readonly threadCount: number;
}

type PromptReading =
  | ({ readonly ok: true; readonly constraint: Constraint } & Prompt)
  | { readonly ok: false; readonly failure: Failed };

/**
 * llama.cpp in this process (docs/spec/engines.md#llama). Jobs share one context with a sequence for each slot and are
 * batched continuously: each step advances every running job by a token. A job with a seed runs alone in a second context
 * of one sequence, so that neither other jobs in the batch nor a cached prefix changes a rounding.
 */
export class LlamaEngine implements Engine {
  readonly kind = "llama";
  readonly #parts: Parts;
  readonly #offer: ModelOffer;
  readonly #prompts: PromptBuilder;
  readonly #shared: SequencePool;
  readonly #seeded: SequencePool;
  readonly #grammars: GrammarStates;
  readonly #embedder: Embedder;
  readonly #prefillTokens: number;
  readonly #closing = new AbortController();
  #running = 0;
  #onIdle: (() => void) | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#prompts = promptBuilder(parts.model, parts.chatTemplate);
    this.#grammars = new GrammarStates(parts.llama, parts.model);
    const { templateWarning } = this.#prompts;
    if (templateWarning !== null) parts.onWarning?.(`${parts.file.name}: ${templateWarning}`);
    this.#shared = new SequencePool(parts.shared);
    this.#seeded = new SequencePool(parts.seeded);
    this.#prefillTokens = parts.llama.gpu === false ? PREFILL_TOKENS.cpu : PREFILL_TOKENS.gpu;
    this.#offer = {
      name: parts.file.name,
      sha256: parts.file.sha256,
      slots: parts.slots,
      contextTokens: Math.min(parts.shared.contextSize, parts.seeded.contextSize),
      kinds: llamaKinds(parts.model.embeddingVectorSize),
    };
    this.#embedder = new Embedder({
      model: parts.model,
      prompts: this.#prompts,
      contextTokens: this.#offer.contextTokens,
      threads: parts.threadCount,
      meter: parts.meter,
    });
  }

  models(): readonly ModelOffer[] {
    return [this.#offer];
  }

  async *generate(job: GenerationJob, aborted: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    if (job.model !== this.#offer.name) {
      yield failed("inference/model-not-found", "This worker does not have that model.", true);
      return;
    }
    const prompt = this.#readPrompt(job);
    if (!prompt.ok) {
      yield prompt.failure;
      return;
    }
    yield { type: "accepted", promptTokens: prompt.tokens.length };
    if (isCountOnly(job)) {
      if (aborted.aborted) return;
      const usage = { promptTokens: 0, completionTokens: 0 };
      yield { type: "end", finishReason: "stop", usage, countedTokens: prompt.tokens.length };
      return;
    }

    const signal = AbortSignal.any([aborted, this.#closing.signal]);
    const sequences = job.request.seed === undefined ? this.#shared : this.#seeded;
    const sequence = await sequences.acquire(prompt.tokens, signal);
    if (sequence === null) return;
    this.#jobStarted();
    let isIntact = true;
    try {
      const { model, meter } = this.#parts;
      const grammars = this.#grammars;
      const { contextTokens } = this.#offer;
      const { constraint } = prompt;
      const prefillTokens = this.#prefillTokens;
      const parts = { model, grammars, meter, prefillTokens, job, prompt, constraint, sequence, contextTokens, signal };
      yield* new Generation(parts).run();
    } catch (error) {
      isIntact = false;
      this.#parts.onWarning?.(error instanceof Error ? error.message : String(error));
      if (!signal.aborted) yield failed("inference/engine-failed", "The engine failed on this request.", true);
    } finally {
      await sequences.release(sequence, isIntact || this.#closing.signal.aborted);
      this.#jobEnded();
    }
  }

  async *embed(job: EmbeddingJob, aborted: AbortSignal): AsyncGenerator<EmbeddingEvent, void, undefined> {
    if (job.model !== this.#offer.name) {
      yield failed("inference/model-not-found", "This worker does not have that model.", true);
      return;
    }
    const signal = AbortSignal.any([aborted, this.#closing.signal]);
    if (signal.aborted) return;
    this.#jobStarted();
    try {
      yield* this.#embedder.embed(job, signal);
    } catch (error) {
      this.#parts.onWarning?.(error instanceof Error ? error.message : String(error));
      if (!signal.aborted) yield failed("inference/engine-failed", "The engine failed on this request.", true);
    } finally {
      this.#jobEnded();
    }
  }

  async dispose(): Promise<void> {
    this.#closing.abort();
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    await this.#embedder.dispose();
    await this.#parts.shared.dispose();
    await this.#parts.seeded.dispose();
    await this.#parts.model.dispose();
    if (this.#parts.runtime === undefined) await stopLlama(this.#parts.llama);
  }

  #jobStarted(): void {
    this.#parts.meter.generationStarted();
    this.#running++;
  }

  #jobEnded(): void {
    this.#parts.meter.generationEnded();
    this.#running--;
    if (this.#running === 0) this.#onIdle?.();
  }

  #readPrompt(job: GenerationJob): PromptReading {
    const { contextTokens } = this.#offer;
    const tooLong = (tokens: string) => {
      const message = `The prompt has ${tokens} tokens; the model's context is ${contextTokens}, the answer included.`;
      return { ok: false, failure: failed("inference/context-length-exceeded", message, false) } as const;
    };
    const texts = job.kind === "chat" ? job.request.messages.map(({ content }) => content) : [job.request.prompt];
    const minTokens = texts.reduce((sum, text) => sum + this.#prompts.minTokens(text), 0);
    const chars = texts.reduce((sum, text) => sum + text.length, 0);
    // A client may count a prompt that does not fit. The size is limited because tokenising blocks this process.
    const isCounted = isCountOnly(job) && chars <= MAX_COUNTED_CHARS;
    if (minTokens + 1 > contextTokens && !isCounted) return tooLong(`at least ${minTokens}`);

    let prompt: Prompt;
    try {
      prompt = job.kind === "chat" ? this.#prompts.chat(job.request) : this.#prompts.completion(job.request.prompt);
    } catch {
      // Chat templates refuse some conversations: two system messages, an assistant first, arguments nested too deep.
      const message = "The model's chat template cannot write these messages.";
      return { ok: false, failure: failed("inference/prompt-refused", message, false) };
    }
    const tokens = prompt.tokens.length;
    if (tokens === 0) {
      return { ok: false, failure: failed("inference/prompt-refused", "This model needs a prompt.", false) };
    }
    if (isCountOnly(job)) return { ok: true, ...prompt, constraint: { type: "none" } };
    if (tokens + 1 > contextTokens) return tooLong(String(tokens));
    const unconstrained = { ok: true, constraint: { type: "none" } } as const;
    const reading = job.kind === "chat" ? readConstraint(job.request, prompt.calls) : unconstrained;
    if (!reading.ok) {
      const refusal = failed("http/unsupported-parameter", "A schema of this request cannot be enforced.", false);
      return { ok: false, failure: { ...refusal, quoted: reading.message, param: reading.param } };
    }
    // Log probabilities come from raw logits, to which no grammar was applied.
    if (job.request.topLogprobs !== undefined && reading.constraint.type !== "none") {
      const message = "This worker gives no log probabilities together with tools or a response format.";
      return { ok: false, failure: { ...failed("http/unsupported-parameter", message, true), param: "logprobs" } };
    }
    return { ok: true, ...prompt, constraint: reading.constraint };
  }
}

/** The tokenizer needs a tenth of a second for this many characters. It blocks the process for that time. */
const MAX_COUNTED_CHARS = 256 * 1024;

const isCountOnly = (job: GenerationJob) => job.kind === "chat" && job.request.countTokens === true;

const failed = (code: JobFailure, message: string, retryable: boolean) =>
  ({ type: "failed", code, message, retryable }) as const;
