import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import {
  getLlama,
  type Llama,
  type LlamaContext,
  type LlamaContextSequence,
  LlamaLogLevel,
  type LlamaModel,
} from "node-llama-cpp";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobKind } from "../../../schema/wire/worker-frames.ts";
import type {
  EmbeddingEvent,
  EmbeddingJob,
  Engine,
  EngineMeter,
  GenerationEvent,
  GenerationJob,
  JobFailure,
  ModelOffer,
} from "../engine.ts";
import { type Constraint, constraintOf } from "./constraint.ts";
import { Embedder } from "./embedder.ts";
import { Generation } from "./generation.ts";
import { Grammars } from "./grammar-states.ts";
import { listenTo, whyNotLoaded } from "./load-failure.ts";
import { type Prompt, type PromptMaker, promptMaker } from "./prompt.ts";
import { Sequences } from "./sequence-pool.ts";

/** Jobs at once: enough to fill a batch; each costs the memory of a context. */
export const DEFAULT_SLOTS = Object.freeze({ cpu: 4, gpu: 8 } as const);

/** Memory, not the model, bounds the context: each slot has one of its own. */
export const DEFAULT_CONTEXT_TOKENS = 8_192;

/** What a model can do whose vectors are so long. */
export function llamaKinds(dimensions: number): readonly JobKind[] {
  const text: readonly JobKind[] = ["chat", "completion"];
  return dimensions > LIMITS.embeddingDimensions ? text : [...text, "embedding"];
}

/**
 * Prompt tokens evaluated between two looks at the abort signal, and between two turns of the other sequences. Small on
 * a CPU, where a token of prompt costs about as much as a token of answer.
 */
const PREFILL_TOKENS = Object.freeze({ cpu: 64, gpu: 512 } as const);

export interface LlamaEngineOptions {
  readonly file: { readonly name: string; readonly path: string; readonly sha256: string };
  readonly slots?: number;
  /** At most; less where memory or the model's training allow less. */
  readonly contextTokens?: number;
  /** False keeps to the CPU. */
  readonly gpu?: false;
  /** Instead of the file's own: a Jinja template. */
  readonly chatTemplate?: string;
  /** A runtime that several engines share and that outlives them; by default an engine has its own. */
  readonly runtime?: Llama;
  readonly meter: EngineMeter;
  /** Decides the thread count, by measuring or from a cache. */
  readonly threads: (machine: MeasurableMachine) => Promise<number>;
  readonly onStep?: (step: string) => void;
  /** For the operator's log: llama.cpp's own words, never a prompt. */
  readonly onWarning?: (message: string) => void;
  readonly signal?: AbortSignal;
}

interface MeasurableMachine {
  readonly cores: number;
  /** `cpu`, or the name of the GPU backend. */
  readonly backend: string;
  /** Tokens a second of a short burst with that many threads. */
  measure(threads: number): Promise<number>;
}

export type LoadedEngine =
  | {
      readonly ok: true;
      readonly engine: LlamaEngine;
      readonly backend: string;
      readonly threads: number;
      /** The model's own limit on a job. */
      readonly trainedTokens: number;
    }
  | { readonly ok: false; readonly message: string };

/** Loads a GGUF file. What can go wrong with a machine or a file is an answer that says what to do. */
export async function loadLlamaEngine(options: LlamaEngineOptions): Promise<LoadedEngine> {
  const { file } = options;
  const wanted = options.contextTokens ?? DEFAULT_CONTEXT_TOKENS;
  const cores = Math.max(1, availableParallelism());
  let llama: Llama | null = null;
  let model: LlamaModel | null = null;
  const said: string[] = [];
  let stopListening = () => {};
  try {
    llama = options.runtime ?? (await startLlama(options));
    options.onStep?.(`loading ${file.name}`);
    stopListening = listenTo(llama, said);
    const loaded = await llama.loadModel({
      modelPath: file.path,
      ...(options.signal === undefined ? {} : { loadSignal: options.signal }),
    });
    model = loaded;
    stopListening();
    for (const line of said.splice(0)) options.onWarning?.(line);
    const contextTokens = Math.min(wanted, model.trainContextSize);
    const slots = options.slots ?? (llama.gpu === false ? DEFAULT_SLOTS.cpu : DEFAULT_SLOTS.gpu);

    options.onStep?.("choosing the number of threads");
    const backend = llama.gpu === false ? "cpu" : llama.gpu;
    const measure = (threads: number) => measureBurst(loaded, threads, Math.min(slots, 4));
    const threads = await options.threads({ cores, backend, measure });

    options.onStep?.(`making room for ${slots} jobs at once`);
    const shared = await createContext(model, { sequences: slots, contextTokens, threads });
    const seeded = await createContext(model, { sequences: 1, contextTokens: shared.contextSize, threads });
    const engine = new LlamaEngine({ ...options, slots, llama, model, shared, seeded, threadCount: threads });
    return { ok: true, engine, backend, threads, trainedTokens: model.trainContextSize };
  } catch (error) {
    // What it said last is on its way.
    await new Promise(setImmediate);
    stopListening();
    await model?.dispose();
    if (options.runtime === undefined && llama !== null) await stopLlama(llama);
    return { ok: false, message: whyNotLoaded(error, file.path, said) };
  }
}

