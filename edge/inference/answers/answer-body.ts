/** The body of one answer, for a client that may read slowly, or not at all. */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { AnswerEvents } from "./answer.ts";

const ENCODER = new TextEncoder();
/** The most UTF-8 bytes of one UTF-16 unit. */
const UTF8_BYTES_PER_CHAR = 3;

/**
 * Writes one piece at a time and waits until it is read, because the runtime would buffer any number of bytes. The
 * bytes that a client leaves unread are bounded. A client that reads nothing for `LIMITS.readerStallMs` loses its
 * answer.
 */
export class AnswerBody {
  readonly readable: ReadableStream<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #events: AnswerEvents;
  #pending = "";
  /** The text after `#pending`. It is generated only as the client reads. */
  #pieces: Iterator<string> | null = null;
  #buffer = new Uint8Array();
  /** UTF-8 bytes that the client has not read: pending bytes, and the bytes of the current write. */
  #unreadBytes = 0;
  #lastWriteMs: number;
  #hasEnded = false;
  isWriting = false;
  closed = false;

  constructor(nowMs: number, events: AnswerEvents) {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => this.giveUp("inference/cancelled"));
    this.#events = events;
    this.#lastWriteMs = nowMs;
  }

  silentMs(nowMs: number): number {
    return nowMs - this.#lastWriteMs;
  }

  write(text: string): void {
    if (this.#hasEnded || text === "") return;
    const bytes = utf8Bytes(text);
    // Check before adding this piece, because the last events of some formats repeat the whole answer.
    if (this.#unreadBytes > LIMITS.readerBufferBytes || !this.#events.unread(bytes)) {
      this.giveUp("inference/slow-reader");
      return;
    }
    this.#pending += text;
    this.#unreadBytes += bytes;
    if (!this.isWriting) void this.#pump();
  }

  end(): void {
    this.#hasEnded = true;
    if (!this.closed && !this.isWriting) void this.#pump();
  }

  /**
   * Writes the rest of the body and ends it. The lane already counts the memory from which the pieces are generated, so
   * the pieces are not counted here.
   */
  endWith(pieces: Iterable<string>): void {
    if (this.#hasEnded) return;
    this.#pieces = pieces[Symbol.iterator]();
    this.end();
  }

  /** Closes the answer of a client that has stopped reading. */
  check(nowMs: number): void {
    if (this.isWriting && this.silentMs(nowMs) >= LIMITS.readerStallMs) this.giveUp("inference/slow-reader");
  }

  giveUp(code: ErrorCode): void {
    if (this.closed) return;
    const hadEnded = this.#hasEnded;
    this.#hasEnded = true;
    this.#close();
    this.#writer.abort(code).catch(() => {});
    if (!hadEnded) this.#events.gone(code);
  }

  async #pump(): Promise<void> {
    this.isWriting = true;
    try {
      for (;;) {
        const counted = ENCODER.encode(this.#pending);
        this.#pending = "";
        const bytes = counted.byteLength > 0 ? counted : this.#encoded(this.#nextPieces());
        if (bytes.byteLength === 0) break;
        await this.#writer.write(bytes);
        if (this.closed) return;
        this.#unreadBytes -= counted.byteLength;
        this.#events.unread(-counted.byteLength);
        this.#lastWriteMs = Date.now();
      }
      if (!this.#hasEnded) return;
      await this.#writer.close();
      this.#close();
    } catch {
      this.giveUp("inference/cancelled");
    } finally {
      this.isWriting = false;
    }
  }

  /** Encodes into one buffer, whose earlier content has been read. The runtime would free new buffers late. */
  #encoded(text: string): Uint8Array {
    if (this.#buffer.byteLength < text.length * UTF8_BYTES_PER_CHAR) {
      this.#buffer = new Uint8Array(text.length * UTF8_BYTES_PER_CHAR);
    }
    return this.#buffer.subarray(0, ENCODER.encodeInto(text, this.#buffer).written);
  }

  /** Joins small pieces, so that they share one write. */
  #nextPieces(): string {
    let text = "";
    while (this.#pieces && text.length < LIMITS.answerPieceChars) {
      const { done, value } = this.#pieces.next();
      if (done) this.#pieces = null;
      else text += value;
    }
    return text;
  }

  #close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#pending = "";
    this.#pieces = null;
    this.#buffer = new Uint8Array();
    this.#events.unread(-this.#unreadBytes);
    this.#unreadBytes = 0;
    this.#events.closed();
  }
}
