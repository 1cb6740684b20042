import { utf8 } from "../../../schema/crypto/bytes.ts";
import type { PeerAudience } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { EventPage } from "../../events/event-log-object.ts";

/** What a peer's `Bond` is asked for its stream by. */
export const bondStreamUrl = (audience: PeerAudience, since: number) =>
  `https://bond/stream?audience=${audience}&since=${since}`;

/** What a stream reads from, and asks whether it may go on. */
export interface StreamSource {
  /** Resolves with the audience's last number once it is past `since`, or when `waitMs` is over. */
  changed(since: number, waitMs: number): Promise<number>;
  /** Through the door that sees to visibility. */
  page(since: number): Promise<Pick<EventPage, "events" | "next">>;
  /** Asked every half second: the kill switch, and the peer's trust. */
  mayGoOn(): Promise<boolean>;
}

/**
 * Events of one audience to one peer as server-sent events (docs/spec/events.md#sync; WHATWG HTML section 9.2): `id` is the audience's
 * number. A reader that is slow holds its own stream up and keeps nothing in memory but one page.
 */
export class ServedStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly audience: PeerAudience;
  /** The last number that was written. */
  at: number;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #source: StreamSource;
  #ended = false;
  #isWriting = false;

  constructor(source: StreamSource, audience: PeerAudience, since: number) {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.#writer = writable.getWriter();
    this.#source = source;
    this.audience = audience;
    this.at = since;
  }

  /** Runs until its time is over, the reader leaves, or it may not go on. */
  async run(): Promise<void> {
    const checks = setInterval(() => void this.#check(), LIMITS.streamCheckMs);
    const over = setTimeout(() => this.end(), LIMITS.eventStreamMs);
    const left = this.#writer.closed.then(
      () => this.end(),
      () => this.end(),
    );
    try {
      // A first byte at once: whoever follows knows that it does.
      await this.#write(": following\n\n");
      while (!this.#ended) await Promise.race([this.#next(), left]);
    } catch {
      // The reader left, or the stream was ended while it waited to write.
    } finally {
      clearInterval(checks);
      clearTimeout(over);
      this.end();
    }
  }

  /** At once, also in the middle of a page, which a slow reader leaves torn: the peer resumes from what it has. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const gone = this.#isWriting ? this.#writer.abort(new Error("the stream has ended")) : this.#writer.close();
    gone.catch(() => {});
  }

  async #write(text: string): Promise<void> {
    this.#isWriting = true;
    await this.#writer.write(utf8(text));
    this.#isWriting = false;
  }

  async #next(): Promise<void> {
    const head = await this.#source.changed(this.at, LIMITS.streamCommentMs);
    if (this.#ended) return;
    if (head <= this.at) {
      await this.#write(": nothing new\n\n");
      return;
    }
    const { events, next } = await this.#source.page(this.at);
    if (this.#ended || events.length === 0) return;
    const frames = events.map((each) => `id: ${each.seq}\ndata: ${JSON.stringify(each)}\n\n`);
    await this.#write(frames.join(""));
    this.at = next;
  }

  async #check(): Promise<void> {
    const may = await this.#source.mayGoOn().catch(() => false);
    if (!may) this.end();
  }
}
