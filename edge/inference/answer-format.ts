/** How an answer is written for an OpenAI client (SPEC 5.1): whole bodies and `chat.completion.chunk` events. Pure. */

import { toBase64 } from "../../schema/crypto/bytes.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { FinishReason, JobKind, ToolCall, Usage } from "../../schema/wire/worker-frames.ts";
import { type ErrorDetails, errorBody } from "../http/errors.ts";

export interface AnswerHead {
  readonly jobId: string;
  readonly kind: JobKind;
  readonly model: string;
  readonly createdSeconds: number;
  readonly includeUsage: boolean;
  readonly encodingFormat?: "float" | "base64" | undefined;
}

/** A call, or with only its index the one that began before; the piece of arguments comes beside. */
export interface CallHead {
  readonly index: number;
  readonly id?: string | undefined;
  readonly name?: string | undefined;
}

export const DONE_EVENT = "data: [DONE]\n\n";

/** Every chunk of one stream shares its head and tail: they are made once, and only the delta is serialised per frame. */
export function chunkWriter(head: AnswerHead) {
  const chat = head.kind === "chat";
  const fixed = JSON.stringify({
    id: answerId(head),
    object: chat ? "chat.completion.chunk" : "text_completion",
    created: head.createdSeconds,
    model: head.model,
  }).slice(0, -1);
  const usageNull = head.includeUsage ? ',"usage":null' : "";
  const choice = (inner: string, finish: string) =>
    `data: ${fixed},"choices":[{"index":0,${inner},"logprobs":null,"finish_reason":${finish}}]${usageNull}}\n\n`;
  return {
    /** The first event of a chat says who speaks; a completion has none. */
    role: (content: "" | null = "") =>
      chat ? choice(`"delta":{"role":"assistant","content":${JSON.stringify(content)}}`, "null") : "",
    text: (text: string) =>
      choice(chat ? `"delta":{"content":${JSON.stringify(text)}}` : `"text":${JSON.stringify(text)}`, "null"),
    toolCall: ({ index, id, name }: CallHead, piece: string) => {
      const head = id === undefined ? { index } : { index, id, type: "function" };
      const call = { ...head, function: { ...(name !== undefined && { name }), arguments: piece } };
      return choice(`"delta":{"tool_calls":[${JSON.stringify(call)}]}`, "null");
    },
    finish: (reason: FinishReason) => choice(chat ? '"delta":{}' : '"text":""', `"${reason}"`),
    usage: (usage: Usage) =>
      head.includeUsage ? `data: ${fixed},"choices":[],"usage":${JSON.stringify(usageBody(usage))}}\n\n` : "",
  };
}

/** An error after the first byte: a `data:` line, and no `[DONE]`. */
export function errorEvent(code: ErrorCode, details: ErrorDetails = {}): string {
  return `data: ${JSON.stringify(errorBody(code, details))}\n\n`;
}

export interface WholeText {
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  readonly finishReason: FinishReason;
  readonly usage: Usage;
}

export function wholeAnswer(head: AnswerHead, { text, toolCalls, finishReason, usage }: WholeText): string {
  const base = { id: answerId(head), created: head.createdSeconds, model: head.model, usage: usageBody(usage) };
  const choice = { index: 0, logprobs: null, finish_reason: finishReason };
  return JSON.stringify(
    head.kind === "chat"
      ? {
          ...base,
          object: "chat.completion",
          choices: [{ ...choice, message: assistantMessage(text, toolCalls) }],
        }
      : { ...base, object: "text_completion", choices: [{ ...choice, text }] },
  );
}

function assistantMessage(text: string, toolCalls: readonly ToolCall[]) {
  const message = { role: "assistant", content: text, refusal: null };
  if (toolCalls.length === 0) return message;
  const calls = toolCalls.map(({ id, name, arguments: given }) => ({
    id,
    type: "function",
    function: { name, arguments: given },
  }));
  return { ...message, content: text === "" ? null : text, tool_calls: calls };
}

/** @param vectors bytes of float32, little-endian: what the format base64 shows as it is */
export function embeddingAnswer(head: AnswerHead, vectors: readonly Uint8Array[], usage: Usage): string {
  const data = vectors.map((bytes, index) => {
    const embedding = head.encodingFormat === "base64" ? toBase64(bytes) : floats(bytes);
    return { object: "embedding", index, embedding };
  });
  const { promptTokens } = usage;
  const counted = { prompt_tokens: promptTokens, total_tokens: promptTokens };
  return JSON.stringify({ object: "list", data, model: head.model, usage: counted });
}

function floats(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

function answerId(head: AnswerHead): string {
  return `${head.kind === "chat" ? "chatcmpl" : "cmpl"}-${head.jobId}`;
}

function usageBody(usage: Usage) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
  };
}
