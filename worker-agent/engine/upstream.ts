import { randomUUID } from "node:crypto";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobKind } from "../../schema/wire/worker-frames.ts";
import type {
  EmbeddingEvent,
  EmbeddingJob,
  Engine,
  EngineMeter,
  Failed,
  GenerationEvent,
  GenerationJob,
  ModelOffer,
} from "./engine.ts";
import {
  type CallPiece,
  embeddedIn,
  type ListedModel,
  listedModels,
  type Piece,
  pieceOf,
  wholeCharacters,
} from "./upstream-answer.ts";
import { cleaned, type Failure, failureInStream, failureOf } from "./upstream-failure.ts";
import { ask, type Reply, type UpstreamServer, UpstreamUnreachable } from "./upstream-http.ts";
import { embeddingBody, generationBody } from "./upstream-request.ts";

const DEFAULTS = Object.freeze({ slots: 4, contextTokens: 8_192, silenceMs: 120_000 } as const);
const DEFAULT_KINDS: readonly JobKind[] = ["chat", "completion"];

/** How long the list of models may take: a worker that starts says soon what is wrong. */
const LIST_SILENCE_MS = 15_000;
/** An answer longer than this is no answer. */
const ANSWER_BYTES = 16 * 1024 * 1024;

export interface UpstreamOptions {
  /** As `upstreamBase` gives it. */
  readonly base: string;
  /** From the environment; it is sent to the server and never told to anybody else. */
  readonly key: string | null;
  /** `NAME`, or `NAME=THE SERVER'S NAME`; none: whatever the server lists. */
  readonly models: readonly string[];
  /** Of each model. */
  readonly slots?: number;
  /** Where the server does not say. */
  readonly contextTokens?: number;
  readonly kinds?: readonly JobKind[];
  /** A server that says nothing for this long is given up; below Node's own 300 s. */
  readonly silenceMs?: number;
  readonly meter: EngineMeter;
  readonly onWarning: (message: string) => void;
  readonly nowMs?: () => number;
  readonly signal?: AbortSignal;
}

export type OpenedUpstream =
  | { readonly ok: true; readonly engine: UpstreamEngine }
  | { readonly ok: false; readonly message: string };

/** Looks what the server has. What can go wrong is an answer that says what to do. */
export async function openUpstream(options: UpstreamOptions): Promise<OpenedUpstream> {
  const { base, key, onWarning } = options;
  const server: UpstreamServer = { base, key, silenceMs: options.silenceMs ?? DEFAULTS.silenceMs };
  const asked = options.models.map(namedModel);
  const listed = await list({ ...server, silenceMs: Math.min(server.silenceMs, LIST_SILENCE_MS) }, options.signal);
  if (!listed.ok) {
    if (asked.length === 0) {
      return { ok: false, message: `${listed.message} Or name a model with --upstream-model.` };
    }
    onWarning(`${listed.message} Serving ${asked.map(({ name }) => name).join(", ")} as you said.`);
  }
  const known: readonly ListedModel[] = listed.ok ? listed.models : [];
  const chosen =
    asked.length > 0
      ? asked
      : known.map(({ id }) => ({ name: publicName(id), id })).filter(({ name }) => nameFits(name));
  if (chosen.length === 0) {
    return { ok: false, message: "The upstream server lists no model. Load one there, or give --upstream-model NAME." };
  }
  const names = chosen.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) {
    return {
      ok: false,
      message: `Two models are called ${twice}: give each a name with --upstream-model NAME=THEIRS.`,
    };
  }
  if (!names.every(nameFits)) {
    return { ok: false, message: `A model's name has 1 to ${LIMITS.modelNameChars} characters.` };
  }
  if (chosen.length > LIMITS.modelsPerWorker) {
    const some = names.slice(0, 3).join(", ");
    return {
      ok: false,
      message: `The upstream server has ${chosen.length} models (${some}, …), a worker offers ${LIMITS.modelsPerWorker} at most: choose with --upstream-model NAME.`,
    };
  }
  if (listed.ok) {
    const missing = chosen.filter(({ id }) => !known.some((it) => it.id === id));
    for (const { id } of missing) {
      const has = known.slice(0, 5).map((it) => it.id);
      onWarning(
        cleaned(`The upstream server does not list ${id}; it lists ${has.join(", ") || "nothing"}.`, [key ?? ""]),
      );
    }
  }
  const models = chosen.map(({ name, id }): UpstreamModel => {
    const contextTokens =
      options.contextTokens ?? known.find((it) => it.id === id)?.contextTokens ?? DEFAULTS.contextTokens;
    const kinds = options.kinds ?? DEFAULT_KINDS;
    const offer = { name, sha256: null, slots: options.slots ?? DEFAULTS.slots, contextTokens, kinds };
    return { id, offer, withoutFields: new Set() };
  });
  return { ok: true, engine: new UpstreamEngine(server, models, options) };
}

