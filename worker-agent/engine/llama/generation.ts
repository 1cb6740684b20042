import { randomUUID } from "node:crypto";
import type { LlamaContextSequence, LlamaGrammarEvaluationState, LlamaModel, Token } from "node-llama-cpp";
import type { ReadSchema } from "../../../schema/wire/json-schema/schema-node.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { FinishReason, TokenLogprob } from "../../../schema/wire/worker-frames.ts";
import type { EngineMeter, GenerationEvent, GenerationJob } from "../engine.ts";
import { callGrammar, callTrigger, isCall, jsonGrammar } from "../grammar/call-grammar.ts";
import { callReader } from "../grammar/call-reader.ts";
import { type Piece, stopFilter } from "../stop-filter.ts";
import type { Constraint } from "./constraint.ts";
import type { GrammarStates } from "./grammar-states.ts";
import type { Prompt } from "./prompt.ts";
import { samplingOf } from "./sampling.ts";
import { textDecoder } from "./text-decoder.ts";
import { type SamplingSettings, sampleWithLogprobs } from "./token-logprobs.ts";

export interface GenerationParts {
  readonly model: LlamaModel;
  readonly grammars: GrammarStates;
  readonly meter: EngineMeter;
  /** Prompt tokens that are evaluated between two checks of the abort signal. */
  readonly prefillTokens: number;
  readonly job: GenerationJob;
  readonly prompt: Prompt;
  readonly constraint: Constraint;
  readonly sequence: LlamaContextSequence;
  /** The limit of prompt and answer together. */
  readonly contextTokens: number;
  readonly signal: AbortSignal;
}

type Calls = Extract<Constraint, { type: "calls" }>;

/** The most redraws of one answer. A model that needs more cannot write text with this vocabulary. */
const MAX_REDRAWS = 64;

/** Generates one answer, from the prompt's tokens to `end`: free text, JSON, or tool calls. */
export class Generation {
  readonly #parts: GenerationParts;
  readonly #promptTokens: number;
  readonly #maxTokens: number;
  /** The tokens of the prompt and of the answer so far, without tokens that were taken back. */
  #tokens: Token[];
  #finish: FinishReason = "length";
  /** Log probabilities of tokens whose text is still held back. */
  readonly #pendingLogprobs: TokenLogprob[] = [];
  #stopSequence: string | null = null;
  #aborted = false;

  constructor(parts: GenerationParts) {
    const { prompt, job, contextTokens } = parts;
    this.#parts = parts;
    this.#tokens = [...prompt.tokens];
    this.#promptTokens = prompt.tokens.length;
    // The answer ends where the context ends: no token is ever shifted out of the context.
    this.#maxTokens = Math.min(job.request.maxTokens ?? Infinity, contextTokens - this.#promptTokens);
  }

