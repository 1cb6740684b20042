import type { JOB_FAILURES } from "../../schema/wire/errors.ts";
import type {
  ChatRequest,
  CompletionRequest,
  EmbeddingRequest,
  FinishReason,
  JobKind,
  TokenLogprob,
  Usage,
} from "../../schema/wire/worker-frames.ts";

/**
 * What runs inference (docs/spec/engines.md#engines). One engine serves one or more models; the session knows nothing else of it.
 * Embeddings are a method of their own (`embed`), for engines whose models list that kind.
 */
export interface Engine {
  readonly kind: "llama" | "upstream";
  models(): readonly ModelOffer[];
  /**
   * Runs one job. Yields `accepted` once, as soon as the prompt is known to fit; then text; then exactly one `end` or
   * `failed`. After an abort it ends without either, and when the iterator has returned the engine computes nothing
   * more for the job. It is pulled: a consumer that stops asking stops the generation.
   */
  generate(job: GenerationJob, signal: AbortSignal): AsyncIterable<GenerationEvent>;
  /**
   * Of engines whose models list the kind `embedding`. As `generate`: `accepted` once all inputs are known to fit, then
   * a vector an input in order, then `end` or `failed`.
   */
  embed?(job: EmbeddingJob, signal: AbortSignal): AsyncIterable<EmbeddingEvent>;
  dispose(): Promise<void>;
}

export interface ModelOffer {
  readonly name: string;
  /** Of the model file, lowercase hex; null where the engine has no file (an upstream server). */
  readonly sha256: string | null;
  /** Jobs at once. */
  readonly slots: number;
  /** Prompt and completion together, for each job. */
  readonly contextTokens: number;
  readonly kinds: readonly JobKind[];
}

export type GenerationJob = { readonly model: string } & (
  | { readonly kind: "chat"; readonly request: ChatRequest }
  | { readonly kind: "completion"; readonly request: CompletionRequest }
);

export interface EmbeddingJob {
  readonly model: string;
  readonly request: EmbeddingRequest;
}

export type JobFailure = (typeof JOB_FAILURES)[number];

export type GenerationEvent =
  | { readonly type: "accepted"; readonly promptTokens: number }
  /** `tokens` are those whose first character is in `text`; never more than `text` has bytes (docs/spec/workers.md#metering). */
  | {
      readonly type: "text";
      readonly text: string;
      readonly tokens: number;
      /** Of the tokens of this text, where the request asks for them. */
      readonly logprobs?: readonly TokenLogprob[];
    }
  /** A call of one of the request's tools begins; what follows until the next one are its arguments. No text after it. */
  | { readonly type: "tool-call"; readonly id: string; readonly name: string; readonly tokens: number }
  /** A piece of JSON text. */
  | { readonly type: "tool-arguments"; readonly text: string; readonly tokens: number }
  | {
      readonly type: "end";
      readonly finishReason: FinishReason;
      readonly usage: Usage;
      /** The one of the request's stop sequences at which the answer ended. */
      readonly stopSequence?: string;
      /** Of a job that only counts: its prompt's tokens. */
      readonly countedTokens?: number;
    }
  | Failed;

export type EmbeddingEvent =
  | { readonly type: "accepted"; readonly promptTokens: number }
  /** Of length 1 (L2), as long for every input. */
  | { readonly type: "vector"; readonly vector: Float32Array }
  | { readonly type: "end"; readonly promptTokens: number }
  | Failed;

export interface Failed {
  readonly type: "failed";
  readonly code: JobFailure;
  /** A sentence of ours, which the worker's log repeats: no word of a prompt. */
  readonly message: string;
  /** What another server, or the reader of a schema, says of the request, perhaps in its words: for the client alone. */
  readonly quoted?: string;
  readonly retryable: boolean;
  /** The parameter that cannot be honoured, as the client named it. */
  readonly param?: string;
  /** Of `worker-busy`: until then no job of this engine will do better. */
  readonly retryAfterSeconds?: number;
}

/** Where an engine reports that it computes: what shows that an aborted generation has really stopped. */
export interface EngineMeter {
  generationStarted(): void;
  /** Tokens of a prompt that were computed, those found in a cache left out. */
  promptEvaluated(tokens: number): void;
  /** Of an engine that hears the true number only at the end, then also what that is more, or less, than it said. */
  tokensGenerated(count: number): void;
  generationEnded(): void;
}
