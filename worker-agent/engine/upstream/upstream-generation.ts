import { LIMITS } from "../../../schema/wire/limits.ts";
import type { FinishReason } from "../../../schema/wire/worker-frames.ts";
import type { GenerationEvent, GenerationJob } from "../engine.ts";
import { type StopFilter, stopFilter } from "../stop-filter.ts";
import { requestViolation } from "./answer-check.ts";
import type { AnswerPiece } from "./answer-reader.ts";
import { type Assembled, CallAssembler, type CallEvent, type CallProblem } from "./call-assembler.ts";
import { disobeyed, type Failure, modelMisuse, NOT_UNDERSTOOD } from "./failure-rules.ts";
import { LogprobQueue } from "./logprobs.ts";
import { surrogateJoiner } from "./surrogate-joiner.ts";
import { type ClaimedUsage, mergeUsage } from "./usage-rules.ts";

type OutputEvent = Extract<GenerationEvent, { type: "text" }> | CallEvent;

export type Ending =
  | { readonly type: "finished"; readonly finishReason: FinishReason; readonly stopSequence?: string }
  | { readonly type: "failed"; readonly failure: Failure };

export interface Step {
  readonly events: readonly OutputEvent[];
  /** Null while the answer continues. What the server sends after the ending is ignored. */
  readonly ending: Ending | null;
}

/**
 * Turns the pieces of a server's answer into the events of one job (docs/spec/engines.md#upstream-servers). It applies
 * stop sequences and limits, assembles tool calls, and checks the answer against the request. `answer-stream.ts` reads
 * the pieces.
 */
export class UpstreamGeneration {
  readonly #job: GenerationJob;
  readonly #maxBytes: number;
  readonly #characters = surrogateJoiner();
  readonly #stops: StopFilter;
  readonly #logprobs: LogprobQueue;
  readonly #calls: CallAssembler;
  /** Events before the tool call that the request requires. They are dropped if no call arrives. */
  readonly #heldEvents: OutputEvent[] = [];
  readonly #requiresCall: boolean;
  readonly #allowsOneCall: boolean;
  readonly #keepsText: boolean;
  #text = "";
  #finishReason: string | null = null;
  #usage: ClaimedUsage | null = null;
  #receivedBytes = 0;
  #bytes = 0;
  #pieces = 0;

  /** @param contextTokens the model's context, which bounds the answer; the pool treats a longer answer as a fault */
  constructor(job: GenerationJob, contextTokens: number, newId: () => string) {
    const { request } = job;
    const chat = "messages" in request ? request : undefined;
    this.#job = job;
    this.#maxBytes = Math.min((request.maxTokens ?? contextTokens) * LIMITS.tokenBytes, LIMITS.answerBytes);
    this.#stops = stopFilter(request.stop ?? []);
    this.#logprobs = new LogprobQueue(request.topLogprobs);
    this.#allowsOneCall = chat?.parallelToolCalls === false;
    const maxCalls = this.#allowsOneCall ? 1 : LIMITS.toolCallsPerMessage;
    const names = (chat?.tools ?? []).map(({ name }) => name);
    this.#calls = new CallAssembler(names, maxCalls, newId);
    this.#requiresCall = chat?.toolChoice !== undefined;
    this.#keepsText = chat?.responseFormat !== undefined;
  }

  get usage(): ClaimedUsage | null {
    return this.#usage;
  }

