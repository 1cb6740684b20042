import type { LlamaEmbeddingContext, LlamaModel } from "node-llama-cpp";
import type { EmbeddingEvent, EmbeddingJob, EngineMeter } from "../engine.ts";
import type { PromptMaker } from "./prompt.ts";

/** The vocabulary's own beginning and end, which the library adds to each input. */
const MARKS = 2;

export interface EmbedderParts {
  readonly model: LlamaModel;
  readonly prompts: PromptMaker;
  readonly contextTokens: number;
  readonly threads: number;
  readonly meter: EngineMeter;
}

/**
 * Vectors of texts: the model's last hidden state as its file says to pool it (for a model not made for embeddings,
 * that of the last token), normalised to length 1, so that a dot product is the cosine.
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
      const fewest = prompts.fewestTokens(text);
      const tokens = fewest + MARKS < contextTokens ? prompts.text(text) : null;
      if (tokens === null || tokens.length + MARKS >= contextTokens) {
        const length = tokens === null ? `at least ${fewest}` : tokens.length;
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
      yield { type: "vector", vector: normalised(vector) };
    }
    if (!signal.aborted) yield { type: "end", promptTokens };
  }

  async dispose(): Promise<void> {
    await (await this.#context)?.dispose();
  }

  /** At the first job: most workers never embed, and a context costs memory. One that failed is tried again. */
  #open(): Promise<LlamaEmbeddingContext> {
    const { model, contextTokens, threads } = this.#parts;
    this.#context ??= model.createEmbeddingContext({ contextSize: { max: contextTokens }, threads }).catch((error) => {
      this.#context = null;
      throw error;
    });
    return this.#context;
  }
}

/** Where all is zero there is no direction, and it stays so. */
function normalised(vector: readonly number[]): Float32Array {
  const length = Math.hypot(...vector);
  return Float32Array.from(vector, (value) => (length === 0 ? 0 : value / length));
}