type Listed = { readonly ok: true; readonly models: ListedModel[] } | { readonly ok: false; readonly message: string };

async function list(server: UpstreamServer, signal: AbortSignal = new AbortController().signal): Promise<Listed> {
  const where = `${server.base}/models`;
  try {
    const reply = await ask(server, "/models", null, signal);
    if (reply.type === "refused") {
      const { forOwner, message } = failureOf(reply, [server.key ?? ""], Date.now());
      return { ok: false, message: `${forOwner ?? message} (${where})` };
    }
    const models = reply.type === "json" ? listedModels(reply.value) : null;
    if (models !== null) return { ok: true, models };
    return {
      ok: false,
      message: `${where} does not answer as an OpenAI-compatible server does. Check --upstream-url.`,
    };
  } catch (error) {
    if (!(error instanceof UpstreamUnreachable)) throw error;
    return { ok: false, message: `${error.message} Is it running at ${server.base}?` };
  }
}

interface UpstreamModel {
  /** What the server calls it. */
  readonly id: string;
  readonly offer: ModelOffer;
  /** Fields that this server turned out not to know. */
  readonly withoutFields: Set<NonNullable<Failure["unknownField"]>>;
}

function namedModel(given: string): { name: string; id: string } {
  const at = given.indexOf("=");
  return at <= 0 ? { name: given, id: given } : { name: given.slice(0, at), id: given.slice(at + 1) };
}

/** Some servers call a model by its file's path, which is nobody else's business. */
function publicName(id: string): string {
  return /^([A-Za-z]:)?[\\/]|\.gguf$/i.test(id) ? (id.split(/[\\/]/).at(-1) ?? id).replace(/\.gguf$/i, "") : id;
}

function nameFits(name: string): boolean {
  return name !== "" && name.length <= LIMITS.modelNameChars && name.isWellFormed();
}

/**
 * Another server's models (SPEC 6.3). Whatever the client asked for, the server is asked for a stream: silence, aborts
 * and limits are then seen while it answers. The server counts the tokens; where it does not, events are counted.
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
      else yield* this.#answer(job, reply, signal);
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
        yield this.#failed(tooLong(longest));
        return;
      }
      if (dimensions !== undefined && embedded.vectors.some(({ length }) => length !== dimensions)) {
        const message = `This model's embeddings have ${embedded.vectors[0]?.length} dimensions.`;
        yield { type: "failed", code: "http/unsupported-parameter", message, retryable: false, param: "dimensions" };
        return;
      }
      const promptTokens = this.#promptTokens(job.request, embedded.promptTokens);
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
    reply: Exclude<Reply, { type: "refused" }>,
    signal: AbortSignal,
  ): AsyncGenerator<GenerationEvent, void, undefined> {
    const characters = wholeCharacters();
    let pieces = 0;
    let bytes = 0;
    let finishReason: string | null = null;
    let usage: Piece["usage"] = null;
    const said = (text: string): GenerationEvent => {
      bytes += Buffer.byteLength(text);
      pieces++;
      this.#meter.tokensGenerated(1);
      return { type: "text", text, tokens: 1 };
    };
    let open: number | null = null;
    const { names, most } = allowedCalls(job);
    const called = (piece: CallPiece): GenerationEvent[] | Failure => {
      const events: GenerationEvent[] = [];
      if (piece.index !== open) {
        // Calls come one after the other; a part of an earlier one has no place any more.
        if (piece.index !== (open ?? -1) + 1 || !piece.name) return NOT_UNDERSTOOD;
        if (!names.includes(piece.name)) return misused("The upstream model called a tool that was not offered.");
        if (piece.index >= most) return misused("The upstream model called more tools at once than were allowed.");
        const id = piece.id !== null && piece.id.length <= LIMITS.toolCallIdChars ? piece.id : `call_${randomUUID()}`;
        events.push({ type: "tool-call", id: id.toWellFormed(), name: piece.name, tokens: 1 });
        open = piece.index;
      }
      const text = piece.arguments.toWellFormed();
      if (text !== "") events.push({ type: "tool-arguments", text, tokens: 1 });
      for (const event of events) {
        bytes += Buffer.byteLength(event.type === "tool-call" ? event.name : text);
        pieces++;
        this.#meter.tokensGenerated(1);
      }
      return events;
    };

    let begun = false;
    for await (const event of piecesOf(reply)) {
      if (signal.aborted) return;
      if (event.type === "unknown") {
        const failure = failureInStream(event.text, this.#secrets(), this.#nowMs());
        if (failure !== null) yield this.#failed(failure);
        else yield this.#failed(NOT_UNDERSTOOD);
        return;
      }
      // The prompt's tokens are known at the end only.
      if (!begun) yield { type: "accepted", promptTokens: 0 };
      begun = true;
      const text = characters.push(event.piece.text);
      if (text !== "" && open === null) yield said(text);
      for (const piece of event.piece.calls) {
        const events = called(piece);
        if ("code" in events) {
          yield this.#failed(events);
          return;
        }
        yield* events;
      }
      if (bytes > ANSWER_BYTES) {
        yield this.#failed({
          ...NOT_UNDERSTOOD,
          message: "The upstream server's answer is too large.",
          retryable: false,
        });
        return;
      }
      finishReason = event.piece.finishReason ?? finishReason;
      usage = event.piece.usage ?? usage;
    }
    if (signal.aborted) return;
    if (finishReason === null) {
      yield this.#failed({ ...NOT_UNDERSTOOD, message: "The upstream server ended its answer in the middle." });
      return;
    }
    if (finishReason === "content_filter") {
      yield this.#failed({
        ...NOT_UNDERSTOOD,
        message: "The upstream server withholds this answer.",
        retryable: false,
      });
      return;
    }
    const rest = characters.flush();
    if (rest !== "" && open === null) yield said(rest);
    this.#warned = "";
    const counted = this.#usage(job, usage, { pieces, bytes });
    // A piece was taken for a token until now: what is on record and what the owner sees are one number.
    this.#meter.tokensGenerated(counted.completionTokens - pieces);
    yield {
      type: "end",
      finishReason: finishReason === "length" ? "length" : open === null ? "stop" : "tool_calls",
      usage: counted,
    };
  }

  /**
   * The server's count within what the pool allows (SPEC 6.5): a server may count thoughts that it does not show. Where it
   * gives none, an event is a token, and four bytes of the prompt are.
   */
  #usage(job: GenerationJob, claimed: Piece["usage"], { pieces, bytes }: { pieces: number; bytes: number }) {
    const promptTokens = this.#promptTokens(job.request, claimed?.promptTokens ?? null);
    const completionTokens = Math.min(claimed?.completionTokens ?? pieces, bytes, job.request.maxTokens ?? Infinity);
    return { promptTokens, completionTokens };
  }

  #promptTokens(request: object, claimed: number | null): number {
    const bytes = Buffer.byteLength(JSON.stringify(request));
    const tokens = Math.min(claimed ?? Math.ceil(bytes / 4), bytes + LIMITS.promptTokenSlack);
    this.#meter.promptEvaluated(tokens);
    return tokens;
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

