/**
 * Decides whether the wall clock may move the log's clock, which never goes back. One jump into the future would stay
 * in the log for ever, and every peer would refuse the pool's events from then on. Times are in microseconds.
 */
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Clock } from "./clock-rules.ts";

export type ClockRefusal = Extract<ErrorCode, "pool/clock-jumped" | "pool/clock-ahead">;

export interface ClockEvidence {
  /** The log's clock, as the last event left it. */
  readonly clock: Clock;
  /** The wall time that an admin last confirmed; 0: never. */
  readonly confirmedUs: number;
  /** How many trusted peers report that our wall clock is ahead of theirs. */
  readonly aheadOfPeers: number;
}

/** Null: the wall clock is trusted. */
export function clockRefusal(wallUs: number, { clock, confirmedUs, aheadOfPeers }: ClockEvidence): ClockRefusal | null {
  const lastUs = Math.max(clock.physical_us, confirmedUs);
  // An empty log has nothing to compare with.
  if (lastUs > 0 && wallUs - lastUs > LIMITS.clockJumpMs * 1_000) return "pool/clock-jumped";
  // One peer alone may be wrong, or may lie.
  return aheadOfPeers >= LIMITS.clockWitnesses ? "pool/clock-ahead" : null;
}

/**
 * By how much our wall clock is ahead of a peer's, by the `Date` header of its answer to a request that we sent at
 * `sentMs`. This is a lower bound, because the peer wrote the answer later. Null where the answer has no usable date.
 */
export function aheadOfPeerMs(headers: { get(name: string): string | null }, sentMs: number): number | null {
  // A cached answer has an old date.
  if (headers.get("age") !== null) return null;
  const peerMs = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(peerMs) ? null : sentMs - peerMs;
}
