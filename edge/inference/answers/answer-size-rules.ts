/** Limits the size of an answer. A worker may send more by mistake, or to make its client pay for more. */
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobRequest } from "../../../schema/wire/worker-frames.ts";

/** The most tokens of an answer: the client's limit, or else the context of the model, from the worker's manifest. */
export function mostAnswerTokens(request: JobRequest, contextTokens: number): number {
  return ("maxTokens" in request ? request.maxTokens : undefined) ?? contextTokens;
}

/** The most UTF-8 bytes of an answer, with ids and names of tool calls. */
export function mostAnswerBytes(request: JobRequest, contextTokens: number): number {
  const bytes = mostAnswerTokens(request, contextTokens) * LIMITS.tokenBytes + LIMITS.answerSlackBytes;
  return Math.min(bytes, LIMITS.answerBytes);
}

/** Ends a job whose answer is too large in itself: a retry would fail in the same way. */
export interface TooLarge {
  readonly code: "inference/answer-too-large";
  readonly message: string;
  readonly remedy: string;
}

const MIB = 1024 * 1024;

/**
 * The refusal if all vectors of a request together are too large; otherwise null. All vectors have the length of the
 * first, so it can be called when the first arrives.
 */
export function vectorsTooLarge(inputs: number, vectorBytes: number): TooLarge | null {
  if (inputs * vectorBytes <= LIMITS.keyAnswerBytes) return null;
  return {
    code: "inference/answer-too-large",
    message: `${inputs} vectors of ${vectorBytes / 4} numbers are more than ${LIMITS.keyAnswerBytes / MIB} MiB, the most of one answer.`,
    remedy: `Send at most ${Math.floor(LIMITS.keyAnswerBytes / vectorBytes)} inputs in a request.`,
  };
}

/**
 * The refusal if the texts and log probabilities of all choices together are too large for an answer that is not
 * streamed; otherwise null.
 */
export function textTooLarge(bytes: number): TooLarge | null {
  if (bytes <= LIMITS.wholeTextBytes) return null;
  return {
    code: "inference/answer-too-large",
    message: `The answer is longer than ${LIMITS.wholeTextBytes / MIB} MiB, the most of an answer that is not streamed.`,
    remedy: "Ask for a stream, or for fewer choices, tokens or log probabilities.",
  };
}
