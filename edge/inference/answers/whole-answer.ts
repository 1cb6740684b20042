import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";
import { errorResponse } from "../../http/errors.ts";
import type { AnswerFormat, AnswerHead } from "../formats/answer-format.ts";
import { answerFormat } from "../formats/answer-formats.ts";
import { embeddingPieces } from "../formats/embedding-format.ts";
import { type PartEnd, servedTogether } from "../jobs/job-group-tracker.ts";
import { type Answer, type AnswerEvents, servedHeaders } from "./answer.ts";
import { AnswerBody } from "./answer-body.ts";

const JSON_BODY = { "content-type": "application/json" };

/**
 * An answer in one piece. Its status waits up to `statusHoldMs` for the answer or its failure, so that a failure is an
 * error status. After that hold the status is 200, and the pool writes white space before the JSON (RFC 8259 section 2
 * allows it): proxies close silent connections, and a failed write shows that the client has disconnected. A failure
 * after the hold is an error body under that 200.
 */
export class WholeAnswer implements Answer {
  readonly response: Promise<Response>;
  #resolve: (response: Response) => void = () => {};
  readonly #head: AnswerHead;
  readonly #format: AnswerFormat;
  readonly #events: AnswerEvents;
  #body: AnswerBody | null = null;
  #hasEnded = false;
  #nextSpaceMs: number;

  constructor(head: AnswerHead, nowMs: number, statusHoldMs: number, events: AnswerEvents) {
    this.#head = head;
    this.#format = answerFormat(head);
    this.#events = events;
    this.#nextSpaceMs = nowMs + statusHoldMs;
    this.response = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get closed(): boolean {
    return this.#body ? this.#body.closed : this.#hasEnded;
  }

  accepted(): void {}
  text(): void {}
  finished(): void {}

  idle(nowMs: number): void {
    if (this.closed) return;
    this.#body?.check(nowMs);
    if (this.#hasEnded || this.#body?.isWriting || nowMs < this.#nextSpaceMs) return;
    this.#nextSpaceMs = nowMs + LIMITS.wholeSpaceMs;
    this.#open({}).write(" ");
  }

  done(ends: readonly PartEnd[], usage: Usage): void {
    const headers = servedHeaders(servedTogether(ends));
    if (this.#head.format === "embedding") {
      const vectors = ends.flatMap((end) => end.vectors);
      this.#end(embeddingPieces(this.#head, vectors, usage), headers);
      return;
    }
    const choices = ends.map(({ text = "", toolCalls = [], logprobs = [], finishReason, stopSequence }) => {
      const shown = logprobs.length > 0 ? logprobs : undefined;
      return { text, toolCalls, logprobs: shown, finishReason, stopSequence };
    });
    const body = this.#format.whole(choices, usage);
    // Send a body that fits one write as it is: a slow reader cannot block it.
    if (this.#body || body.length > LIMITS.answerPieceChars) this.#end(slicesOf(body), headers);
    else this.#respond(new Response(body, { headers: { ...JSON_BODY, ...headers } }));
  }

  failed(code: ErrorCode, details?: ErrorDetails): void {
    const body = this.#format.errorBody(code, details);
    if (this.#body) this.#end([body], {});
    else this.#respond(errorResponse(code, details, body));
  }

  #respond(response: Response): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#resolve(response);
    this.#events.closed();
  }

  #end(pieces: Iterable<string>, headers: Record<string, string>): void {
    this.#hasEnded = true;
    this.#open(headers).endWith(pieces);
  }

  #open(headers: Record<string, string>): AnswerBody {
    if (this.#body) return this.#body;
    this.#body = new AnswerBody(Date.now(), this.#events);
    this.#resolve(new Response(this.#body.readable, { headers: { ...JSON_BODY, ...headers } }));
    return this.#body;
  }
}

/** Cuts the body into slices, so that a client that reads slowly is not mistaken for a client that reads nothing. */
function* slicesOf(text: string): Generator<string> {
  for (let from = 0; from < text.length; ) {
    let to = Math.min(text.length, from + LIMITS.answerPieceChars);
    // A slice must not end inside a surrogate pair: half a pair has no UTF-8.
    if (to < text.length && isHighSurrogate(text.charCodeAt(to - 1))) to -= 1;
    yield text.slice(from, to);
    from = to;
  }
}

const isHighSurrogate = (unit: number) => unit >= 0xd800 && unit <= 0xdbff;
