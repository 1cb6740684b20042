import { utf8 } from "../../../schema/crypto/bytes.ts";
import type { PeerAudience } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { EventPage } from "../../events/event-log-rpc.ts";

/** The URL with which a route fetches a stream from the peer's `Bond`. */
export const bondStreamUrl = (audience: PeerAudience, since: number) =>
  `https://bond/stream?audience=${audience}&since=${since}`;

/** Reads our log for a stream, and says whether the stream may continue. */
export interface StreamSource {
  /** Resolves with the audience's last number, as soon as it is greater than `since`, or after `waitMs`. */
  changed(since: number, waitMs: number): Promise<number>;
  /** A page that has passed `checkOutgoing`. */
  page(since: number): Promise<Pick<EventPage, "events" | "next">>;
  /** Checks the federation switch and the peer's trust. Called every `LIMITS.streamCheckMs`. */
  mayContinue(): Promise<boolean>;
}

/**
 * One stream: sends the events of one audience to one peer as server-sent events (docs/spec/events.md#sync; WHATWG HTML
 * section 9.2). `id` is the event's number in the audience. A slow reader delays only its own stream, and keeps one
 * page in memory. `OpenStreams` has all streams of a peer.
 */
export class ServedStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly audience: PeerAudience;
  /** The number of the last event that was written. */
  at: number;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #source: StreamSource;
  #hasEnded = false;
  #isWriting = false;

  constructor(source: StreamSource, audience: PeerAudience, since: number) {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.#writer = writable.getWriter();
    this.#source = source;
    this.audience = audience;
    this.at = since;
  }

  /**
   * Resolves when the stream has ended: after `LIMITS.eventStreamMs`, when the reader disconnects, or when permission
   * ends.
   */
  async run(): Promise<void> {
    const checks = setInterval(() => void this.#check(), LIMITS.streamCheckMs);
    const tooLong = setTimeout(() => this.end(), LIMITS.eventStreamMs);
    const left = this.#writer.closed.then(
      () => this.end(),
      () => this.end(),
    );
    try {
      // The first bytes tell the reader that the stream is open.
      await this.#write(": following\n\n");
      while (!this.#hasEnded) await Promise.race([this.#next(), left]);
    } catch {
      // The reader disconnected, or the stream ended during a write.
    } finally {
      clearInterval(checks);
      clearTimeout(tooLong);
      this.end();
    }
  }

  /** Ends the stream immediately, even in the middle of a page. The peer resumes from the last event that it has. */
  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const closed = this.#isWriting ? this.#writer.abort(new Error("the stream has ended")) : this.#writer.close();
    closed.catch(() => {});
  }

  async #write(text: string): Promise<void> {
    this.#isWriting = true;
    await this.#writer.write(utf8(text));
    this.#isWriting = false;
  }

  async #next(): Promise<void> {
    const head = await this.#source.changed(this.at, LIMITS.streamCommentMs);
    if (this.#hasEnded) return;
    if (head <= this.at) {
      await this.#write(": nothing new\n\n");
      return;
    }
    const { events, next } = await this.#source.page(this.at);
    if (this.#hasEnded || events.length === 0) return;
    const frames = events.map((each) => `id: ${each.seq}\ndata: ${JSON.stringify(each)}\n\n`);
    await this.#write(frames.join(""));
    this.at = next;
  }

  async #check(): Promise<void> {
    const may = await this.#source.mayContinue().catch(() => false);
    if (!may) this.end();
  }
}
