import type { LlamaEmbeddingContext, LlamaModel } from "node-llama-cpp";
import type { EmbeddingEvent, EmbeddingJob, EngineMeter } from "../engine.ts";
import type { PromptBuilder } from "./prompt.ts";

/** The vocabulary's begin and end tokens, which the library adds to each input. */
const BOUNDARY_TOKENS = 2;

export interface EmbedderParts {
  readonly model: LlamaModel;
  readonly prompts: PromptBuilder;
  readonly contextTokens: number;
  readonly threads: number;
  readonly meter: EngineMeter;
}

/**
 * Makes embeddings from the model's last hidden state, pooled as the model file says (a model that was not made for
 * embeddings uses the state of the last token). Vectors have length 1, so that a dot product is the cosine.
 */
export class Embedder {
  readonly #parts: EmbedderParts;
  #context: Promise<LlamaEmbeddingContext> | null = null;

  constructor(parts: EmbedderParts) {
    this.#parts = parts;
  }

  async *embed(job: EmbeddingJob, signal: AbortSignal): AsyncGenerator<EmbeddingEvent, void, undefined> {
    const { model, prompts, contextTokens, meter } = this.#parts;
    const { input, dimensions } = job.request;
    if (dimensions !== undefined && dimensions !== model.embeddingVectorSize) {
      const message = `The vectors of this model have ${model.embeddingVectorSize} dimensions.`;
      yield { type: "failed", code: "http/unsupported-parameter", message, retryable: false, param: "dimensions" };
      return;
    }
    const inputs = [];
    for (const [i, text] of input.entries()) {
      const minTokens = prompts.minTokens(text);
      const tokens = minTokens + BOUNDARY_TOKENS < contextTokens ? prompts.text(text) : null;
      if (tokens === null || tokens.length + BOUNDARY_TOKENS >= contextTokens) {
        const length = tokens === null ? `at least ${minTokens}` : tokens.length;
        const message = `Input ${i} has ${length} tokens; the model's context is ${contextTokens}.`;
        yield {
          type: "failed",
          code: "inference/context-length-exceeded",
          message,
          retryable: false,
          param: input.length === 1 ? "input" : `input.${i}`,
        };
        return;
      }
      inputs.push(tokens);
    }
    const context = await this.#open();
    const lengths = inputs.map((tokens) => context.calculateInputLength([...tokens]));
    const promptTokens = lengths.reduce((sum, length) => sum + length, 0);
    yield { type: "accepted", promptTokens };
    for (const [i, tokens] of inputs.entries()) {
      if (signal.aborted) return;
      const { vector } = await context.getEmbeddingFor(tokens);
      meter.promptEvaluated(lengths[i] ?? 0);
      yield { type: "vector", vector: normalized(vector) };
    }
    if (!signal.aborted) yield { type: "end", promptTokens };
  }

  async dispose(): Promise<void> {
    await (await this.#context)?.dispose();
  }

  /** Opens the context at the first job, because a context needs memory and most workers never embed. Retries a failure. */
  #open(): Promise<LlamaEmbeddingContext> {
    const { model, contextTokens, threads } = this.#parts;
    this.#context ??= model.createEmbeddingContext({ contextSize: { max: contextTokens }, threads }).catch((error) => {
      this.#context = null;
      throw error;
    });
    return this.#context;
  }
}

/** Scales to length 1. A zero vector has no direction and stays as it is. */
function normalized(vector: readonly number[]): Float32Array {
  const length = Math.hypot(...vector);
  return Float32Array.from(vector, (value) => (length === 0 ? 0 : value / length));
}