/** llama.cpp on this machine's best backend. Throws `NoBinaryFoundError` where there is none for it. */
export async function startLlama(options: Pick<LlamaEngineOptions, "gpu" | "onStep" | "onWarning">): Promise<Llama> {
  options.onStep?.("starting llama.cpp");
  const llama = await getLlama({
    // Prebuilt binaries come inside the npm packages: nothing is compiled or downloaded on a worker's machine.
    build: "never",
    skipDownload: true,
    progressLogs: false,
    gpu: options.gpu ?? "auto",
    logLevel: LlamaLogLevel.error,
    logger: (_level, message) => options.onWarning?.(message.trim()),
  });
  // On a CPU the contexts share the cores: each asks for all its threads or waits, and never spins against another.
  llama.maxThreads = llama.gpu === false ? Math.max(1, availableParallelism()) : 0;
  return llama;
}

/**
 * Gives llama.cpp back, or goes on after three seconds. node-llama-cpp (3.22) waits for every model that it began to
 * load; one that failed to load and was garbage-collected since never reports, and the wait would not end.
 */
export async function stopLlama(llama: Llama): Promise<void> {
  const enough = new AbortController();
  await Promise.race([llama.dispose(), sleep(3_000, undefined, { signal: enough.signal }).catch(() => {})]);
  enough.abort();
}

function createContext(
  model: LlamaModel,
  { sequences, contextTokens, threads }: { sequences: number; contextTokens: number; threads: number },
): Promise<LlamaContext> {
  return model.createContext({
    sequences,
    contextSize: { max: contextTokens },
    threads: { ideal: threads, min: threads },
  });
}

