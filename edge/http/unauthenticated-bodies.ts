/**
 * Where one isolate (128 MB) keeps bodies whose senders are proved by their last byte and no sooner. Pure. The name that
 * such a body claims is anybody's, so it neither limits nor protects: whoever has taken longest makes room for the next
 * one. An honest sender is through in no time, and to hold up one is to send more than the room holds meanwhile.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

export class BodyRoom {
  /** In the order in which they came. */
  readonly #guests = new Set<GrowingBody>();
  #bytes = 0;

  /** Of all that are here; never more than `LIMITS.unprovenBodiesBytes`. */
  get bytes(): number {
    return this.#bytes;
  }

  enter(nowMs: number): GrowingBody {
    this.#forgetWhoLeft(nowMs);
    const body: GrowingBody = new GrowingBody(nowMs, {
      grown: (bytes) => this.#add(bytes),
      left: () => this.#leave(body),
    });
    this.#guests.add(body);
    this.#add(body.bytes);
    return body;
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    for (const oldest of this.#guests) {
      if (this.#bytes <= LIMITS.unprovenBodiesBytes) return;
      oldest.drop();
    }
  }

  #leave(body: GrowingBody): void {
    if (this.#guests.delete(body)) this.#bytes -= body.bytes;
  }

  /** The runtime drops the work of a client that leaves: no one says then that its reading has ended. */
  #forgetWhoLeft(nowMs: number): void {
    for (const body of this.#guests) {
      // By distance too: a wall clock that stepped back must not make a reading last.
      if (Math.abs(nowMs - body.beganMs) < LIMITS.unprovenBodyReadMs) return;
      body.drop();
    }
  }
}

/** The bytes themselves and not what arrived in pieces: a piece of one byte costs far more than that. */
export class GrowingBody {
  readonly beganMs: number;
  readonly #room: { grown(bytes: number): void; left(): void };
  /** Grows and is freed in its place: what is dropped need not wait for a collector. */
  #buffer: ArrayBuffer | null = null;
  #bytes: number = LIMITS.unprovenBodyMinBytes;
  #isDropped = false;

  constructor(beganMs: number, room: { grown(bytes: number): void; left(): void }) {
    this.beganMs = beganMs;
    this.#room = room;
  }

  /** What it counts as. */
  get bytes(): number {
    return this.#bytes;
  }

  /** It has made room for another: nothing of it is kept. */
  get isDropped(): boolean {
    return this.#isDropped;
  }

  /** False: it would be larger than a body may be. */
  add(piece: Uint8Array): boolean {
    const used = this.#buffer?.byteLength ?? 0;
    const wanted = used + piece.byteLength;
    if (wanted > LIMITS.federatedBodyBytes) return false;
    const more = Math.max(0, wanted - this.#bytes);
    if (!this.#isDropped && more > 0) {
      this.#bytes += more;
      this.#room.grown(more);
    }
    // It may have been the oldest itself.
    if (this.#isDropped) return true;
    this.#buffer ??= new ArrayBuffer(0, { maxByteLength: LIMITS.federatedBodyBytes });
    this.#buffer.resize(wanted);
    new Uint8Array(this.#buffer, used).set(piece);
    return true;
  }

  /** What has arrived; its place is another's from now on. */
  leave(): Uint8Array {
    this.#room.left();
    const whole = new Uint8Array(this.#buffer?.slice(0) ?? new ArrayBuffer(0));
    this.#buffer?.resize(0);
    return whole;
  }

  /** Frees it at once, whatever becomes of who reads it. */
  drop(): void {
    this.#room.left();
    this.#isDropped = true;
    this.#buffer?.resize(0);
  }
}
