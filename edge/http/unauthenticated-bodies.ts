/**
 * The memory budget of one isolate (128 MB) for bodies whose signature can be checked only when the last byte has
 * arrived. The sender that such a body claims may be forged, so the claim neither limits nor protects a body. When the
 * budget is spent, the body that has been arriving longest is dropped. An honest sender needs very little time; to have
 * its body dropped, an attacker must send more than the whole budget in that time.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

export class UnauthenticatedBodyBudget {
  /** The oldest first. */
  readonly #bodies = new Set<UnauthenticatedBody>();
  #bytes = 0;

  /** The bytes of all bodies; never more than `LIMITS.unauthenticatedBodiesBytes`. */
  get bytes(): number {
    return this.#bytes;
  }

  begin(nowMs: number): UnauthenticatedBody {
    this.#dropAbandoned(nowMs);
    const body: UnauthenticatedBody = new UnauthenticatedBody(nowMs, {
      grown: (bytes) => this.#add(bytes),
      removed: () => this.#remove(body),
    });
    this.#bodies.add(body);
    this.#add(body.bytes);
    return body;
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    for (const oldest of this.#bodies) {
      if (this.#bytes <= LIMITS.unauthenticatedBodiesBytes) return;
      oldest.drop();
    }
  }

  #remove(body: UnauthenticatedBody): void {
    if (this.#bodies.delete(body)) this.#bytes -= body.bytes;
  }

  /** When a client disconnects the runtime drops the request's work, so nothing reports that its reading has ended. */
  #dropAbandoned(nowMs: number): void {
    for (const body of this.#bodies) {
      // Use the absolute difference, so that a backward clock step cannot keep a body.
      if (Math.abs(nowMs - body.beganMs) < LIMITS.unauthenticatedBodyReadMs) return;
      body.drop();
    }
  }
}

/**
 * One body. Its bytes are in one buffer, because a list of small pieces would cost far more memory than their bytes.
 */
export class UnauthenticatedBody {
  readonly beganMs: number;
  readonly #budget: { grown(bytes: number): void; removed(): void };
  /** Resizable, so that dropping a body frees its memory immediately, without a garbage collection. */
  #buffer: ArrayBuffer | null = null;
  #bytes: number = LIMITS.unauthenticatedBodyMinBytes;
  #isDropped = false;

  constructor(beganMs: number, budget: { grown(bytes: number): void; removed(): void }) {
    this.beganMs = beganMs;
    this.#budget = budget;
  }

  /** The bytes that the body counts as in the budget. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether the body was dropped to make room for newer ones. None of it is kept. */
  get isDropped(): boolean {
    return this.#isDropped;
  }

  /** Adds bytes that have arrived. False: the body is too large. */
  add(piece: Uint8Array): boolean {
    const used = this.#buffer?.byteLength ?? 0;
    const wanted = used + piece.byteLength;
    if (wanted > LIMITS.federatedBodyBytes) return false;
    const more = Math.max(0, wanted - this.#bytes);
    if (!this.#isDropped && more > 0) {
      this.#bytes += more;
      this.#budget.grown(more);
    }
    // This body may have been the oldest, and may just have been dropped.
    if (this.#isDropped) return true;
    this.#buffer ??= new ArrayBuffer(0, { maxByteLength: LIMITS.federatedBodyBytes });
    this.#buffer.resize(wanted);
    new Uint8Array(this.#buffer, used).set(piece);
    return true;
  }

  /** Returns the bytes that have arrived, and removes the body from the budget. */
  finish(): Uint8Array {
    this.#budget.removed();
    const whole = new Uint8Array(this.#buffer?.slice(0) ?? new ArrayBuffer(0));
    this.#buffer?.resize(0);
    return whole;
  }

  /** Frees the memory immediately, while the request may still be reading. */
  drop(): void {
    this.#budget.removed();
    this.#isDropped = true;
    this.#buffer?.resize(0);
  }
}