  async *run(): AsyncGenerator<GenerationEvent, void, undefined> {
    const { constraint } = this.#parts;
    switch (constraint.type) {
      case "none":
        yield* this.#text(null);
        break;
      case "json":
        yield* this.#json(jsonGrammar(constraint.schema));
        break;
      case "calls":
        if (constraint.otherwise === "text") yield* this.#text(constraint);
        else if (constraint.otherwise === "nothing") yield* this.#calls(constraint, "");
        else yield* this.#callsOrJson(constraint, constraint.otherwise);
        break;
      default:
        constraint satisfies never;
    }
    if (this.#aborted || this.#parts.signal.aborted) return;
    const usage = { promptTokens: this.#promptTokens, completionTokens: this.#completionTokens };
    const stopSequence = this.#stopSequence;
    yield { type: "end", finishReason: this.#finish, usage, ...(stopSequence !== null && { stopSequence }) };
  }

  /**
   * The generated tokens of the answer. Tokens without visible text count too: marks of a call, a stop sequence, half a
   * character. A token that was taken back and drawn again counts once.
   */
  get #completionTokens(): number {
    return this.#tokens.length - this.#promptTokens;
  }

  /** Generates free text. If tools are given and the model begins a call, continues under the grammar of calls. */
  async *#text(tools: Calls | null): AsyncGenerator<GenerationEvent, void, undefined> {
    const { job, prompt, model } = this.#parts;
    const trigger = tools && callTrigger(tools.syntax);
    const triggerTokens =
      trigger === null ? [] : model.tokenize(trigger.text, true).filter((token) => model.isSpecialToken(token));
    const decoder = textDecoder<Token>(
      // A template's mark of a call may be a control token, which the detokenizer writes only on request.
      (tokens, before) =>
        model.detokenize(
          tokens,
          tokens.some((token) => triggerTokens.includes(token)),
          before,
        ),
      this.#tokens,
    );
    const stops = [...(job.request.stop ?? []), ...prompt.stopTexts];
    const filter = stopFilter(trigger === null ? stops : [...stops, trigger.text]);
    /** The index of each decoded piece's first token, and the piece's position in the text. */
    const starts: { token: number; text: string; at: number }[] = [];
    let chars = 0;
    let sentChars = 0;
    let pieceStart = this.#tokens.length;

    for await (const token of this.#generateTokens(null)) {
      const piece = decoder.push(token);
      if (piece.text !== "") {
        starts.push({ token: pieceStart, text: piece.text, at: chars });
        chars += piece.text.length;
        pieceStart = this.#tokens.length;
      }
      const { out, stopped } = filter.push(piece);
      sentChars += out.text.length;
      const isTrigger = tools !== null && stopped !== null && stopped === trigger?.text;
      if (isTrigger && (!trigger.atStartOnly || sentChars === 0)) {
        // Go back to the token in which the calls begin. The grammar writes everything from there, white space too.
        const from = starts.findLast(({ at }) => at <= sentChars);
        yield* this.#emit(out);
        this.#tokens = this.#tokens.slice(0, from?.token ?? this.#promptTokens);
        yield* this.#calls(tools, from === undefined ? "" : from.text.slice(0, sentChars - from.at));
        return;
      }
      yield* this.#emit(out);
      if (stopped !== null) {
        this.#finish = "stop";
        if (job.request.stop?.includes(stopped)) this.#stopSequence = stopped;
        return;
      }
    }
    if (!this.#aborted) yield* this.#emit(filter.flush());
    this.#pendingLogprobs.length = 0;
  }

  async *#json(grammar: string): AsyncGenerator<GenerationEvent, void, undefined> {
    for await (const piece of this.#constrained(grammar)) yield* this.#emit(piece);
  }

  /** @param lead text in the first token before the calls: it is generated again but was sent already */
  async *#calls(constraint: Calls, lead: string): AsyncGenerator<GenerationEvent, void, undefined> {
    const { tools, syntax, parallel } = constraint;
    const calls = callEvents(constraint, lead);
    for await (const piece of this.#constrained(callGrammar(tools, syntax, { parallel, lead }))) {
      yield* calls.push(piece);
    }
    if (calls.hasCalls() && this.#finish === "stop") this.#finish = "tool_calls";
  }

  /** Holds the text back until it is clear whether it is a call or JSON. */
  async *#callsOrJson(constraint: Calls, format: ReadSchema): AsyncGenerator<GenerationEvent, void, undefined> {
    const { tools, syntax, parallel } = constraint;
    const calls = callEvents(constraint, "");
    const held = { text: "", tokens: 0 };
    let isCalls: boolean | null = null;
    for await (const piece of this.#constrained(callGrammar(tools, syntax, { parallel, lead: "", format }))) {
      if (isCalls !== null) {
        yield* isCalls ? calls.push(piece) : this.#emit(piece);
        continue;
      }
      held.text += piece.text;
      held.tokens += piece.tokens;
      isCalls = isCall(held.text, tools, syntax);
      if (isCalls !== null) yield* isCalls ? calls.push(held) : this.#emit(held);
    }
    // JSON can end where a call would continue: an empty object, for example.
    if (isCalls === null && this.#finish === "stop") yield* this.#emit(held);
    if (calls.hasCalls() && this.#finish === "stop") this.#finish = "tool_calls";
  }

  /**
   * Generates text under a grammar. llama.cpp's grammars also accept overlong UTF-8 (forbidden by RFC 3629 section 3),
   * which is no text. Such tokens are taken back and drawn again, so that the text is what the grammar allowed.
   */
  async *#constrained(grammar: string): AsyncGenerator<Piece, void, undefined> {
    const { model, grammars } = this.#parts;
    const start = this.#tokens.length;
    let validLength = start;
    for (let redraws = 0; redraws <= MAX_REDRAWS; redraws++) {
      const state = await grammars.create(grammar, this.#tokens.slice(start));
      // The grammar sees the text of control tokens, so the decoder shows it too.
      const decoder = textDecoder<Token>((tokens, before) => model.detokenize(tokens, true, before), this.#tokens);
      let isValid = true;
      for await (const token of this.#generateTokens(state, redraws)) {
        const { text, tokens, isInvalid } = decoder.push(token);
        if (isInvalid) {
          isValid = false;
          break;
        }
        if (text === "") continue;
        validLength = this.#tokens.length;
        yield { text, tokens };
      }
      if (isValid) return;
      this.#tokens.length = validLength;
    }
    throw new Error("The model keeps writing bytes that are not text.");
  }

  *#emit(piece: Piece): Generator<GenerationEvent> {
    if (piece.text === "") return;
    const logprobs = this.#pendingLogprobs.splice(0, piece.tokens);
    yield { type: "text", ...piece, ...(logprobs.length > 0 && { logprobs }) };
  }

  /** Generates token after token. Afterwards `#finish` has the reason of the end, and `#aborted` is set by an abort. */
  async *#generateTokens(
    grammar: LlamaGrammarEvaluationState | null,
    redraws = 0,
  ): AsyncGenerator<Token, void, undefined> {
    const { sequence, model, meter, signal, prompt, job } = this.#parts;
    this.#finish = "length";
    const rest = await this.#prefill();
    if (rest === null) {
      this.#aborted = true;
      return;
    }
    const { seed } = job.request;
    const options = {
      ...samplingOf({ ...job.request, ...(seed !== undefined && { seed: seed + redraws }) }),
      yieldEogToken: true,
      ...(grammar !== null && { grammarEvaluationState: grammar }),
    };
    const isEnd = (token: Token) => model.isEogToken(token) || (grammar === null && prompt.stopTokens.includes(token));
    const { topLogprobs } = job.request;
    const tokens =
      topLogprobs === undefined
        ? sequence.evaluate(rest, options)
        : this.#generateWithLogprobs(rest, options, topLogprobs);
    for await (const token of tokens) {
      if (signal.aborted) {
        this.#aborted = true;
        return;
      }
      if (isEnd(token)) {
        this.#finish = "stop";
        return;
      }
      this.#tokens.push(token);
      meter.tokensGenerated(1);
      yield token;
      if (signal.aborted) {
        this.#aborted = true;
        return;
      }
      if (this.#completionTokens >= this.#maxTokens) return;
    }
  }

  /** Generates tokens and keeps their log probabilities until the tokens' text is sent. */
  async *#generateWithLogprobs(
    rest: Token[],
    settings: SamplingSettings,
    topCount: number,
  ): AsyncGenerator<Token, void, undefined> {
    const { sequence, model } = this.#parts;
    const textOf = (token: Token) =>
      model.detokenize([token], true, this.#tokens.slice(-1)).slice(0, LIMITS.logprobTokenChars);
    for await (const { token, logprob, top } of sampleWithLogprobs(sequence, rest, settings, topCount)) {
      this.#pendingLogprobs.push({
        token: textOf(token),
        logprob,
        top: top.map((one) => ({ token: textOf(one.token), logprob: one.logprob })),
      });
      yield token;
    }
  }

  /**
   * Evaluates the tokens so far except the last ones, and returns the last ones: the next step evaluates them and
   * samples.
   */
  async #prefill(): Promise<Token[] | null> {
    const { sequence, meter, prefillTokens, signal, job } = this.#parts;
    const tokens = this.#tokens;
    if (job.request.seed === undefined) await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
    else await sequence.clearHistory();
    let at = sequence.nextTokenIndex;
    while (tokens.length - at > prefillTokens) {
      if (signal.aborted) return null;
      await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(at, at + prefillTokens));
      at += prefillTokens;
      meter.promptEvaluated(prefillTokens);
    }
    if (signal.aborted) return null;
    meter.promptEvaluated(tokens.length - at);
    return tokens.slice(at);
  }
}

/** Turns the text of calls into events as the text arrives. */
function callEvents({ tools, syntax }: Calls, lead: string) {
  const reader = callReader(tools, syntax, lead);
  let hasCalls = false;
  let uncountedTokens = 0;
  // An event reports at most as many tokens as its text has bytes.
  const takeTokens = (text: string) => {
    const tokens = Math.min(uncountedTokens, Buffer.byteLength(text));
    uncountedTokens -= tokens;
    return tokens;
  };
  return {
    hasCalls: () => hasCalls,
    *push(piece: Piece): Generator<GenerationEvent> {
      uncountedTokens += piece.tokens;
      for (const part of reader.push(piece.text)) {
        if (part.type === "call") {
          hasCalls = true;
          const id = `call_${randomUUID().replaceAll("-", "").slice(0, 24)}`;
          yield { type: "tool-call", id, name: part.name, tokens: takeTokens(part.name) };
        } else yield { type: "tool-arguments", text: part.text, tokens: takeTokens(part.text) };
      }
    },
  };
}