/** Several sequences at once, as jobs will run: a warm-up, then up to 48 tokens each, at most half a second. */
async function measureBurst(model: LlamaModel, threads: number, streams: number): Promise<number> {
  const burst = Object.freeze({ ms: 500, warmUpTokens: 2, tokens: 48 } as const);
  const context = await createContext(model, { sequences: streams, contextTokens: 256, threads });
  try {
    let tokens = 0;
    const startsMs: number[] = [];
    const endsMs: number[] = [];
    const first = model.tokens.bos ?? model.tokens.eos ?? model.tokenize("a")[0];
    if (first === undefined) return 0;
    const stream = async (sequence: LlamaContextSequence) => {
      let own = 0;
      let startMs = 0;
      for await (const _ of sequence.evaluate([first], { temperature: 1, yieldEogToken: true })) {
        own++;
        if (own === burst.warmUpTokens) startMs = performance.now();
        if (own > burst.warmUpTokens && (own >= burst.tokens || performance.now() - startMs > burst.ms)) break;
      }
      tokens += own - burst.warmUpTokens;
      startsMs.push(startMs);
      endsMs.push(performance.now());
    };
    await Promise.all(Array.from({ length: streams }, () => stream(context.getSequence())));
    return (tokens * 1_000) / Math.max(1, Math.max(...endsMs) - Math.min(...startsMs));
  } finally {
    await context.dispose();
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

/**
 * llama.cpp in this process. Jobs run in one context with a sequence per slot and are batched continuously: each step
 * advances every running job by a token. A job with a seed runs alone in a second context of one sequence, so that
 * neither the company in a batch nor a cached prefix changes a rounding (docs/spec/engines.md#engines).
 */
export class LlamaEngine implements Engine {
  readonly kind = "llama";
  readonly #parts: Parts;
  readonly #offer: ModelOffer;
  readonly #prompts: PromptMaker;
  readonly #shared: Sequences;
  readonly #seeded: Sequences;
  readonly #grammars: Grammars;
  readonly #embedder: Embedder;
  readonly #prefillTokens: number;
  readonly #closing = new AbortController();
  #running = 0;
  #onIdle: (() => void) | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#prompts = promptMaker(parts.model, parts.chatTemplate);
    this.#grammars = new Grammars(parts.llama, parts.model);
    const { otherTemplate } = this.#prompts;
    if (otherTemplate !== null) parts.onWarning?.(`${parts.file.name}: ${otherTemplate}`);
    this.#shared = new Sequences(parts.shared);
    this.#seeded = new Sequences(parts.seeded);
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
    const prompt = this.#prompt(job);
    if (!prompt.ok) {
      yield prompt.failure;
      return;
    }
    yield { type: "accepted", promptTokens: prompt.tokens.length };
    if (counts(job)) {
      const usage = { promptTokens: 0, completionTokens: 0 };
      yield { type: "end", finishReason: "stop", usage, countedTokens: prompt.tokens.length };
      return;
    }

    const signal = AbortSignal.any([aborted, this.#closing.signal]);
    const sequences = job.request.seed === undefined ? this.#shared : this.#seeded;
    const sequence = await sequences.borrow(prompt.tokens, signal);
    if (sequence === null) return;
    this.#begin();
    let intact = true;
    try {
      const { model, meter } = this.#parts;
      const grammars = this.#grammars;
      const { contextTokens } = this.#offer;
      const { constraint } = prompt;
      const prefillTokens = this.#prefillTokens;
      const parts = { model, grammars, meter, prefillTokens, job, prompt, constraint, sequence, contextTokens, signal };
      yield* new Generation(parts).run();
    } catch (error) {
      intact = false;
      this.#parts.onWarning?.(error instanceof Error ? error.message : String(error));
      if (!signal.aborted) yield failed("inference/engine-failed", "The engine failed on this request.", true);
    } finally {
      await sequences.giveBack(sequence, intact || this.#closing.signal.aborted);
      this.#finish();
    }
  }

  async *embed(job: EmbeddingJob, aborted: AbortSignal): AsyncGenerator<EmbeddingEvent, void, undefined> {
    if (job.model !== this.#offer.name) {
      yield failed("inference/model-not-found", "This worker does not have that model.", true);
      return;
    }
    const signal = AbortSignal.any([aborted, this.#closing.signal]);
    if (signal.aborted) return;
    this.#begin();
    try {
      yield* this.#embedder.embed(job, signal);
    } catch (error) {
      this.#parts.onWarning?.(error instanceof Error ? error.message : String(error));
      if (!signal.aborted) yield failed("inference/engine-failed", "The engine failed on this request.", true);
    } finally {
      this.#finish();
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

  #begin(): void {
    this.#parts.meter.generationStarted();
    this.#running++;
  }

  #finish(): void {
    this.#parts.meter.generationEnded();
    this.#running--;
    if (this.#running === 0) this.#onIdle?.();
  }

  #prompt(
    job: GenerationJob,
  ): ({ ok: true; constraint: Constraint } & Prompt) | { ok: false; failure: GenerationEvent } {
    const { contextTokens } = this.#offer;
    const tooLong = (tokens: string) => {
      const message = `The prompt has ${tokens} tokens; the model's context is ${contextTokens}, the answer included.`;
      return { ok: false, failure: failed("inference/context-length-exceeded", message, false) } as const;
    };
    const texts = job.kind === "chat" ? job.request.messages.map(({ content }) => content) : [job.request.prompt];
    const fewest = texts.reduce((sum, text) => sum + this.#prompts.fewestTokens(text), 0);
    const chars = texts.reduce((sum, text) => sum + text.length, 0);
    // To count a prompt that does not fit is of use; to count one of any length would stop this process for long.
    const isCounted = counts(job) && chars <= COUNTED_CHARS;
    if (fewest + 1 > contextTokens && !isCounted) return tooLong(`at least ${fewest}`);

    let prompt: Prompt;
    try {
      prompt = job.kind === "chat" ? this.#prompts.chat(job.request) : this.#prompts.completion(job.request.prompt);
    } catch {
      // Chat templates may refuse: two system messages, an assistant who speaks first, arguments nested 5,000 deep.
      const message = "The model's chat template cannot write these messages.";
      return { ok: false, failure: failed("inference/prompt-refused", message, false) };
    }
    const tokens = prompt.tokens.length;
    if (tokens === 0) {
      return { ok: false, failure: failed("inference/prompt-refused", "This model needs a prompt.", false) };
    }
    if (counts(job)) return { ok: true, ...prompt, constraint: { type: "none" } };
    if (tokens + 1 > contextTokens) return tooLong(String(tokens));
    const none = { ok: true, constraint: { type: "none" } } as const;
    const read = job.kind === "chat" ? constraintOf(job.request, prompt.calls) : none;
    if (read.ok) return { ok: true, ...prompt, constraint: read.constraint };
    const refusal = failed("http/unsupported-parameter", "A schema of this request cannot be enforced.", false);
    return { ok: false, failure: { ...refusal, quoted: read.why, param: read.param } };
  }
}

/** The tokenizer takes a tenth of a second for so many characters, and nothing else runs meanwhile. */
const COUNTED_CHARS = 256 * 1024;

const counts = (job: GenerationJob) => job.kind === "chat" && job.request.countTokens === true;

const failed = (code: JobFailure, message: string, retryable: boolean) =>
  ({ type: "failed", code, message, retryable }) as const;
