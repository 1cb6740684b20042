/** The two ways an answer reaches its client. I/O only: the lane decides what is sent and when, the format how it reads. */
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { utf8Bytes } from "../../schema/wire/utf8.ts";
import type { FinishReason, ToolCall, Usage } from "../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../http/error-body.ts";
import { errorResponse } from "../http/errors.ts";
import { type AnswerFormat, type AnswerHead, type CallHead, comment } from "./answer-format.ts";
import { answerFormat } from "./answer-formats.ts";
import { embeddingAnswer } from "./embedding-format.ts";

export interface Served {
  readonly workerId: string;
  readonly queuedMs: number;
  /** Whether the same request with the same seed gives the same answer there (SPEC 6.3). */
  readonly deterministic: boolean;
}

export interface AnswerEnd {
  readonly finishReason: FinishReason;
  readonly usage: Usage;
  /** Of an answer in one piece; nothing of a streamed one. */
  readonly text: string | undefined;
  readonly toolCalls: readonly ToolCall[] | undefined;
  /** The one at which the answer ended, where its worker says so. */
  readonly stopSequence?: string | undefined;
  readonly vectors: readonly Uint8Array[];
}

export interface Answer {
  /** Resolves once, with the HTTP answer. */
  readonly response: Promise<Response>;
  /** A worker has the job and has found nothing wrong with it. */
  accepted(served: Served): void;
  /** A piece of the text, or of the arguments of a call. */
  text(served: Served, text: string, call?: CallHead): void;
  done(served: Served, end: AnswerEnd): void;
  failed(code: ErrorCode, details?: ErrorDetails): void;
  /** Called every tenth of a second or so: keeps an idle stream's connection honest, and gives a stalled reader up. */
  idle(nowMs: number, placeInQueue?: () => number | null): void;
  /** Nothing more is held for the client. */
  readonly closed: boolean;
}

/**
 * A body in one piece. Its status waits for the answer or its failure for `statusHoldMs`, so that a failure is an error
 * status. After that hold the status is 200 and the pool writes white space before the JSON (RFC 8259 section 2 allows
 * it): proxies cut silent connections, and a failed write shows that the client is gone. A failure after the hold is an
 * error body under that 200. `onGone` is told when a write fails.
 */
export class WholeAnswer implements Answer {
  readonly response: Promise<Response>;
  #resolve: (response: Response) => void = () => {};
  readonly #head: AnswerHead;
  readonly #format: AnswerFormat;
  readonly #onGone: (code: ErrorCode) => void;
  #writer: WritableStreamDefaultWriter<Uint8Array> | null = null;
  #ended = false;
  #nextSpaceMs: number;

