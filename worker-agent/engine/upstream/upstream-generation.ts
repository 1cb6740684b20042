import { LIMITS } from "../../../schema/wire/limits.ts";
import type { FinishReason } from "../../../schema/wire/worker-frames.ts";
import type { GenerationEvent, GenerationJob } from "../engine.ts";
import { type StopFilter, stopFilter } from "../stop-filter.ts";
import { disobedience } from "./answer-check.ts";
import type { Piece } from "./answer-reader.ts";
import { type Assembled, CallAssembler, type CallEvent, type CallProblem } from "./call-assembler.ts";
import { disobeyed, type Failure, misused, NOT_UNDERSTOOD } from "./failure-rules.ts";
import { LogprobQueue } from "./logprobs.ts";
import { wholeCharacters } from "./surrogate-joiner.ts";
import { type ClaimedUsage, laterUsage } from "./usage-rules.ts";

type Said = Extract<GenerationEvent, { type: "text" }> | CallEvent;

export type Ending =
  | { readonly type: "finished"; readonly finishReason: FinishReason; readonly stopSequence?: string }
  | { readonly type: "failed"; readonly failure: Failure };

export interface Step {
  readonly events: readonly Said[];
  /** Null while the answer goes on. After an ending the server has nothing more to say that counts. */
  readonly ending: Ending | null;
}

/**
 * What the pieces of a server's answer make of one job: text and calls in their order, held to what the request
 * promises its client. Pure but for `newId`; reading the server is `answer-stream.ts`.
 */
export class UpstreamGeneration {
  readonly #job: GenerationJob;
  readonly #mostBytes: number;
  readonly #characters = wholeCharacters();
  readonly #stops: StopFilter;
  readonly #logprobs: LogprobQueue;
  readonly #calls: CallAssembler;
  /** Text that waits for the call which the request demands: without one, no word of the answer is to be used. */
  readonly #waiting: Said[] = [];
  readonly #waitsForCall: boolean;
  readonly #oneCall: boolean;
  readonly #keepsText: boolean;
  #text = "";
  #finishReason: string | null = null;
  #usage: ClaimedUsage | null = null;
  #receivedBytes = 0;
  #bytes = 0;
  #pieces = 0;

  /** @param contextTokens of the model: an answer is no longer, and the pool takes a worker that says more for broken */
  constructor(job: GenerationJob, contextTokens: number, newId: () => string) {
    const { request } = job;
    const chat = "messages" in request ? request : undefined;
    this.#job = job;
    this.#mostBytes = Math.min((request.maxTokens ?? contextTokens) * LIMITS.tokenBytes, LIMITS.answerBytes);
    this.#stops = stopFilter(request.stop ?? []);
    this.#logprobs = new LogprobQueue(request.topLogprobs);
    this.#oneCall = chat?.parallelToolCalls === false;
    const most = this.#oneCall ? 1 : LIMITS.toolCallsPerMessage;
    const names = (chat?.tools ?? []).map(({ name }) => name);
    this.#calls = new CallAssembler(names, most, newId);
    this.#waitsForCall = chat?.toolChoice !== undefined;
    this.#keepsText = chat?.responseFormat !== undefined;
  }

  get usage(): ClaimedUsage | null {
    return this.#usage;
  }

