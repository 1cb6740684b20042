/** How large an answer may be. A worker may send more by mistake, or to make its client pay for more. */
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobRequest } from "../../../schema/wire/worker-frames.ts";

/** The most tokens: what the client allows, else the context of the model as the worker's manifest states it. */
export function mostAnswerTokens(request: JobRequest, contextTokens: number): number {
  return ("maxTokens" in request ? request.maxTokens : undefined) ?? contextTokens;
}

/** The most bytes of UTF-8, ids and names of tool calls included. */
export function mostAnswerBytes(request: JobRequest, contextTokens: number): number {
  const bytes = mostAnswerTokens(request, contextTokens) * LIMITS.tokenBytes + LIMITS.answerSlackBytes;
  return Math.min(bytes, LIMITS.answerBytes);
}

/** The refusal of an answer that is too large by itself: a retry would fail in the same way. */
export interface TooLarge {
  readonly code: "inference/answer-too-large";
  readonly message: string;
  readonly remedy: string;
}

const MIB = 1024 * 1024;

/** For all vectors of a request. They have one length, which is known when the first vector arrives. */
export function vectorsTooLarge(inputs: number, vectorBytes: number): TooLarge | null {
  if (inputs * vectorBytes <= LIMITS.keyAnswerBytes) return null;
  return {
    code: "inference/answer-too-large",
    message: `${inputs} vectors of ${vectorBytes / 4} numbers are more than ${LIMITS.keyAnswerBytes / MIB} MiB, the most of one answer.`,
    remedy: `Send at most ${Math.floor(LIMITS.keyAnswerBytes / vectorBytes)} inputs in a request.`,
  };
}

/** For the texts and log probabilities of all choices together, in an answer in one piece. */
export function textTooLarge(bytes: number): TooLarge | null {
  if (bytes <= LIMITS.wholeTextBytes) return null;
  return {
    code: "inference/answer-too-large",
    message: `The answer is longer than ${LIMITS.wholeTextBytes / MIB} MiB, the most of one that is not streamed.`,
    remedy: "Ask for a stream, or for fewer choices, tokens or log probabilities.",
  };
}
