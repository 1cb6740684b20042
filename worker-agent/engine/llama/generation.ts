import { randomUUID } from "node:crypto";
import type { LlamaContextSequence, LlamaGrammarEvaluationState, LlamaModel, Token } from "node-llama-cpp";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { ReadSchema } from "../../../schema/wire/schema-node.ts";
import type { FinishReason, TokenLogprob } from "../../../schema/wire/worker-frames.ts";
import type { EngineMeter, GenerationEvent, GenerationJob } from "../engine.ts";
import { callGrammar, callReader, callTrigger, isCall, jsonGrammar } from "../grammar/call-grammar.ts";
import { stopFilter } from "../stop-filter.ts";
import type { Constraint } from "./constraint.ts";
import type { Grammars } from "./grammar-states.ts";
import type { Prompt } from "./prompt.ts";
import { samplingOf } from "./sampling.ts";
import { textDecoder } from "./text-decoder.ts";
import { type Drawing, measuredTokens } from "./token-logprobs.ts";

export interface GenerationParts {
  readonly model: LlamaModel;
  readonly grammars: Grammars;
  readonly meter: EngineMeter;
  /** Prompt tokens evaluated between two looks at the abort signal. */
  readonly prefillTokens: number;
  readonly job: GenerationJob;
  readonly prompt: Prompt;
  readonly constraint: Constraint;
  readonly sequence: LlamaContextSequence;
  /** Of the prompt and the answer together. */
  readonly contextTokens: number;
  readonly signal: AbortSignal;
}

type Calls = Extract<Constraint, { type: "calls" }>;

/** Of one answer: a model that needs more has no use for this vocabulary. */
const MOST_REDRAWS = 64;

/** One answer, from the prompt's tokens to `end`: free text, JSON, or calls of tools. */
export class Generation {
  readonly #parts: GenerationParts;
  readonly #promptTokens: number;
  readonly #maxTokens: number;
  /** The prompt's, and all that was generated and stands. */
  #tokens: Token[];
  #finish: FinishReason = "length";
  /** Of tokens whose text is still held back. */
  readonly #unsaid: TokenLogprob[] = [];
  #stopSequence: string | null = null;
  #aborted = false;

