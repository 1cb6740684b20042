/**
 * Checks the output of a job that a worker sends (docs/spec/workers.md#socket-protocol): text, tool calls, vectors and
 * log probabilities, in order, of the kind that the job asked for. Each `validate…` function returns the rule that a
 * frame breaks, as text. If it returns null, it has stored in `JobOutput` what the checks of later frames need.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { AgentFrame, JobKind, JobRequest, TokenLogprob } from "../../../schema/wire/worker-frames.ts";
import { decodeVector } from "./vector-bytes.ts";

type Frame<T extends AgentFrame["type"]> = Extract<AgentFrame, { type: T }>;

interface RequestedJob {
  readonly kind: JobKind;
  readonly request: JobRequest;
}

/** The output of a job during one lease. The next lease starts with an empty one. */
export interface JobOutput {
  toolCalls: number;
  vectors: Uint8Array[];
  /** For a stream, the log probabilities of text that has not arrived yet; for a whole answer, all of them. */
  logprobs: TokenLogprob[];
}

export const emptyOutput = (): JobOutput => ({ toolCalls: 0, vectors: [], logprobs: [] });

/** Checks log probabilities: requested, not too many alternatives, not too many tokens before their text. */
export function validateLogprobs(
  { request }: RequestedJob,
  output: JobOutput,
  { tokens }: Frame<"logprobs">,
): string | null {
  const most = "topLogprobs" in request ? request.topLogprobs : undefined;
  if (most === undefined) return "log probabilities that the request did not ask for";
  if (tokens.some(({ top }) => top.length > most)) return "more likely tokens than the request asked for";
  output.logprobs.push(...tokens);
  const isTooMany = request.stream && output.logprobs.length > LIMITS.logprobsBeforeText;
  return isTooMany ? "log probabilities of more tokens than one piece of text has" : null;
}

/** The bytes of the lane's memory that log probabilities take. */
export function bytesOfLogprobs(tokens: readonly TokenLogprob[]): number {
  return tokens.reduce(
    (sum, { token, top }) =>
      top.reduce((all, one) => all + utf8Bytes(one.token) + LIMITS.logprobBytes, sum) +
      utf8Bytes(token) +
      LIMITS.logprobBytes,
    0,
  );
}

/** Checks a delta of a streamed job: text, or the next piece of a tool call. */
export function validateDelta(
  { request }: RequestedJob,
  output: JobOutput,
  { toolCall, text }: Frame<"delta">,
): string | null {
  if (!request.stream) return "a delta for a job that is not streamed";
  if (!toolCall) return output.toolCalls > 0 && text !== "" ? "text after a tool call" : null;
  const isFirstPiece = toolCall.id !== undefined && toolCall.name !== undefined;
  if (isFirstPiece) {
    if (toolCall.index !== output.toolCalls) return "a tool call out of order";
    const problem = validateCalls(request, [{ name: toolCall.name ?? "" }], output.toolCalls);
    if (problem === null) output.toolCalls += 1;
    return problem;
  }
  const continuesLastCall =
    toolCall.id === undefined && toolCall.name === undefined && toolCall.index === output.toolCalls - 1;
  return continuesLastCall ? null : "a piece of a tool call that has not begun";
}

/** Checks a vector: its index, base64 of finite float32 numbers, and the length of all other vectors. */
export function validateVector({ request }: RequestedJob, output: JobOutput, frame: Frame<"vector">): string | null {
  if (!("input" in request)) return "a vector for a job that asked for text";
  if (frame.index !== output.vectors.length || frame.index >= request.input.length) return "a vector out of order";
  const bytes = decodeVector(frame.vector);
  if (bytes === null || bytes.length % 4 !== 0) return "a vector that is not base64 of float32";
  if (bytes.length === 0 || bytes.length > LIMITS.embeddingDimensions * 4) return "a vector of impossible length";
  if (bytes.length !== (output.vectors[0] ?? bytes).length) return "vectors of different lengths";
  if (request.dimensions !== undefined && bytes.length !== request.dimensions * 4) {
    return "a vector of another length than the request asked for";
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += 4) {
    if (!Number.isFinite(view.getFloat32(at, true))) return "a vector with a value that is not a finite number";
  }
  output.vectors.push(bytes);
  return null;
}

/** Checks the end of a job against its request and its earlier frames. */
export function validateDone({ request }: RequestedJob, output: JobOutput, frame: Frame<"done">): string | null {
  if ("input" in request) {
    if (
      frame.text !== undefined ||
      frame.toolCalls ||
      frame.stopSequence !== undefined ||
      frame.countedTokens !== undefined
    )
      return "text for a job that asked for vectors";
    if (frame.finishReason !== "stop") return "embeddings that did not end with stop";
    return output.vectors.length === request.input.length ? null : "fewer vectors than inputs";
  }
  const counts = "countTokens" in request && request.countTokens === true;
  if (counts !== (frame.countedTokens !== undefined))
    return "counted tokens in a job that does not count, or none in one that counts";
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
    return "text in the end of a stream, or none in the end of a whole answer";
  }
  const calls = frame.toolCalls ?? [];
  const problem = validateCalls(request, calls, 0);
  if (problem !== null) return problem;
  output.toolCalls += calls.length;
  if (frame.finishReason === "tool_calls" && output.toolCalls === 0)
    return "finish reason tool_calls without a tool call";
  return frame.finishReason === "stop" && output.toolCalls > 0 ? "finish reason stop after tool calls" : null;
}

function validateCalls(request: JobRequest, calls: readonly { name: string }[], before: number): string | null {
  if (calls.length === 0) return null;
  const tools = "tools" in request ? (request.tools ?? []) : [];
  if (!calls.every(({ name }) => tools.some((tool) => tool.name === name)))
    return "a call of a tool that the request does not offer";
  const most = "parallelToolCalls" in request && request.parallelToolCalls === false ? 1 : LIMITS.toolCallsPerMessage;
  return before + calls.length > most ? "more tool calls than the request allows" : null;
}