const NOT_UNDERSTOOD: Failure = {
  code: "inference/engine-failed",
  message: "The upstream server's answer was not understood.",
  retryable: true,
  forOwner: "The upstream server's answer was not understood. Is it an OpenAI-compatible server?",
  quoted: null,
  pauseMs: 0,
  unknownField: null,
  param: null,
};

function tooLong(dimensions: number): Failure {
  const message = `The upstream server's embeddings have ${dimensions} dimensions, and ${LIMITS.embeddingDimensions} are the most.`;
  return {
    ...NOT_UNDERSTOOD,
    message,
    retryable: false,
    forOwner: `${message} Do not offer them: --upstream-kinds chat,completion.`,
  };
}

/** What the server's model did against the request: it would do so again, and its server is none the worse for it. */
const misused = (message: string): Failure => ({ ...NOT_UNDERSTOOD, message, retryable: false, forOwner: null });

/** As the pool allows them (SPEC 6.2), which takes what goes beyond for a broken worker. */
function allowedCalls({ request }: GenerationJob): { names: readonly string[]; most: number } {
  if (!("messages" in request)) return { names: [], most: 0 };
  const most = request.parallelToolCalls === false ? 1 : LIMITS.toolCallsPerMessage;
  return { names: (request.tools ?? []).map(({ name }) => name), most };
}

type PieceEvent =
  | { readonly type: "piece"; readonly piece: Piece }
  | { readonly type: "unknown"; readonly text: string };

/** A server that does not stream answers in one piece; both end here. */
async function* piecesOf(reply: Exclude<Reply, { type: "refused" }>): AsyncGenerator<PieceEvent> {
  if (reply.type === "json") {
    const piece = pieceOf(reply.value);
    yield piece === null ? { type: "unknown", text: JSON.stringify(reply.value) ?? "" } : { type: "piece", piece };
    return;
  }
  for await (const data of reply.events) {
    if (data === "[DONE]") return;
    const piece = pieceOf(parsed(data));
    if (piece === null) {
      yield { type: "unknown", text: data };
      return;
    }
    yield { type: "piece", piece };
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

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
