/** What the lane says to an answer, whichever way it reaches its client: `whole-answer.ts`, `streamed-answer.ts`. */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { FinishReason, TokenLogprob, Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";
import type { CallHead } from "../formats/answer-format.ts";
import type { PartEnd } from "../jobs/job-group-rules.ts";

export interface Served {
  readonly workerId: string;
  readonly queuedMs: number;
  /** Whether the same request with the same seed gives the same answer there. */
  readonly deterministic: boolean;
}

export interface TextPiece {
  readonly text: string;
  /** Where the text is of the arguments of a call. */
  readonly call?: CallHead | undefined;
  readonly logprobs?: readonly TokenLogprob[] | undefined;
}

export interface Answer {
  /** Resolves once, with the HTTP answer. */
  readonly response: Promise<Response>;
  /** A worker has a part of the request and has found nothing wrong with it. */
  accepted(served: Served): void;
  /** A piece of the text of a choice, or of the arguments of a call in it. */
  text(served: Served, choice: number, piece: TextPiece): void;
  /** A choice has ended; others may go on. */
  finished(served: Served, choice: number, reason: FinishReason, stopSequence?: string): void;
  /** All parts have ended well. */
  done(ends: readonly PartEnd[], usage: Usage): void;
  failed(code: ErrorCode, details?: ErrorDetails): void;
  /** Called every tenth of a second or so: keeps an idle connection alive, and gives a stalled reader up. */
  idle(nowMs: number, placeInQueue?: () => number | null): void;
  /** Nothing more is held for the client. */
  readonly closed: boolean;
}

/** What an answer tells the lane. */
export interface AnswerEvents {
  /** The client is gone, or reads too slowly, before the answer has ended. Told once. */
  gone(code: ErrorCode): void;
  /** Nothing more is held for the client. Told once. */
  closed(): void;
  /** The answer holds more bytes until it is closed. False: there is no room for them. */
  keep(bytes: number): boolean;
  /** More bytes wait for the client, or fewer where `bytes` is negative. False: there is no room for them. */
  unread(bytes: number): boolean;
}

export function servedHeaders(served: Served): Record<string, string> {
  return {
    "x-ligand-worker": served.workerId,
    "x-ligand-queue-ms": String(served.queuedMs),
    ...(!served.deterministic && { "x-ligand-deterministic": "false" }),
  };
}
