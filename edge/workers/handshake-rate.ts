/**
 * How often one worker token may open a socket: a minute's worth at once, then one each ten seconds. A refused attempt
 * costs nothing, so that a worker which waits as it was told gets in. Pure: the time comes in.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

const MINUTE_MS = 60_000;
const HANDSHAKE_MS = MINUTE_MS / LIMITS.handshakesPerMinute;

/** In memory: a lane that restarts has forgotten what a token owes, which is a minute at most. */
export class HandshakeRates {
  /** Until when each token is charged, and when that was noted. A token that owes nothing is not kept. */
  readonly #debts = new Map<string, { owedMs: number; atMs: number }>();

  /** Charges one handshake; how long the token must wait for it instead, or 0. */
  take(tokenId: string, nowMs: number): number {
    const owedMs = this.#owedMs(tokenId, nowMs) + HANDSHAKE_MS;
    if (owedMs > MINUTE_MS) return Math.ceil(owedMs - MINUTE_MS);
    this.#debts.set(tokenId, { owedMs, atMs: nowMs });
    if (this.#debts.size > LIMITS.socketsPerLane) this.#forgetPaid(nowMs);
    return 0;
  }

  /** For tests: how many tokens are remembered. */
  get size(): number {
    return this.#debts.size;
  }

  #forgetPaid(nowMs: number): void {
    for (const tokenId of this.#debts.keys()) {
      if (this.#owedMs(tokenId, nowMs) === 0) this.#debts.delete(tokenId);
    }
  }

  #owedMs(tokenId: string, nowMs: number): number {
    const { owedMs, atMs } = this.#debts.get(tokenId) ?? { owedMs: 0, atMs: nowMs };
    // A clock that steps back forgives nothing, and adds nothing.
    return Math.max(0, owedMs - Math.max(0, nowMs - atMs));
  }
}
