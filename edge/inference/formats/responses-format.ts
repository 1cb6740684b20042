/** Answers of `POST /v1/responses`: a `response`, in one piece or as the published sequence of events. */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { FinishReason, ToolCall, Usage } from "../../../schema/wire/worker-frames.ts";
import { type ErrorDetails, errorBody } from "../../http/error-body.ts";
import type { AnswerFormat, AnswerHead, CallHead, WholeChoice } from "./answer-format.ts";
import { openAiErrors } from "./openai-format.ts";
import { TextBuilder } from "./text-builder.ts";

type Status = "in_progress" | "completed" | "incomplete";

/** An item of the answer: text, or a tool call. Later events repeat the whole item. */
type Item = { readonly id: string; readonly at: number; text: string } & (
  | { readonly type: "message" }
  | { readonly type: "function_call"; readonly callId: string; readonly name: string }
);

export function responsesFormat(head: AnswerHead): AnswerFormat {
  return new ResponsesFormat(head);
}

class ResponsesFormat implements AnswerFormat {
  readonly #head: AnswerHead;
  readonly #id: string;
  #sequence = 0;
  #open: Item | null = null;
  /** The text of the open item. */
  readonly #text = new TextBuilder();
  readonly #closed: object[] = [];
  #repeatedChars = 0;
  repeatedBytes = 0;
  #finishReason: FinishReason = "stop";

  constructor(head: AnswerHead) {
    this.#head = head;
    this.#id = `resp_${head.jobId}`;
  }

  get isTooLong(): boolean {
    return this.#repeatedChars > LIMITS.repeatedAnswerChars;
  }

  text(_choice: number, text: string): string {
    if (text === "") return "";
    const begun = this.#begin() + this.#message();
    return begun + this.#delta("response.output_text.delta", text, { content_index: 0, logprobs: [] });
  }

  toolCall(_choice: number, call: CallHead, piece: string): string {
    const begun = this.#begin() + this.#call(call);
    if (piece === "") return begun;
    return begun + this.#delta("response.function_call_arguments.delta", piece, {});
  }

  finish(_choice: number, reason: FinishReason): string {
    this.#finishReason = reason;
    // An empty answer is an empty message.
    const begun = this.#begin() + (this.#open ? "" : this.#message());
    return begun + this.#close(statusOf(reason));
  }

