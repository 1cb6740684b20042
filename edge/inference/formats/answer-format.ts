/**
 * Writes answers in the form that a client expects. Each API dialect has one implementation; `answer-formats.ts`
 * selects it, and `answers/` sends its output.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { FinishReason, TokenLogprob, ToolCall, Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";

/** The API that a client uses. `embedding-format.ts` writes embeddings. */
export type AnswerDialect = "chat" | "completion" | "embedding" | "responses" | "messages" | "token-count";

export interface AnswerHead {
  readonly jobId: string;
  readonly format: AnswerDialect;
  readonly model: string;
  readonly createdSeconds: number;
  readonly includeUsage: boolean;
  readonly encodingFormat?: "float" | "base64" | undefined;
  /** For APIs whose errors name the request. */
  readonly requestId: string;
  /** Members of the request that the answer repeats, in APIs that repeat some. */
  readonly echo?: Readonly<Record<string, unknown>> | undefined;
}

/** The start of a tool call. With only an index, the call that started before continues. */
export interface CallHead {
  readonly index: number;
  readonly id?: string | undefined;
  readonly name?: string | undefined;
}

export interface WholeChoice {
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  readonly logprobs?: readonly TokenLogprob[] | undefined;
  readonly finishReason: FinishReason;
  /** The stop sequence that ended the answer, if it is known. */
  readonly stopSequence?: string | undefined;
}

/**
 * Writes one answer. Each answer has its own instance, which remembers the events that it has written. Each method
 * returns the text to send next, or `""`. `choice` is the index of the choice. For each choice `text` and `toolCall`
 * are called first, then `finish`; `end` follows the last `finish`.
 */
export interface AnswerFormat {
  /** @param logprobs of the tokens of this text, if the request asks for them */
  text(choice: number, text: string, logprobs?: readonly TokenLogprob[]): string;
  toolCall(choice: number, call: CallHead, piece: string): string;
  finish(choice: number, reason: FinishReason, stopSequence?: string): string;
  /** @param usage of all choices together */
  end(usage: Usage): string;
  /** An error after the first byte of a stream. Nothing follows it. */
  error(code: ErrorCode, details?: ErrorDetails): string;
  /** What a stream sends when it is idle. */
  keepAlive(): string;
  /** The body of an answer in one piece. */
  whole(choices: readonly WholeChoice[], usage: Usage): string;
  /** The body of an error that is sent instead of an answer. */
  errorBody(code: ErrorCode, details?: ErrorDetails): string;
  /** Whether a stream has more text than its last events can repeat; absent if they repeat nothing. */
  readonly isTooLong?: boolean;
  /** UTF-8 bytes that a stream keeps because its last events repeat them; absent if they repeat nothing. */
  readonly repeatedBytes?: number;
}

/**
 * A comment of a server-sent event stream: one line. A blank line after it would be an empty event to clients that
 * dispatch at every blank line, such as openai-go before 3.64.
 */
export function comment(text: string): string {
  return `: ${text}\n`;
}