  /** Of what was said. */
  get measured(): { readonly bytes: number; readonly pieces: number } {
    return { bytes: this.#bytes, pieces: this.#pieces };
  }

  push(piece: Piece): Step {
    this.#usage = laterUsage(this.#usage, piece.usage);
    this.#finishReason = piece.finishReason ?? this.#finishReason;
    const received = piece.calls.map((call) => (call.name ?? "") + call.arguments).join("");
    this.#receivedBytes += Buffer.byteLength(piece.text) + Buffer.byteLength(received);
    // A server that says more than so many of the longest tokens has ignored `max_tokens`.
    if (this.#receivedBytes > this.#mostBytes)
      return this.#finish(this.#calls.begun ? [] : this.#restOfText(), "length");

    this.#logprobs.push(piece.logprobs);
    const text = this.#calls.begun ? "" : this.#characters.push(piece.text);
    const { out, stopped } = this.#stops.push({ text, tokens: text === "" ? 0 : 1 });
    const events = this.#textEvents(out);
    // Nothing follows a stop sequence: the server is told so by the end of its connection.
    if (stopped !== null) return this.#finish(events, "stop", stopped);
    if (piece.calls.length > 0) {
      if (!this.#calls.begun) events.push(...this.#restOfText());
      const assembled = this.#calls.push(piece.calls);
      if (!assembled.ok) return failedStep(this.#problemWith(assembled), this.#said(events));
      events.push(...assembled.events);
      const named = this.#otherCall(assembled.events);
      if (named !== null) return failedStep(disobeyed(named), []);
    }
    return { events: this.#said(events), ending: null };
  }

  /** Nothing more comes. @param isDone whether the server said so itself */
  end(isDone: boolean): Step {
    const events = this.#calls.begun ? [] : this.#restOfText();
    const isEmpty = this.#receivedBytes === 0;
    if (this.#finishReason === null && (!isDone || isEmpty)) return failedStep(CUT, this.#said(events));
    return this.#finish(events, finishOf(this.#finishReason));
  }

  #finish(events: readonly Said[], reason: FinishReason, stopSequence?: string): Step {
    const isCut = reason === "length" || reason === "content_filter";
    const assembled = this.#calls.end(isCut);
    if (!assembled.ok) return failedStep(this.#problemWith(assembled), this.#said(events));
    if (this.#logprobs.isMissing && this.#receivedBytes > 0) return failedStep(NO_LOGPROBS, this.#said(events));
    const wrong =
      isCut || !("messages" in this.#job.request)
        ? null
        : disobedience(this.#job.request, this.#text, this.#calls.calls());
    if (wrong !== null && this.#waitsForCall && !this.#calls.begun) return failedStep(disobeyed(wrong));
    const said = this.#said([...events, ...assembled.events]);
    if (wrong !== null) return failedStep(disobeyed(wrong), said);
    const finishReason = isCut ? reason : this.#calls.begun ? "tool_calls" : "stop";
    const stopped = finishReason === "stop" && stopSequence !== undefined && { stopSequence };
    return { events: said, ending: { type: "finished", finishReason, ...stopped } };
  }

  #restOfText(): Said[] {
    const { out, stopped } = this.#stops.push({ text: this.#characters.flush(), tokens: 1 });
    const rest = stopped === null ? this.#stops.flush() : { text: "", tokens: 0 };
    return [...this.#textEvents(out), ...this.#textEvents(rest)];
  }

  #textEvents({ text, tokens }: { readonly text: string; readonly tokens: number }): Said[] {
    if (text === "") return [];
    if (this.#keepsText) this.#text += text;
    const logprobs = this.#logprobs.takeFor(text);
    return [{ type: "text", text, tokens, ...(logprobs.length > 0 && { logprobs }) }];
  }

  /** What of these may go out now. */
  #said(events: readonly Said[]): Said[] {
    if (this.#waitsForCall && !this.#calls.begun) {
      this.#waiting.push(...events);
      return [];
    }
    const said = [...this.#waiting.splice(0), ...events];
    for (const event of said) {
      this.#bytes += Buffer.byteLength(event.type === "tool-call" ? event.name : event.text);
      this.#pieces += event.tokens;
    }
    return said;
  }

  #problemWith({ problem }: Extract<Assembled, { ok: false }>): Failure {
    return problem === "too-many" && this.#oneCall ? SEVERAL_CALLS : PROBLEMS[problem];
  }

  /** A call of a tool other than the one that the client named. */
  #otherCall(events: readonly CallEvent[]): string | null {
    const choice = "messages" in this.#job.request ? this.#job.request.toolChoice : undefined;
    if (typeof choice !== "object") return null;
    const isOther = events.some((event) => event.type === "tool-call" && event.name !== choice.name);
    return isOther ? "The upstream server called another tool than the one that tool_choice names." : null;
  }
}

/**
 * Pure: what servers call the end of an answer; failures are taken out before (`answer-reader.ts`). An answer with any
 * other reason ended by itself: `eos`, `eos_token`, `end_turn`.
 */
export function finishOf(reason: string | null): FinishReason {
  switch (reason?.toLowerCase()) {
    case "length":
    case "max_tokens":
    // Mistral's, where the context is full.
    case "model_length":
    // Zhipu's, and Anthropic's.
    case "model_context_window_exceeded":
    // Cohere's.
    case "error_limit":
      return "length";
    case "content_filter":
    // Gemini's.
    case "safety":
    case "recitation":
    case "blocklist":
    case "prohibited_content":
    case "spii":
    // Zhipu's, Anthropic's, and Cohere's.
    case "sensitive":
    case "refusal":
    case "error_toxic":
      return "content_filter";
    default:
      return "stop";
  }
}

const CUT: Failure = { ...NOT_UNDERSTOOD, message: "The upstream server ended its answer in the middle." };

const PROBLEMS: Readonly<Record<CallProblem, Failure>> = Object.freeze({
  "not-understood": NOT_UNDERSTOOD,
  "not-offered": misused("The upstream model called a tool that was not offered."),
  "too-many": misused("The upstream model called more tools at once than were allowed."),
});

const NO_LOGPROBS = disobeyed("The upstream server told no log probabilities.");
const SEVERAL_CALLS = disobeyed("The upstream server made several tool calls, though parallel_tool_calls is false.");

const failedStep = (failure: Failure, events: readonly Said[] = []): Step => ({
  events,
  ending: { type: "failed", failure },
});
