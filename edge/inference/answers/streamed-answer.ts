import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { FinishReason, Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";
import { errorResponse } from "../../http/errors.ts";
import { type AnswerFormat, type AnswerHead, comment } from "../formats/answer-format.ts";
import { answerFormat } from "../formats/answer-formats.ts";
import type { PartEnd, Served } from "../jobs/job-group-tracker.ts";
import { type Answer, type AnswerEvents, servedHeaders, type TextPiece } from "./answer.ts";
import { AnswerBody } from "./answer-body.ts";

/**
 * An answer as a stream of server-sent events. Its status waits for the first frame of a worker, at most
 * `LIMITS.streamStatusHoldMs`, so that an early refusal is an HTTP status and not an event. `AnswerBody` bounds the
 * bytes that the client leaves unread.
 */
export class StreamedAnswer implements Answer {
  readonly response: Promise<Response>;
  #resolve: (response: Response) => void = () => {};
  readonly #format: AnswerFormat;
  readonly #events: AnswerEvents;
  readonly #startedMs: number;
  #body: AnswerBody | null = null;
  #sentServed = false;
  #hasFailed = false;
  #repeatedBytes = 0;

  constructor(head: AnswerHead, nowMs: number, events: AnswerEvents) {
    this.#format = answerFormat(head);
    this.#events = events;
    this.#startedMs = nowMs;
    this.response = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get closed(): boolean {
    return this.#hasFailed || this.#body?.closed === true;
  }

  accepted(served: Served): void {
    this.#open(served);
  }

  text(served: Served, choice: number, { text, call, logprobs }: TextPiece): void {
    const body = this.#open(served);
    body.write(call ? this.#format.toolCall(choice, call, text) : this.#format.text(choice, text, logprobs));
    if (body.closed) return;
    if (this.#format.isTooLong) this.#events.gone("inference/answer-too-long");
    else if (!this.#holdRepeated()) this.#events.gone("inference/answer-room");
  }

  finished(served: Served, choice: number, reason: FinishReason, stopSequence?: string): void {
    this.#open(served).write(this.#format.finish(choice, reason, stopSequence));
  }

  done(ends: readonly PartEnd[], usage: Usage): void {
    const body = this.#open(ends[0]?.served ?? null);
    body.write(this.#format.end(usage));
    body.end();
  }

  failed(code: ErrorCode, details?: ErrorDetails): void {
    if (this.#body) {
      this.#body.write(this.#format.error(code, details));
      this.#body.end();
    } else if (!this.#hasFailed) {
      this.#hasFailed = true;
      this.#resolve(errorResponse(code, details, this.#format.errorBody(code, details)));
      this.#events.closed();
    }
  }

  idle(nowMs: number, placeInQueue: () => number | null = () => null): void {
    if (this.closed) return;
    if (this.#body === null) {
      if (nowMs - this.#startedMs < LIMITS.streamStatusHoldMs) return;
      const place = placeInQueue();
      this.#open(null).write(comment(place === null ? "with a worker" : `queued place=${place}`));
    } else if (this.#body.isWriting) {
      this.#body.check(nowMs);
    } else if (this.#body.silentMs(nowMs) >= LIMITS.idleStreamCommentMs) {
      // Write, because the runtime notices only then that a client has disconnected.
      this.#body.write(this.#format.keepAlive());
    }
  }

  #holdRepeated(): boolean {
    const { repeatedBytes = 0 } = this.#format;
    const more = repeatedBytes - this.#repeatedBytes;
    if (more === 0) return true;
    this.#repeatedBytes = repeatedBytes;
    return this.#events.hold(more);
  }

  /**
   * Sends the status line, with the headers about the worker if one serves the request. A stream that starts while the
   * request is queued sends those later, in a comment.
   */
  #open(served: Served | null): AnswerBody {
    if (this.#body === null) {
      this.#sentServed = served !== null;
      this.#body = new AnswerBody(Date.now(), this.#events);
      const headers = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        // Without it, proxies would buffer the stream.
        "x-accel-buffering": "no",
        ...(served ? servedHeaders(served) : {}),
      };
      this.#resolve(new Response(this.#body.readable, { headers }));
    } else if (served && !this.#sentServed) {
      this.#sentServed = true;
      const headers = Object.entries(servedHeaders(served)).map(([name, value]) => `${name}=${value}`);
      this.#body.write(comment(headers.join(" ")));
    }
    return this.#body;
  }
}
