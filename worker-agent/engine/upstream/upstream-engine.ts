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
import { embeddedIn } from "./answer-reader.ts";
import { stepsOf } from "./answer-stream.ts";
import { type Failure, failureInStream, failureOf, NOT_UNDERSTOOD, tooLongVectors } from "./failure-rules.ts";
import { embeddingBody, generationBody } from "./request-body.ts";
import { findModels, type UpstreamModel, type WantedModels } from "./served-models.ts";
import { ask, type Reply, type UpstreamServer, UpstreamUnreachable } from "./server-client.ts";
import { type Step, UpstreamGeneration } from "./upstream-generation.ts";
import { boundedPromptTokens, boundedUsage } from "./usage-rules.ts";

const SILENCE_MS = 120_000;

export interface UpstreamOptions extends WantedModels {
  /** As `upstreamBase` gives it. */
  readonly base: string;
  /** From the environment; it is sent to the server and never told to anybody else. */
  readonly key: string | null;
  /** A server that says nothing for this long is given up; below Node's own 300 s. */
  readonly silenceMs?: number;
  readonly meter: EngineMeter;
  readonly nowMs?: () => number;
}

export type OpenedUpstream =
  | { readonly ok: true; readonly engine: UpstreamEngine }
  | { readonly ok: false; readonly message: string };

export async function openUpstream(options: UpstreamOptions): Promise<OpenedUpstream> {
  const { base, key, silenceMs = SILENCE_MS } = options;
  const server: UpstreamServer = { base, key, silenceMs };
  const found = await findModels(server, options);
  return found.ok ? { ok: true, engine: new UpstreamEngine(server, found.models, options) } : found;
}

/**
 * Another server's models. Whatever the client asked for, the server is asked for a stream: silence, aborts and limits
 * are then seen while it answers. The server counts the tokens; where it does not, events are counted.
 */
export class UpstreamEngine implements Engine {
  readonly kind = "upstream";
  readonly #server: UpstreamServer;
  readonly #models: readonly UpstreamModel[];
  readonly #meter: EngineMeter;
  readonly #onWarning: (message: string) => void;
  readonly #nowMs: () => number;
  readonly #closing = new AbortController();
  /** On the clock that nobody sets. A server that asked for a pause gets it, and clients are told of it at once. */
  #pausedUntilMs = 0;
  #warned = "";

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
      const embedded = reply.type === "json" ? embeddedIn(reply.value, input.length) : null;
      if (embedded === null) {
        yield this.#failed(NOT_UNDERSTOOD);
        return;
      }
      const longest = embedded.vectors[0]?.length ?? 0;
      if (longest > LIMITS.embeddingDimensions) {
        yield this.#failed(tooLongVectors(longest));
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
      for (const vector of embedded.vectors) yield { type: "vector", vector };
      this.#warned = "";
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

  /** Servers differ in two fields; what one does not take is asked once more without, and remembered. */
  async #ask(
    path: string,
    { withoutFields }: UpstreamModel,
    body: (withoutFields: UpstreamModel["withoutFields"]) => object,
    signal: AbortSignal,
  ): Promise<Exclude<Reply, { type: "refused" }> | { failure: Failure }> {
    for (;;) {
      const reply = await ask(this.#server, path, body(withoutFields), signal);
      if (reply.type !== "refused") return reply;
      const failure = failureOf(reply, this.#secrets(), this.#nowMs());
      if (failure.unknownField === null || withoutFields.has(failure.unknownField)) return { failure };
      withoutFields.add(failure.unknownField);
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
    // Leaving this loop ends the connection, which is how a server hears that it may stop.
    for await (const read of stepsOf(reply)) {
      if (signal.aborted) return;
      if (read.type === "done") isDone = true;
      else if (read.type !== "piece") {
        yield this.#failed(this.#problemWith(read));
        return;
      } else {
        // The prompt's tokens are known at the end only.
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
    if (step.ending === null) throw new Error("An answer that is over has no ending.");
    if (step.ending.type === "failed") {
      yield this.#failed(step.ending.failure);
      return;
    }
    this.#warned = "";
    const { maxTokens } = job.request;
    const { contextTokens } = model.offer;
    const requestBytes = jsonBytes(job.request);
    const measured = { ...generation.measured, requestBytes, maxTokens, contextTokens };
    const usage = boundedUsage(generation.usage, measured);
    this.#meter.promptEvaluated(usage.promptTokens);
    // A piece was taken for a token until now: what is on record and what the owner sees are one number.
    this.#meter.tokensGenerated(usage.completionTokens - measured.pieces);
    const { type: _, ...ending } = step.ending;
    yield { type: "end", ...ending, usage };
  }

  *#metered({ events }: Step): Generator<GenerationEvent, void, undefined> {
    for (const event of events) {
      this.#meter.tokensGenerated(event.tokens);
      yield event;
    }
  }

  #problemWith(read: { readonly type: "error"; readonly error: unknown } | { readonly type: "unknown" | "idle" }) {
    if (read.type === "error") return failureInStream(read.error, this.#secrets());
    if (read.type === "unknown") return NOT_UNDERSTOOD;
    return { ...NOT_UNDERSTOOD, message: "The upstream server sends much that is no part of an answer." };
  }

  #failed(failure: Failure): Failed {
    if (failure.pauseMs > 0) this.#pausedUntilMs = Math.max(this.#pausedUntilMs, performance.now() + failure.pauseMs);
    if (failure.forOwner !== null) this.#warn(failure.forOwner);
    return failed(failure);
  }

  /** The same trouble is told once, until it is over. */
  #warn(message: string): void {
    if (message === this.#warned) return;
    this.#warned = message;
    this.#onWarning(message);
  }

  #secrets(): readonly string[] {
    return [this.#server.key ?? "", this.#server.base, new URL(this.#server.base).host];
  }
}

const PAUSED = "The upstream server asked for a pause.";

const jsonBytes = (request: object) => Buffer.byteLength(JSON.stringify(request));

type About = Pick<Failure, "code" | "message" | "retryable"> & Partial<Pick<Failure, "quoted" | "param" | "pauseMs">>;

function failed({ code, message, quoted, retryable, param, pauseMs = 0 }: About): Failed {
  // A server that limits its requests and does not say for how long is asked again soon.
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
