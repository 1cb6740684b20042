import { randomUUID } from "node:crypto";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type {
  EmbeddingEvent,
  EmbeddingJob,
  Engine,
  EngineMeter,
  Failed,
  GenerationEvent,
  GenerationJob,
  ModelOffer,
} from "../engine.ts";
import { readSteps } from "./answer-stream.ts";
import { readEmbeddings } from "./embeddings-reader.ts";
import { type Failure, failureInStream, failureOf, NOT_UNDERSTOOD, vectorsTooLong } from "./failure-rules.ts";
import { embeddingBody, generationBody } from "./request-body.ts";
import { findModels, type ModelSelection, type UpstreamModel } from "./served-models.ts";
import { ask, type Reply, type UpstreamServer, UpstreamUnreachable } from "./server-client.ts";
import { type Step, UpstreamGeneration } from "./upstream-generation.ts";
import { boundedPromptTokens, boundedUsage } from "./usage-rules.ts";

const DEFAULT_SILENCE_MS = 120_000;

export interface UpstreamOptions extends ModelSelection {
  /** The result of `upstreamBase`. */
  readonly base: string;
  /** From the environment. It is sent only to the server. */
  readonly key: string | null;
  /** The engine gives up on a server that sends nothing for this time. Node's own limit is 300 s. */
  readonly silenceMs?: number;
  readonly meter: EngineMeter;
  readonly nowMs?: () => number;
}

export type OpenedUpstream =
  | { readonly ok: true; readonly engine: UpstreamEngine }
  | { readonly ok: false; readonly message: string };

/** Asks the server for its models and opens the engine. A failure is a value with a message for the owner. */
export async function openUpstream(options: UpstreamOptions): Promise<OpenedUpstream> {
  const { base, key, silenceMs = DEFAULT_SILENCE_MS } = options;
  const server: UpstreamServer = { base, key, silenceMs };
  const found = await findModels(server, options);
  return found.ok ? { ok: true, engine: new UpstreamEngine(server, found.models, options) } : found;
}

/**
 * Serves the models of another server (docs/spec/engines.md#upstream-servers). It always requests a stream, so that
 * silence, aborts and limits are noticed during the answer. The server counts the tokens; if it does not, the engine
 * counts events.
 */
export class UpstreamEngine implements Engine {
  readonly kind = "upstream";
  readonly #server: UpstreamServer;
  readonly #models: readonly UpstreamModel[];
  readonly #meter: EngineMeter;
  readonly #onWarning: (message: string) => void;
  readonly #nowMs: () => number;
  readonly #closing = new AbortController();
  /** Until this time (monotonic, ms) jobs fail immediately, because the server asked for a pause. */
  #pausedUntilMs = 0;
  #lastWarning = "";

  constructor(server: UpstreamServer, models: readonly UpstreamModel[], options: UpstreamOptions) {
    this.#server = server;
    this.#models = models;
    this.#meter = options.meter;
    this.#onWarning = options.onWarning;
    this.#nowMs = options.nowMs ?? Date.now;
  }

  models(): readonly ModelOffer[] {
    return this.#models.map(({ offer }) => offer);
  }

