/** How long an answer in text may be. A worker may send more, by mistake or to make its client pay. Pure. */
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobRequest } from "../../../schema/wire/worker-frames.ts";

/** In tokens: what the client allowed, else the model's context, as its worker's manifest says it. */
export function mostAnswerTokens(request: JobRequest, contextTokens: number): number {
  return ("maxTokens" in request ? request.maxTokens : undefined) ?? contextTokens;
}

/** In bytes of UTF-8, the heads of tool calls included. */
export function mostAnswerBytes(request: JobRequest, contextTokens: number): number {
  const bytes = mostAnswerTokens(request, contextTokens) * LIMITS.tokenBytes + LIMITS.answerSlackBytes;
  return Math.min(bytes, LIMITS.answerBytes);
}

/** How to refuse an answer that is too large by itself, so that asking again is in vain. */
export interface TooLarge {
  readonly code: "inference/answer-too-large";
  readonly message: string;
  readonly remedy: string;
}

const MIB = 1024 * 1024;

/** All vectors of a request, by the length of one: known as soon as its first vector is. */
export function vectorsTooLarge(inputs: number, vectorBytes: number): TooLarge | null {
  if (inputs * vectorBytes <= LIMITS.keyAnswerBytes) return null;
  return {
    code: "inference/answer-too-large",
    message: `${inputs} vectors of ${vectorBytes / 4} numbers are more than ${LIMITS.keyAnswerBytes / MIB} MiB, the most of one answer.`,
    remedy: `Send at most ${Math.floor(LIMITS.keyAnswerBytes / vectorBytes)} inputs in a request.`,
  };
}

/** The texts and log probabilities of all choices, for an answer in one piece. */
export function textTooLarge(bytes: number): TooLarge | null {
  if (bytes <= LIMITS.wholeTextBytes) return null;
  return {
    code: "inference/answer-too-large",
    message: `The answer is longer than ${LIMITS.wholeTextBytes / MIB} MiB, the most of one that is not streamed.`,
    remedy: "Ask for a stream, or for fewer choices, tokens or log probabilities.",
  };
}
