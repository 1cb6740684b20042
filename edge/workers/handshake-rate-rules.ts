/**
 * How often one worker token may open a socket: a minute's worth at once, then one each ten seconds. A refused attempt
 * costs nothing, so that a worker which waits as it was told gets in. Pure: the time comes in.
 */
import { LIMITS } from "../../schema/wire/limits.ts";
import { Debts } from "../limits/debts.ts";

const MINUTE_MS = 60_000;
const HANDSHAKE_MS = MINUTE_MS / LIMITS.handshakesPerMinute;

/** In memory: a lane that restarts has forgotten what a token owes, which is a minute at most. */
export class HandshakeRates {
  readonly #debts = new Debts(LIMITS.socketsPerLane);

  /** Charges one handshake; how long the token must wait for it instead, or 0. */
  take(tokenId: string, nowMs: number): number {
    return this.#debts.take(tokenId, HANDSHAKE_MS, MINUTE_MS, nowMs);
  }

  /** For tests: how many tokens are remembered. */
  get size(): number {
    return this.#debts.size;
  }
}
