/**
 * How an answer is written for its client. One implementation per API dialect; `answer-formats.ts` picks it, and
 * `answers/` sends what it writes. Pure.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { FinishReason, TokenLogprob, ToolCall, Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";

/** Which dialect a client speaks; embeddings are written by `embedding-format.ts`. */
export type AnswerDialect = "chat" | "completion" | "embedding" | "responses" | "messages" | "token-count";

export interface AnswerHead {
  readonly jobId: string;
  readonly format: AnswerDialect;
  readonly model: string;
  readonly createdSeconds: number;
  readonly includeUsage: boolean;
  readonly encodingFormat?: "float" | "base64" | undefined;
  /** Where errors name the request. */
  readonly requestId: string;
  /** What the answer repeats of its request, in the API that does so. */
  readonly echo?: Readonly<Record<string, unknown>> | undefined;
}

/** A call, or with only its index the one that began before; the piece of arguments comes beside. */
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
  /** The stop sequence at which the answer ended, where that is known. */
  readonly stopSequence?: string | undefined;
}

/**
 * Writes one answer, so each answer has a format of its own: it remembers which first events it has written. Each
 * method returns the text to send next, `""` for nothing. `choice` is the index of the choice; each choice is written
 * in the order `text` and `toolCall`, then `finish`; `end` follows the last `finish`.
 */
export interface AnswerFormat {
  /** @param logprobs of the tokens of this text, where the request asks for them */
  text(choice: number, text: string, logprobs?: readonly TokenLogprob[]): string;
  toolCall(choice: number, call: CallHead, piece: string): string;
  finish(choice: number, reason: FinishReason, stopSequence?: string): string;
  /** The usage is that of all choices together. */
  end(usage: Usage): string;
  /** An error after the first byte of a stream. Nothing follows it. */
  error(code: ErrorCode, details?: ErrorDetails): string;
  /** What a stream says when nothing else is to say. */
  keepAlive(): string;
  /** The body of an answer in one piece. */
  whole(choices: readonly WholeChoice[], usage: Usage): string;
  /** The body of an error in the place of an answer. */
  errorBody(code: ErrorCode, details?: ErrorDetails): string;
  /** Whether a stream has more text than this format can repeat at its end; absent where the end repeats nothing. */
  readonly isTooLong?: boolean;
  /** What a stream holds to repeat it at its end; absent where the end repeats nothing. */
  readonly repeatedBytes?: number;
}

/**
 * A comment of a server-sent event stream: one line. A blank line after it would be an empty event to clients that
 * dispatch at every blank line, such as openai-go before 3.64.
 */
export function comment(text: string): string {
  return `: ${text}\n`;
}
