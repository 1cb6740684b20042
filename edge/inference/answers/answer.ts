/**
 * The answer to one request, as the lane writes it. `whole-answer.ts` writes it in one piece, `streamed-answer.ts` as
 * events.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { FinishReason, TokenLogprob, Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";
import type { CallHead } from "../formats/answer-format.ts";
import type { PartEnd, Served } from "../jobs/job-group-tracker.ts";

export interface TextPiece {
  readonly text: string;
  /** Set if the text is a piece of the arguments of this tool call. */
  readonly call?: CallHead | undefined;
  readonly logprobs?: readonly TokenLogprob[] | undefined;
}

export interface Answer {
  /** Resolves once, with the HTTP answer. */
  readonly response: Promise<Response>;
  /** A worker has started a part of the request. */
  accepted(served: Served): void;
  /** A piece of the text of a choice, or of the arguments of a tool call in it. */
  text(served: Served, choice: number, piece: TextPiece): void;
  /** A choice has ended. Other choices may continue. */
  finished(served: Served, choice: number, reason: FinishReason, stopSequence?: string): void;
  /** All parts are done. */
  done(ends: readonly PartEnd[], usage: Usage): void;
  failed(code: ErrorCode, details?: ErrorDetails): void;
  /**
   * Called about ten times a second: keeps an idle connection alive, and closes the answer of a client that has stopped
   * reading.
   */
  idle(nowMs: number, placeInQueue?: () => number | null): void;
  /** Whether the answer holds nothing more for the client. */
  readonly closed: boolean;
}

/** The reports of an answer to the lane. */
export interface AnswerEvents {
  /** The client disconnected, or reads too slowly, before the answer has ended. Called at most once. */
  gone(code: ErrorCode): void;
  /** The answer holds nothing more for the client. Called once. */
  closed(): void;
  /** The answer needs more memory until it is closed. False: there is no room. */
  hold(bytes: number): boolean;
  /** More bytes wait for the client, or fewer if `bytes` is negative. False: there is no room. */
  unread(bytes: number): boolean;
}

/**
 * The response headers that describe the worker: its id, the time in the queue (ms), and whether it is deterministic.
 */
export function servedHeaders(served: Served): Record<string, string> {
  return {
    "x-ligand-worker": served.workerId,
    "x-ligand-queue-ms": String(served.queuedMs),
    ...(!served.deterministic && { "x-ligand-deterministic": "false" }),
  };
}