  generate(job: GenerationJob, aborted: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    return this.#serve<GenerationEvent>(job.model, aborted, async function* (this: UpstreamEngine, model, signal) {
      const unsupported = unsupportedMember(job);
      if (unsupported !== null) {
        yield unsupported;
        return;
      }
      const path = job.kind === "chat" ? "/chat/completions" : "/completions";
      const reply = await this.#ask(path, model, (without) => generationBody(job, model.id, without), signal);
      if ("failure" in reply) yield this.#failed(reply.failure);
      else yield* this.#answer(job, model, reply, signal);
    });
  }

  embed(job: EmbeddingJob, aborted: AbortSignal): AsyncGenerator<EmbeddingEvent, void, undefined> {
    return this.#serve<EmbeddingEvent>(job.model, aborted, async function* (this: UpstreamEngine, model, signal) {
      const reply = await this.#ask("/embeddings", model, () => embeddingBody(job, model.id), signal);
      if ("failure" in reply) {
        yield this.#failed(reply.failure);
        return;
      }
      const { input, dimensions } = job.request;
      const embedded = reply.type === "json" ? readEmbeddings(reply.value, input.length) : null;
      if (embedded === null) {
        yield this.#failed(NOT_UNDERSTOOD);
        return;
      }
      const longest = embedded.vectors[0]?.length ?? 0;
      if (longest > LIMITS.embeddingDimensions) {
        yield this.#failed(vectorsTooLong(longest));
        return;
      }
      if (dimensions !== undefined && embedded.vectors.some(({ length }) => length !== dimensions)) {
        const message = `This model's embeddings have ${embedded.vectors[0]?.length} dimensions.`;
        yield { type: "failed", code: "http/unsupported-parameter", message, retryable: false, param: "dimensions" };
        return;
      }
      const promptTokens = boundedPromptTokens(embedded.promptTokens, jsonBytes(job.request));
      this.#meter.promptEvaluated(promptTokens);
      yield { type: "accepted", promptTokens };
      for (const vector of embedded.vectors) {
        if (signal.aborted) return;
        yield { type: "vector", vector };
      }
      if (signal.aborted) return;
      this.#lastWarning = "";
      yield { type: "end", promptTokens };
    });
  }

  async dispose(): Promise<void> {
    this.#closing.abort();
  }

  async *#serve<Event>(
    name: string,
    aborted: AbortSignal,
    run: (this: UpstreamEngine, model: UpstreamModel, signal: AbortSignal) => AsyncGenerator<Event, void, undefined>,
  ): AsyncGenerator<Event | Failed, void, undefined> {
    const model = this.#models.find(({ offer }) => offer.name === name);
    if (model === undefined) {
      const message = "This worker does not have that model.";
      yield failed({ code: "inference/model-not-found", message, retryable: true });
      return;
    }
    const signal = AbortSignal.any([aborted, this.#closing.signal]);
    const pauseMs = this.#pausedUntilMs - performance.now();
    if (pauseMs > 0) {
      yield failed({ code: "inference/worker-busy", message: PAUSED, retryable: true, pauseMs });
      return;
    }
    this.#meter.generationStarted();
    try {
      yield* run.call(this, model, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof UpstreamUnreachable)) throw error;
      this.#warn(error.silent ? error.message : `${error.message} Is it running at ${this.#server.base}?`);
      const message = error.silent ? error.message : "The upstream server cannot be reached.";
      yield failed({ code: "inference/engine-failed", message, retryable: true });
    } finally {
      this.#meter.generationEnded();
    }
  }

  /** If the server refuses one of two optional fields, repeats the request without it and remembers that. */
  async #ask(
    path: string,
    { unsupportedFields }: UpstreamModel,
    body: (unsupportedFields: UpstreamModel["unsupportedFields"]) => object,
    signal: AbortSignal,
  ): Promise<Exclude<Reply, { type: "refused" }> | { failure: Failure }> {
    for (;;) {
      const reply = await ask(this.#server, path, body(unsupportedFields), signal);
      if (reply.type !== "refused") return reply;
      const failure = failureOf(reply, this.#secrets(), this.#nowMs());
      if (failure.unsupportedField === null || unsupportedFields.has(failure.unsupportedField)) return { failure };
      unsupportedFields.add(failure.unsupportedField);
    }
  }

  async *#answer(
    job: GenerationJob,
    model: UpstreamModel,
    reply: Exclude<Reply, { type: "refused" }>,
    signal: AbortSignal,
  ): AsyncGenerator<GenerationEvent, void, undefined> {
    const generation = new UpstreamGeneration(job, model.offer.contextTokens, () => `call_${randomUUID()}`);
    let isBegun = false;
    let isDone = false;
    let step: Step = { events: [], ending: null };
    // Leaving this loop closes the connection, so that the server stops generating.
    for await (const read of readSteps(reply)) {
      if (signal.aborted) return;
      if (read.type === "done") isDone = true;
      else if (read.type !== "piece") {
        yield this.#failed(this.#streamFailure(read));
        return;
      } else {
        // The server reports the prompt's tokens only at the end.
        if (!isBegun) yield { type: "accepted", promptTokens: 0 };
        isBegun = true;
        step = generation.push(read.piece);
        yield* this.#metered(step);
        if (step.ending !== null) break;
      }
    }
    if (signal.aborted) return;
    if (step.ending === null) {
      step = generation.end(isDone);
      yield* this.#metered(step);
    }
    if (step.ending === null) throw new Error("The answer ended without an ending.");
    if (step.ending.type === "failed") {
      yield this.#failed(step.ending.failure);
      return;
    }
    this.#lastWarning = "";
    const { maxTokens } = job.request;
    const { contextTokens } = model.offer;
    const requestBytes = jsonBytes(job.request);
    const measured = { ...generation.observed, requestBytes, maxTokens, contextTokens };
    const usage = boundedUsage(generation.usage, measured);
    this.#meter.promptEvaluated(usage.promptTokens);
    // Until now each piece counted as one token. This corrects the meter to the number in the usage.
    this.#meter.tokensGenerated(usage.completionTokens - measured.pieces);
    const { type: _, ...ending } = step.ending;
    if (signal.aborted) return;
    yield { type: "end", ...ending, usage };
  }

  *#metered({ events }: Step): Generator<GenerationEvent, void, undefined> {
    for (const event of events) {
      this.#meter.tokensGenerated(event.tokens);
      yield event;
    }
  }

  #streamFailure(read: { readonly type: "error"; readonly error: unknown } | { readonly type: "unknown" | "idle" }) {
    if (read.type === "error") return failureInStream(read.error, this.#secrets());
    if (read.type === "unknown") return NOT_UNDERSTOOD;
    return { ...NOT_UNDERSTOOD, message: "The upstream server sends too much data that is not part of an answer." };
  }

  #failed(failure: Failure): Failed {
    if (failure.pauseMs > 0) this.#pausedUntilMs = Math.max(this.#pausedUntilMs, performance.now() + failure.pauseMs);
    if (failure.ownerMessage !== null) this.#warn(failure.ownerMessage);
    return failed(failure);
  }

  /** Reports the same problem once, until an answer succeeds. */
  #warn(message: string): void {
    if (message === this.#lastWarning) return;
    this.#lastWarning = message;
    this.#onWarning(message);
  }

  #secrets(): readonly string[] {
    return [this.#server.key ?? "", this.#server.base, new URL(this.#server.base).host];
  }
}