  /** The size of the events so far. */
  get observed(): { readonly bytes: number; readonly pieces: number } {
    return { bytes: this.#bytes, pieces: this.#pieces };
  }

  push(piece: AnswerPiece): Step {
    this.#usage = mergeUsage(this.#usage, piece.usage);
    this.#finishReason = piece.finishReason ?? this.#finishReason;
    const received = piece.calls.map((call) => (call.name ?? "") + call.arguments).join("");
    this.#receivedBytes += Buffer.byteLength(piece.text) + Buffer.byteLength(received);
    // An answer with more bytes than `max_tokens` of the longest tokens shows that the server ignores `max_tokens`.
    if (this.#receivedBytes > this.#maxBytes)
      return this.#finish(this.#calls.hasCalls ? [] : this.#restOfText(), "length");

    this.#logprobs.push(piece.logprobs);
    const text = this.#calls.hasCalls ? "" : this.#characters.push(piece.text);
    const { out, stopped } = this.#stops.push({ text, tokens: text === "" ? 0 : 1 });
    const events = this.#textEvents(out);
    // The answer ends here. The engine closes the connection, so that the server stops.
    if (stopped !== null) return this.#finish(events, "stop", stopped);
    if (piece.calls.length > 0) {
      if (!this.#calls.hasCalls) events.push(...this.#restOfText());
      const assembled = this.#calls.push(piece.calls);
      if (!assembled.ok) return failedStep(this.#callFailure(assembled), this.#release(events));
      events.push(...assembled.events);
      const named = this.#unrequestedCall(assembled.events);
      if (named !== null) return failedStep(disobeyed(named), []);
    }
    return { events: this.#release(events), ending: null };
  }

  /** The server's answer is over. @param isDone whether the server declared the end, and did not just close */
  end(isDone: boolean): Step {
    const events = this.#calls.hasCalls ? [] : this.#restOfText();
    const isEmpty = this.#receivedBytes === 0;
    if (this.#finishReason === null && (!isDone || isEmpty)) return failedStep(CUT_SHORT, this.#release(events));
    return this.#finish(events, finishReasonOf(this.#finishReason));
  }

  #finish(events: readonly OutputEvent[], reason: FinishReason, stopSequence?: string): Step {
    const isCut = reason === "length" || reason === "content_filter";
    const assembled = this.#calls.end(isCut);
    if (!assembled.ok) return failedStep(this.#callFailure(assembled), this.#release(events));
    if (this.#logprobs.isMissing && this.#receivedBytes > 0) return failedStep(NO_LOGPROBS, this.#release(events));
    const violation =
      isCut || !("messages" in this.#job.request)
        ? null
        : requestViolation(this.#job.request, this.#text, this.#calls.calls());
    if (violation !== null && this.#requiresCall && !this.#calls.hasCalls) return failedStep(disobeyed(violation));
    const released = this.#release([...events, ...assembled.events]);
    if (violation !== null) return failedStep(disobeyed(violation), released);
    const finishReason = isCut ? reason : this.#calls.hasCalls ? "tool_calls" : "stop";
    const stopped = finishReason === "stop" && stopSequence !== undefined && { stopSequence };
    return { events: released, ending: { type: "finished", finishReason, ...stopped } };
  }

  #restOfText(): OutputEvent[] {
    const { out, stopped } = this.#stops.push({ text: this.#characters.flush(), tokens: 1 });
    const rest = stopped === null ? this.#stops.flush() : { text: "", tokens: 0 };
    return [...this.#textEvents(out), ...this.#textEvents(rest)];
  }

  #textEvents({ text, tokens }: { readonly text: string; readonly tokens: number }): OutputEvent[] {
    if (text === "") return [];
    if (this.#keepsText) this.#text += text;
    const logprobs = this.#logprobs.takeFor(text);
    return [{ type: "text", text, tokens, ...(logprobs.length > 0 && { logprobs }) }];
  }

  /** Returns the events that may be sent now. Holds them back while a required call is missing. */
  #release(events: readonly OutputEvent[]): OutputEvent[] {
    if (this.#requiresCall && !this.#calls.hasCalls) {
      this.#heldEvents.push(...events);
      return [];
    }
    const released = [...this.#heldEvents.splice(0), ...events];
    for (const event of released) {
      this.#bytes += Buffer.byteLength(event.type === "tool-call" ? event.name : event.text);
      this.#pieces += event.tokens;
    }
    return released;
  }

  #callFailure({ problem }: Extract<Assembled, { ok: false }>): Failure {
    return problem === "too-many" && this.#allowsOneCall ? SEVERAL_CALLS : PROBLEMS[problem];
  }

  /** The problem with a call of a tool that the client did not name in `tool_choice`. Null if there is none. */
  #unrequestedCall(events: readonly CallEvent[]): string | null {
    const choice = "messages" in this.#job.request ? this.#job.request.toolChoice : undefined;
    if (typeof choice !== "object") return null;
    const isOther = events.some((event) => event.type === "tool-call" && event.name !== choice.name);
    return isOther ? "The upstream server called a tool other than the one that tool_choice names." : null;
  }
}

/**
 * Maps a server's finish reason. `answer-reader.ts` has already turned failures into errors. With any other reason, such
 * as `eos`, `eos_token` or `end_turn`, the answer ended normally.
 */
export function finishReasonOf(reason: string | null): FinishReason {
  switch (reason?.toLowerCase()) {
    case "length":
    case "max_tokens":
    // Mistral: the context is full.
    case "model_length":
    // Zhipu and Anthropic.
    case "model_context_window_exceeded":
    // Cohere.
    case "error_limit":
      return "length";
    case "content_filter":
    // Gemini.
    case "safety":
    case "recitation":
    case "blocklist":
    case "prohibited_content":
    case "spii":
    // Zhipu, Anthropic and Cohere.
    case "sensitive":
    case "refusal":
    case "error_toxic":
      return "content_filter";
    default:
      return "stop";
  }
}

const CUT_SHORT: Failure = { ...NOT_UNDERSTOOD, message: "The upstream server ended its answer in the middle." };

const PROBLEMS: Readonly<Record<CallProblem, Failure>> = Object.freeze({
  "not-understood": NOT_UNDERSTOOD,
  "not-offered": modelMisuse("The upstream model called a tool that was not offered."),
  "too-many": modelMisuse("The upstream model called more tools at once than were allowed."),
});

const NO_LOGPROBS = disobeyed("The upstream server sent no log probabilities.");
const SEVERAL_CALLS = disobeyed("The upstream server made several tool calls, though parallel_tool_calls is false.");

const failedStep = (failure: Failure, events: readonly OutputEvent[] = []): Step => ({
  events,
  ending: { type: "failed", failure },
});
