/** Shared by the chat and completion formats. */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { Usage } from "../../../schema/wire/worker-frames.ts";
import { type ErrorDetails, errorBody } from "../../http/error-body.ts";
import { type AnswerFormat, type AnswerHead, comment } from "./answer-format.ts";

const DONE_EVENT = "data: [DONE]\n\n";

/** The members that all chunks of a stream share, serialised once: JSON text without its closing brace. */
export function chunkHead(id: string, object: string, { createdSeconds, model }: AnswerHead): string {
  return JSON.stringify({ id, object, created: createdSeconds, model }).slice(0, -1);
}

/**
 * @param inner the members of the choice that differ between the two formats, as JSON text
 * @param logprobs JSON text
 */
export function choiceEvent(
  { fixed, tail }: { readonly fixed: string; readonly tail: string },
  choice: number,
  inner: string,
  { finish = "null", logprobs = "null" }: { readonly finish?: string; readonly logprobs?: string } = {},
): string {
  return `data: ${fixed},"choices":[{"index":${choice},${inner},"logprobs":${logprobs},"finish_reason":${finish}}]${tail}}\n\n`;
}

/** The `usage` member of every chunk but the last: null, if the client asks for the usage. */
export function usageNull({ includeUsage }: AnswerHead): string {
  return includeUsage ? ',"usage":null' : "";
}

/** The end of a stream: the usage, if the client asks for it, and `[DONE]`. */
export function endOfChunks(fixed: string, { includeUsage }: AnswerHead, usage: Usage): string {
  if (!includeUsage) return DONE_EVENT;
  return `data: ${fixed},"choices":[],"usage":${JSON.stringify(usageBody(usage))}}\n\n${DONE_EVENT}`;
}

/** The JSON text of an answer that is not streamed. The choices stay the last member. */
export function wholeAnswer(
  { id, object }: { readonly id: string; readonly object: string },
  { createdSeconds, model }: AnswerHead,
  usage: Usage,
  choices: readonly unknown[],
): string {
  return JSON.stringify({ id, created: createdSeconds, model, usage: usageBody(usage), object, choices });
}

/** The errors of both formats. No `[DONE]` follows an error event. */
export const openAiErrors: Pick<AnswerFormat, "error" | "errorBody" | "keepAlive"> = {
  error: (code: ErrorCode, details?: ErrorDetails) => `data: ${JSON.stringify(errorBody(code, details))}\n\n`,
  errorBody: (code: ErrorCode, details?: ErrorDetails) => JSON.stringify(errorBody(code, details)),
  keepAlive: () => comment("keep-alive"),
};

/** The usage in the form of OpenAI's APIs. */
export function usageBody({ promptTokens, completionTokens, reasoningTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(reasoningTokens !== undefined && { completion_tokens_details: { reasoning_tokens: reasoningTokens } }),
  };
}