  constructor(head: AnswerHead, nowMs: number, statusHoldMs: number, onGone: (code: ErrorCode) => void) {
    this.#head = head;
    this.#format = answerFormat(head);
    this.#onGone = onGone;
    this.#nextSpaceMs = nowMs + statusHoldMs;
    this.response = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  readonly closed = true;

  accepted(): void {}
  text(): void {}

  idle(nowMs: number): void {
    if (this.#ended || nowMs < this.#nextSpaceMs) return;
    this.#nextSpaceMs = nowMs + LIMITS.wholeSpaceMs;
    if (!this.#writer) {
      const { readable, writable } = new IdentityTransformStream();
      this.#writer = writable.getWriter();
      this.#writer.closed.catch(() => this.#gone());
      this.#resolve(new Response(readable, { headers: JSON_BODY }));
    }
    this.#writer.write(ENCODER.encode(" ")).catch(() => this.#gone());
  }

  done(served: Served, { finishReason, usage, text = "", toolCalls = [], stopSequence, vectors }: AnswerEnd): void {
    const body =
      this.#head.format === "embedding"
        ? embeddingAnswer(this.#head, vectors, usage)
        : this.#format.whole([{ text, toolCalls, finishReason, stopSequence }], usage);
    this.#end(body, () => new Response(body, { headers: { ...JSON_BODY, ...servedHeaders(served) } }));
  }

  failed(code: ErrorCode, details?: ErrorDetails): void {
    const body = this.#format.errorBody(code, details);
    this.#end(body, () => errorResponse(code, details, body));
  }

  #end(body: string, respond: () => Response): void {
    this.#ended = true;
    this.#writer?.write(ENCODER.encode(body)).catch(() => {});
    this.#writer?.close().catch(() => {});
    if (!this.#writer) this.#resolve(respond());
  }

  #gone(): void {
    if (!this.#ended) this.#onGone("inference/cancelled");
  }
}

/**
 * A server-sent event stream. Its status waits for the first word from a worker, a quarter of a second at most, so
 * that an early refusal is an HTTP status and not an event. What the client leaves unread is bounded: past 1 MiB, or
 * when a write fails because the client is gone, `onGone` is told once.
 */
export class StreamedAnswer implements Answer {
  readonly response: Promise<Response>;
  #resolve: (response: Response) => void = () => {};
  readonly #format: AnswerFormat;
  readonly #onGone: (code: ErrorCode) => void;
  readonly #startedMs: number;
  #writer: WritableStreamDefaultWriter<Uint8Array> | null = null;
  #saidServed = false;
  #pending = "";
  /** UTF-8 bytes that the client has not taken: pending, and in the write under way. */
  #unreadBytes = 0;
  #writing = false;
  #ended = false;
  closed = false;
  #lastWriteMs: number;

  constructor(head: AnswerHead, nowMs: number, onGone: (code: ErrorCode) => void) {
    this.#format = answerFormat(head);
    this.#onGone = onGone;
    this.#startedMs = nowMs;
    this.#lastWriteMs = nowMs;
    this.response = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  accepted(served: Served): void {
    this.#open(served);
  }

  text(served: Served, text: string, call?: CallHead): void {
    this.#open(served);
    this.#write(call ? this.#format.toolCall(0, call, text) : this.#format.text(0, text));
    if (this.#format.isTooLong && !this.#ended) this.#onGone("inference/answer-too-long");
  }

  done(served: Served, end: AnswerEnd): void {
    this.#open(served);
    this.#write(this.#format.finish(0, end.finishReason, end.stopSequence) + this.#format.end(end.usage));
    this.#finish();
  }

  failed(code: ErrorCode, details?: ErrorDetails): void {
    if (!this.#writer) {
      this.#ended = true;
      this.closed = true;
      this.#resolve(errorResponse(code, details, this.#format.errorBody(code, details)));
      return;
    }
    this.#write(this.#format.error(code, details));
    this.#finish();
  }

  idle(nowMs: number, placeInQueue: () => number | null = () => null): void {
    if (this.closed) return;
    if (!this.#writer) {
      if (nowMs - this.#startedMs >= LIMITS.streamStatusHoldMs) {
        this.#open(null);
        const place = placeInQueue();
        this.#write(comment(place === null ? "with a worker" : `queued place=${place}`));
      }
      return;
    }
    const sinceMs = nowMs - this.#lastWriteMs;
    if (this.#writing) {
      if (sinceMs >= LIMITS.readerStallMs) this.#gone("inference/slow-reader");
    } else if (sinceMs >= LIMITS.idleStreamCommentMs) {
      // The runtime notices that a client is gone only when it writes.
      this.#write(this.#format.keepAlive());
    }
  }

  /** Sends the status line, with who serves when that is known; a stream that began in the queue says it in a comment. */
  #open(served: Served | null): void {
    if (this.#writer) {
      if (served && !this.#saidServed) {
        this.#saidServed = true;
        const said = Object.entries(servedHeaders(served)).map(([name, value]) => `${name}=${value}`);
        this.#write(comment(said.join(" ")));
      }
      return;
    }
    this.#saidServed = served !== null;
    const { readable, writable } = new IdentityTransformStream();
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => this.#gone("inference/cancelled"));
    this.#resolve(
      new Response(readable, {
        headers: {
          "content-type": "text/event-stream; charset=utf-8",
          "cache-control": "no-cache",
          // Proxies that buffer would undo streaming.
          "x-accel-buffering": "no",
          ...(served ? servedHeaders(served) : {}),
        },
      }),
    );
  }

  #write(text: string): void {
    if (this.#ended || text === "") return;
    // Counted before this piece: the last events of some formats repeat the whole answer.
    const isSlow = this.#unreadBytes > LIMITS.readerBufferBytes;
    this.#pending += text;
    this.#unreadBytes += utf8Bytes(text);
    if (isSlow) this.#gone("inference/slow-reader");
    else if (!this.#writing) void this.#pump();
  }

  async #pump(): Promise<void> {
    const writer = this.#writer;
    if (!writer) return;
    this.#writing = true;
    try {
      while (this.#pending !== "") {
        const bytes = ENCODER.encode(this.#pending);
        this.#pending = "";
        await writer.write(bytes);
        this.#unreadBytes -= bytes.byteLength;
        this.#lastWriteMs = Date.now();
      }
      if (this.#ended && !this.closed) {
        await writer.close();
        this.closed = true;
      }
    } catch {
      this.#gone("inference/cancelled");
    } finally {
      this.#writing = false;
    }
  }

  #finish(): void {
    this.#ended = true;
    if (!this.#writing) void this.#pump();
  }

  #gone(code: ErrorCode): void {
    if (this.closed) return;
    const told = this.#ended;
    this.closed = true;
    this.#ended = true;
    this.#pending = "";
    this.#writer?.abort(code).catch(() => {});
    if (!told) this.#onGone(code);
  }
}

const ENCODER = new TextEncoder();
const JSON_BODY = { "content-type": "application/json" };

function servedHeaders(served: Served): Record<string, string> {
  return {
    "x-ligand-worker": served.workerId,
    "x-ligand-queue-ms": String(served.queuedMs),
    ...(!served.deterministic && { "x-ligand-deterministic": "false" }),
  };
}
