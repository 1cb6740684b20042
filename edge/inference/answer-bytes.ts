/** How long an answer in text may be. A worker may send more, by mistake or to make its client pay. Pure. */
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobRequest } from "../../schema/wire/worker-frames.ts";

/** In tokens: what the client allowed, else the model's context, as its worker's manifest says it. */
export function mostAnswerTokens(request: JobRequest, contextTokens: number): number {
  return ("maxTokens" in request ? request.maxTokens : undefined) ?? contextTokens;
}

/** In bytes of UTF-8, the heads of tool calls included. */
export function mostAnswerBytes(request: JobRequest, contextTokens: number): number {
  const bytes = mostAnswerTokens(request, contextTokens) * LIMITS.tokenBytes + LIMITS.answerSlackBytes;
  return Math.min(bytes, LIMITS.answerBytes);
}