  constructor(parts: GenerationParts) {
    const { prompt, job, contextTokens } = parts;
    this.#parts = parts;
    this.#tokens = [...prompt.tokens];
    this.#promptTokens = prompt.tokens.length;
    // The context's end is the answer's end: nothing is ever shifted out of the window.
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
    if (this.#aborted) return;
    const usage = { promptTokens: this.#promptTokens, completionTokens: this.#completionTokens };
    const stopSequence = this.#stopSequence;
    yield { type: "end", finishReason: this.#finish, usage, ...(stopSequence !== null && { stopSequence }) };
  }

  /**
   * All that was generated and stands, whether it was said or not: marks of a call, a stop sequence and half a character
   * too. What was taken back and drawn again counts once.
   */
  get #completionTokens(): number {
    return this.#tokens.length - this.#promptTokens;
  }

  /** Free text. Where the model may call tools and begins to, it goes on under the grammar of calls. */
  async *#text(tools: Calls | null): AsyncGenerator<GenerationEvent, void, undefined> {
    const { job, prompt, model } = this.#parts;
    const trigger = tools && callTrigger(tools.syntax);
    const shown =
      trigger === null ? [] : model.tokenize(trigger.text, true).filter((token) => model.isSpecialToken(token));
    const decoder = textDecoder<Token>(
      // A template's mark of a call may be a control token, which is otherwise no text.
      (tokens, before) =>
        model.detokenize(
          tokens,
          tokens.some((token) => shown.includes(token)),
          before,
        ),
      this.#tokens,
    );
    const stops = [...(job.request.stop ?? []), ...prompt.stopTexts];
    const filter = stopFilter(trigger === null ? stops : [...stops, trigger.text]);
    /** Where in the text the tokens of each decoded piece began. */
    const starts: { token: number; text: string; at: number }[] = [];
    let chars = 0;
    let sent = 0;
    let pieceAt = this.#tokens.length;

    for await (const token of this.#step(null)) {
      const piece = decoder.push(token);
      if (piece.text !== "") {
        starts.push({ token: pieceAt, text: piece.text, at: chars });
        chars += piece.text.length;
        pieceAt = this.#tokens.length;
      }
      const { out, stopped } = filter.push(piece);
      sent += out.text.length;
      const calls = tools !== null && stopped !== null && stopped === trigger?.text;
      if (calls && (!trigger.atStartOnly || sent === 0)) {
        // Back to before the token in which the calls begin: from there the grammar writes them, white space and all.
        const from = starts.findLast(({ at }) => at <= sent);
        yield* this.#say(out);
        this.#tokens = this.#tokens.slice(0, from?.token ?? this.#promptTokens);
        yield* this.#calls(tools, from === undefined ? "" : from.text.slice(0, sent - from.at));
        return;
      }
      yield* this.#say(out);
      if (stopped !== null) {
        this.#finish = "stop";
        if (job.request.stop?.includes(stopped)) this.#stopSequence = stopped;
        return;
      }
    }
    if (!this.#aborted) yield* this.#say(filter.flush());
    this.#unsaid.length = 0;
  }

  async *#json(grammar: string): AsyncGenerator<GenerationEvent, void, undefined> {
    for await (const piece of this.#constrained(grammar)) yield* this.#say(piece);
  }

  /** @param written what the first token holds before the calls begin: generated again, and said already */
  async *#calls(constraint: Calls, written: string): AsyncGenerator<GenerationEvent, void, undefined> {
    const { tools, syntax, parallel } = constraint;
    const calls = saidCalls(constraint, written);
    for await (const piece of this.#constrained(callGrammar(tools, syntax, { parallel, written }))) {
      yield* calls.push(piece);
    }
    if (calls.begun() && this.#finish === "stop") this.#finish = "tool_calls";
  }

  /** Held back until it is known which of the two it is. */
  async *#callsOrJson(constraint: Calls, format: ReadSchema): AsyncGenerator<GenerationEvent, void, undefined> {
    const { tools, syntax, parallel } = constraint;
    const calls = saidCalls(constraint, "");
    const held = { text: "", tokens: 0 };
    let decided: boolean | null = null;
    for await (const piece of this.#constrained(callGrammar(tools, syntax, { parallel, written: "", format }))) {
      if (decided !== null) {
        yield* decided ? calls.push(piece) : this.#say(piece);
        continue;
      }
      held.text += piece.text;
      held.tokens += piece.tokens;
      decided = isCall(held.text, tools, syntax);
      if (decided !== null) yield* decided ? calls.push(held) : this.#say(held);
    }
    // JSON may end where a call would go on: an empty object, before a call's own brace is closed.
    if (decided === null && this.#finish === "stop") yield* this.#say(held);
    if (calls.begun() && this.#finish === "stop") this.#finish = "tool_calls";
  }

  /**
   * Text under a grammar. llama.cpp's grammars also let through characters in a longer form than UTF-8 allows (RFC 3629
   * section 3), which are no text: such a one is taken back and drawn again, so that what is said is what was allowed.
   */
  async *#constrained(grammar: string): AsyncGenerator<{ text: string; tokens: number }, void, undefined> {
    const { model, grammars } = this.#parts;
    const begun = this.#tokens.length;
    let safe = begun;
    for (let redraws = 0; redraws <= MOST_REDRAWS; redraws++) {
      const state = await grammars.begin(grammar, this.#tokens.slice(begun));
      // As the grammar saw it: what else is a control token is text here.
      const decoder = textDecoder<Token>((tokens, before) => model.detokenize(tokens, true, before), this.#tokens);
      let whole = true;
      for await (const token of this.#step(state, redraws)) {
        const { text, tokens, broken } = decoder.push(token);
        if (broken) {
          whole = false;
          break;
        }
        if (text === "") continue;
        safe = this.#tokens.length;
        yield { text, tokens };
      }
      if (whole) return;
      this.#tokens.length = safe;
    }
    throw new Error("The model goes on writing bytes that are no text.");
  }

  *#say(piece: { text: string; tokens: number }): Generator<GenerationEvent> {
    if (piece.text === "") return;
    const logprobs = this.#unsaid.splice(0, piece.tokens);
    yield { type: "text", ...piece, ...(logprobs.length > 0 && { logprobs }) };
  }

  /** Token after token; `#finish` says why there are no more, `#aborted` that nobody wants them. */
  async *#step(grammar: LlamaGrammarEvaluationState | null, redraws = 0): AsyncGenerator<Token, void, undefined> {
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
    const ends = (token: Token) => model.isEogToken(token) || (grammar === null && prompt.stopTokens.includes(token));
    const { topLogprobs } = job.request;
    const tokens =
      topLogprobs === undefined ? sequence.evaluate(rest, options) : this.#measured(rest, options, topLogprobs);
    for await (const token of tokens) {
      if (signal.aborted) {
        this.#aborted = true;
        return;
      }
      if (ends(token)) {
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

  /** The same with log probabilities, which are kept until the token's text is said. */
  async *#measured(rest: Token[], drawing: Drawing, most: number): AsyncGenerator<Token, void, undefined> {
    const { sequence, model } = this.#parts;
    const textOf = (token: Token) =>
      model.detokenize([token], true, this.#tokens.slice(-1)).slice(0, LIMITS.logprobTokenChars);
    for await (const { token, logprob, top } of measuredTokens(sequence, rest, drawing, most)) {
      this.#unsaid.push({
        token: textOf(token),
        logprob,
        top: top.map((one) => ({ token: textOf(one.token), logprob: one.logprob })),
      });
      yield token;
    }
  }

  /** Evaluates all but the end of the tokens so far; answers the end, for the step that gives the next token. */
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

/** Says the calls that a text of calls holds, as it comes. */
function saidCalls({ tools, syntax }: Calls, written: string) {
  const reader = callReader(tools, syntax, written);
  let begun = false;
  let uncounted = 0;
  // An event tells no more tokens than its text has bytes.
  const count = (text: string) => {
    const tokens = Math.min(uncounted, Buffer.byteLength(text));
    uncounted -= tokens;
    return tokens;
  };
  return {
    begun: () => begun,
    *push(piece: { text: string; tokens: number }): Generator<GenerationEvent> {
      uncounted += piece.tokens;
      for (const part of reader.push(piece.text)) {
        if (part.type === "call") {
          begun = true;
          const id = `call_${randomUUID().replaceAll("-", "").slice(0, 24)}`;
          yield { type: "tool-call", id, name: part.name, tokens: count(part.name) };
        } else yield { type: "tool-arguments", text: part.text, tokens: count(part.text) };
      }
    },
  };
}
