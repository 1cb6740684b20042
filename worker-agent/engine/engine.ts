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
 * Runs inference for a worker: one or more models, each with a number of slots (docs/spec/engines.md#engines). The
 * session knows an engine only through this interface. Every engine keeps the promises written here, and
 * `test/agent/engine-conformance.ts` tests each of them.
 */
export interface Engine {
  readonly kind: "llama" | "upstream";
  /**
   * The models that this engine serves. Names are unique, and the list does not change while the engine is open.
   * A model serves each kind of job that its offer lists, and `slots` jobs at once make progress together.
   */
  models(): readonly ModelOffer[];
  /**
   * Runs one chat or completion.
   *
   * Order: `accepted` once, when the prompt is known to fit; then text or tool calls; then exactly one `end`. A job that
   * cannot run, or that fails while it runs, ends with exactly one `failed` instead. Nothing follows `end` or `failed`.
   *
   * Text: the concatenation of all `text` events is the answer. No event is empty, and no event ends inside a character.
   *
   * Limits: an answer has at most `maxTokens` tokens, and one that this limit cuts ends with `length`. An answer without
   * a response format ends before the first of the request's `stop` sequences; no part of that sequence is in the text.
   *
   * Request members: an engine honours each member of the request, or fails with `http/unsupported-parameter` and names
   * it. It never answers as if a member were absent. The exceptions are `temperature`, `topP` and `seed`: another server
   * may ignore them.
   *
   * Abort: the generator ends without `end` or `failed`, after the step that is running (a token, a batch of the prompt,
   * or a read from another server). When it has returned, the engine computes nothing more for the job and the slot is
   * free. The same holds when the consumer leaves the loop. The engine computes no further than the consumer reads,
   * except for data that another server has already sent.
   */
  generate(job: GenerationJob, signal: AbortSignal): AsyncIterable<GenerationEvent>;
  /**
   * Makes embeddings. An engine has this method if one of its models lists the kind `embedding`.
   *
   * Order: `accepted` once, when all inputs are known to fit; one `vector` for each input, in the order of the inputs;
   * then `end`. Failures and aborts are as in `generate`. The same text gives the same vector, up to rounding.
   */
  embed?(job: EmbeddingJob, signal: AbortSignal): AsyncIterable<EmbeddingEvent>;
  /**
   * Closes the engine. Jobs that run end as after an abort; their consumers must continue to read until then. No job may be
   * started after this call.
   */
  dispose(): Promise<void>;
}

export interface ModelOffer {
  readonly name: string;
  /** The SHA-256 of the model file, lowercase hex. Null if the engine has no file (an upstream server). */
  readonly sha256: string | null;
  /** How many jobs can run at once. */
  readonly slots: number;
  /** The limit of each job, prompt and completion together. */
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
  /** `promptTokens` is 0 if the engine learns the number only at the end, with the usage. */
  | { readonly type: "accepted"; readonly promptTokens: number }
  | {
      readonly type: "text";
      readonly text: string;
      /** Tokens whose first character is in `text`; at most the bytes of `text` (docs/spec/workers.md#metering). */
      readonly tokens: number;
      /** The log probabilities of the tokens of this text, if the request asks for them. */
      readonly logprobs?: readonly TokenLogprob[];
    }
  /**
   * A call of one of the request's tools begins. The `tool-arguments` events up to the next `tool-call` belong to it.
   * No `text` event follows a tool call.
   */
  | { readonly type: "tool-call"; readonly id: string; readonly name: string; readonly tokens: number }
  /** A piece of the call's arguments. All pieces of a call together are one JSON object, unless `length` cut them. */
  | { readonly type: "tool-arguments"; readonly text: string; readonly tokens: number }
  | {
      readonly type: "end";
      readonly finishReason: FinishReason;
      readonly usage: Usage;
      /** The stop sequence that ended the answer. Absent if another server cut the answer and did not name it. */
      readonly stopSequence?: string;
      /** Only for a job with `countTokens`: the tokens of its prompt. Such a job generates nothing. */
      readonly countedTokens?: number;
    }
  | Failed;

export type EmbeddingEvent =
  | { readonly type: "accepted"; readonly promptTokens: number }
  /** Normalised to length 1 (L2). All vectors of a model have the same dimensions. */
  | { readonly type: "vector"; readonly vector: Float32Array }
  | { readonly type: "end"; readonly promptTokens: number }
  | Failed;

export interface Failed {
  readonly type: "failed";
  readonly code: JobFailure;
  /** A sentence of this project, which goes into the worker's log: it contains no text of a prompt or an answer. */
  readonly message: string;
  /** Text from another server or from the schema reader about the request. Only the client sees it. */
  readonly quoted?: string;
  /** Whether another worker may succeed with the same job. */
  readonly retryable: boolean;
  /** The request member that cannot be honoured, by the name that the client uses. */
  readonly param?: string;
  /** Only with `inference/worker-busy`: this engine can run no job until then. */
  readonly retryAfterSeconds?: number;
}

/** Receives what an engine computes. It shows that the computation for an aborted job has really stopped. */
export interface EngineMeter {
  generationStarted(): void;
  /** Prompt tokens that were computed. Tokens that a cache supplied are not included. */
  promptEvaluated(tokens: number): void;
  /** An engine that learns the exact count only at the end reports the difference then; it may be negative. */
  tokensGenerated(count: number): void;
  generationEnded(): void;
}
