/**
 * What a worker may say of a job beside plain text (docs/spec/workers.md#socket-protocol): tool calls and vectors, in order, of the kind that was
 * asked for. Pure: a frame that breaks a rule is answered by its reason.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { AgentFrame, JobKind, JobRequest, TokenLogprob } from "../../../schema/wire/worker-frames.ts";
import { decodeVector } from "./vector-bytes.ts";

type Frame<T extends AgentFrame["type"]> = Extract<AgentFrame, { type: T }>;

interface Asked {
  readonly kind: JobKind;
  readonly request: JobRequest;
}

/** Of one lease: another worker starts anew. */
export interface Said {
  toolCalls: number;
  vectors: Uint8Array[];
  /** Of text that has not come yet, or of a whole answer. */
  logprobs: TokenLogprob[];
}

export const nothingSaid = (): Said => ({ toolCalls: 0, vectors: [], logprobs: [] });

/** The reason against log probabilities, null when there is none; keeps them. */
export function hearLogprobs({ request }: Asked, said: Said, { tokens }: Frame<"logprobs">): string | null {
  const most = "topLogprobs" in request ? request.topLogprobs : undefined;
  if (most === undefined) return "log probabilities that nobody asked for";
  if (tokens.some(({ top }) => top.length > most)) return "more likely tokens than were asked for";
  said.logprobs.push(...tokens);
  const isTooMany = request.stream && said.logprobs.length > LIMITS.logprobsBeforeText;
  return isTooMany ? "log probabilities of more tokens than one piece of text has" : null;
}

/** What they cost to keep. */
export function bytesOfLogprobs(tokens: readonly TokenLogprob[]): number {
  return tokens.reduce(
    (sum, { token, top }) =>
      top.reduce((all, one) => all + utf8Bytes(one.token) + LIMITS.logprobBytes, sum) +
      utf8Bytes(token) +
      LIMITS.logprobBytes,
    0,
  );
}

/** The reason against a delta, null when there is none; counts the calls. */
export function hearDelta({ request }: Asked, said: Said, { toolCall, text }: Frame<"delta">): string | null {
  if (!request.stream) return "a delta for a job that is not streamed";
  if (!toolCall) return said.toolCalls > 0 && text !== "" ? "text after a tool call" : null;
  const begins = toolCall.id !== undefined && toolCall.name !== undefined;
  if (begins) {
    if (toolCall.index !== said.toolCalls) return "a tool call out of order";
    const reason = againstCalls(request, [{ name: toolCall.name ?? "" }], said.toolCalls);
    if (reason === null) said.toolCalls += 1;
    return reason;
  }
  const belongs = toolCall.id === undefined && toolCall.name === undefined && toolCall.index === said.toolCalls - 1;
  return belongs ? null : "a piece of a tool call that has not begun";
}

/** The reason against a vector, null when there is none; keeps the vector. */
export function hearVector({ request }: Asked, said: Said, frame: Frame<"vector">): string | null {
  if (!("input" in request)) return "a vector for a job that asked for text";
  if (frame.index !== said.vectors.length || frame.index >= request.input.length) return "a vector out of order";
  const bytes = decodeVector(frame.vector);
  if (bytes === null || bytes.length % 4 !== 0) return "a vector that is not base64 of float32";
  if (bytes.length === 0 || bytes.length > LIMITS.embeddingDimensions * 4) return "a vector of impossible length";
  if (bytes.length !== (said.vectors[0] ?? bytes).length) return "vectors of different lengths";
  if (request.dimensions !== undefined && bytes.length !== request.dimensions * 4) {
    return "a vector of another length than was asked for";
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += 4) {
    if (!Number.isFinite(view.getFloat32(at, true))) return "a vector with a value that is no number";
  }
  said.vectors.push(bytes);
  return null;
}

/** The reason against the end, null when there is none; counts the calls of a whole answer. */
export function hearDone({ request }: Asked, said: Said, frame: Frame<"done">): string | null {
  if ("input" in request) {
    if (
      frame.text !== undefined ||
      frame.toolCalls ||
      frame.stopSequence !== undefined ||
      frame.countedTokens !== undefined
    )
      return "text for a job that asked for vectors";
    if (frame.finishReason !== "stop") return "embeddings are complete, or they fail";
    return said.vectors.length === request.input.length ? null : "fewer vectors than inputs";
  }
  const counts = "countTokens" in request && request.countTokens === true;
  if (counts !== (frame.countedTokens !== undefined)) return "counted tokens belong to jobs that count, and only there";
  if (counts && (frame.text !== "" || frame.usage.promptTokens + frame.usage.completionTokens > 0)) {
    return "an answer to a job that only counts";
  }
  if (
    frame.stopSequence !== undefined &&
    !(frame.finishReason === "stop" && request.stop?.includes(frame.stopSequence))
  ) {
    return "a stop sequence that the request does not have";
  }
  if (request.stream === (frame.text !== undefined) || (request.stream && frame.toolCalls)) {
    return "text in done belongs to jobs that are not streamed, and only there";
  }
  const calls = frame.toolCalls ?? [];
  const reason = againstCalls(request, calls, 0);
  if (reason !== null) return reason;
  said.toolCalls += calls.length;
  if (frame.finishReason === "tool_calls" && said.toolCalls === 0) return "an end by tool calls without one";
  return frame.finishReason === "stop" && said.toolCalls > 0 ? "tool calls that the end does not name" : null;
}

function againstCalls(request: JobRequest, calls: readonly { name: string }[], before: number): string | null {
  if (calls.length === 0) return null;
  const tools = "tools" in request ? (request.tools ?? []) : [];
  if (!calls.every(({ name }) => tools.some((tool) => tool.name === name)))
    return "a call of a tool that nobody offered";
  const most = "parallelToolCalls" in request && request.parallelToolCalls === false ? 1 : LIMITS.toolCallsPerMessage;
  return before + calls.length > most ? "more tool calls than were allowed" : null;
}