const PAUSED = "The upstream server asked for a pause.";

/** The OpenAI API has no field for these members. The pool sends such jobs to workers with the llama engine. */
function unsupportedMember({ kind, request }: GenerationJob): Failed | null {
  const code = "http/unsupported-parameter";
  if (kind === "chat" && request.countTokens) {
    return failed({ code, message: "This worker cannot count the tokens of a prompt.", retryable: true });
  }
  if (request.topK === undefined) return null;
  return failed({ code, message: "This worker does not support top_k.", retryable: true, param: "top_k" });
}

const jsonBytes = (request: object) => Buffer.byteLength(JSON.stringify(request));

type FailureDetails = Pick<Failure, "code" | "message" | "retryable"> &
  Partial<Pick<Failure, "quoted" | "param" | "pauseMs">>;

function failed({ code, message, quoted, retryable, param, pauseMs = 0 }: FailureDetails): Failed {
  // If the server does not say how long to wait, the client may retry soon.
  const seconds = pauseMs > 0 ? Math.ceil(pauseMs / 1_000) : LIMITS.retryAfterSeconds;
  return {
    type: "failed",
    code,
    message,
    retryable,
    ...(quoted && { quoted }),
    ...(param != null && { param }),
    ...(code === "inference/worker-busy" && { retryAfterSeconds: seconds }),
  };
}