  end(usage: Usage): string {
    const status = statusOf(this.#finishReason);
    const response = this.#response(status, this.#closed, { usage: usageOf(usage), ...detailsOf(this.#finishReason) });
    return this.#event(`response.${status}`, { response });
  }

  error(code: ErrorCode, details?: ErrorDetails): string {
    const { error } = errorBody(code, details);
    const failed = { error: { code: error.code, message: error.message } };
    return this.#begin() + this.#event("response.failed", { response: this.#response("failed", this.#closed, failed) });
  }

  readonly keepAlive = openAiErrors.keepAlive;

  whole([choice]: readonly WholeChoice[], usage: Usage): string {
    const { text = "", toolCalls = [], finishReason = "stop" } = choice ?? {};
    const status = statusOf(finishReason);
    const hasMessage = text !== "" || toolCalls.length === 0;
    const items: Item[] = [
      ...(hasMessage ? [{ type: "message", id: this.#itemId("msg", 0), at: 0, text } as const] : []),
      ...toolCalls.map((call, i) => this.#itemOf(call, Number(hasMessage) + i)),
    ];
    // Only the last item can be cut: an item starts only when the one before it is complete.
    const output = items.map((item) => shown(item, item.at === items.length - 1 ? status : "completed"));
    return JSON.stringify(this.#response(status, output, { usage: usageOf(usage), ...detailsOf(finishReason) }));
  }

  readonly errorBody = openAiErrors.errorBody;

  /** The first events of the stream; empty after the first call. */
  #begin(): string {
    if (this.#sequence > 0) return "";
    const response = this.#response("in_progress", []);
    return this.#event("response.created", { response }) + this.#event("response.in_progress", { response });
  }

  #message(): string {
    if (this.#open?.type === "message") return "";
    const closed = this.#close("completed");
    const item: Item = {
      type: "message",
      id: this.#itemId("msg", this.#closed.length),
      at: this.#closed.length,
      text: "",
    };
    this.#open = item;
    return closed + this.#added(item) + this.#part("response.content_part.added", item);
  }

  #call({ id: callId, name }: CallHead): string {
    if (callId === undefined || name === undefined) return "";
    const closed = this.#close("completed");
    this.repeatedBytes += utf8Bytes(callId) + utf8Bytes(name);
    this.#open = this.#itemOf({ id: callId, name, arguments: "" }, this.#closed.length);
    return closed + this.#added(this.#open);
  }

  #itemOf({ id: callId, name, arguments: text }: ToolCall, at: number): Item {
    return { type: "function_call", id: this.#itemId("fc", at), at, callId, name, text };
  }

  #added(item: Item): string {
    const begun = item.type === "message" ? { ...shown(item, "in_progress"), content: [] } : shown(item, "in_progress");
    return this.#event("response.output_item.added", { output_index: item.at, item: begun });
  }

  #delta(type: string, delta: string, members: object): string {
    const item = this.#open;
    if (item === null) return "";
    this.#text.add(delta);
    this.#repeatedChars += delta.length;
    this.repeatedBytes += utf8Bytes(delta);
    return this.#event(type, { item_id: item.id, output_index: item.at, ...members, delta });
  }

  #part(type: string, item: Item): string {
    const part = textPart(item.text);
    return this.#event(type, { item_id: item.id, output_index: item.at, content_index: 0, part });
  }

  #close(status: Status): string {
    const item = this.#open;
    if (item === null) return "";
    this.#open = null;
    item.text = this.#text.take();
    const whole = shown(item, status);
    this.#closed.push(whole);
    const at = { item_id: item.id, output_index: item.at };
    const done =
      item.type === "message"
        ? this.#event("response.output_text.done", { ...at, content_index: 0, text: item.text, logprobs: [] }) +
          this.#part("response.content_part.done", item)
        : this.#event("response.function_call_arguments.done", { ...at, name: item.name, arguments: item.text });
    return done + this.#event("response.output_item.done", { output_index: item.at, item: whole });
  }

  #itemId(prefix: string, at: number): string {
    return `${prefix}_${this.#head.jobId}_${at}`;
  }

  #event(type: string, members: object): string {
    const data = JSON.stringify({ type, sequence_number: this.#sequence, ...members });
    this.#sequence += 1;
    return `event: ${type}\ndata: ${data}\n\n`;
  }

  #response(status: Status | "failed", output: readonly object[], members: object = {}): object {
    const { createdSeconds, model, echo } = this.#head;
    return {
      id: this.#id,
      object: "response",
      created_at: createdSeconds,
      status,
      background: false,
      error: null,
      incomplete_details: null,
      model,
      output,
      previous_response_id: null,
      reasoning: { effort: null, summary: null },
      service_tier: "default",
      store: false,
      truncation: "disabled",
      metadata: {},
      ...echo,
      usage: null,
      ...members,
    };
  }
}

function shown(item: Item, status: Status): object {
  const { id, text } = item;
  if (item.type === "message") {
    return { id, type: "message", status, role: "assistant", content: [textPart(text)] };
  }
  return { id, type: "function_call", status, call_id: item.callId, name: item.name, arguments: text };
}

const textPart = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] });

function statusOf(reason: FinishReason): "completed" | "incomplete" {
  return reason === "stop" || reason === "tool_calls" ? "completed" : "incomplete";
}

function detailsOf(reason: FinishReason): object {
  if (statusOf(reason) === "completed") return {};
  return { incomplete_details: { reason: reason === "length" ? "max_output_tokens" : reason } };
}

function usageOf({ promptTokens, completionTokens, reasoningTokens = 0 }: Usage): object {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}
