/**
 * Limits how often one worker token may open a socket: `LIMITS.handshakesPerMinute` at once, then that many per minute.
 * A refused attempt costs nothing, so a worker that waits for `Retry-After` is admitted.
 */
import { LIMITS } from "../../schema/wire/limits.ts";
import { Debts } from "../limits/debt-tracker.ts";

const MINUTE_MS = 60_000;
const HANDSHAKE_MS = MINUTE_MS / LIMITS.handshakesPerMinute;

/** In memory only. A restart forgives what a token owes, which is at most a minute. */
export class HandshakeRates {
  readonly #debts = new Debts(LIMITS.socketsPerLane);

  /** Charges one handshake and returns 0, or charges nothing and returns the wait in ms. */
  take(tokenId: string, nowMs: number): number {
    return this.#debts.take(tokenId, HANDSHAKE_MS, MINUTE_MS, nowMs);
  }

  /** How many tokens are remembered; for tests. */
  get size(): number {
    return this.#debts.size;
  }
}
