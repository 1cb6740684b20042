/**
 * Whether this machine's wall clock may move the log's clock, which never steps back: one jump into the future would
 * stay in the log for ever, and every peer would refuse what the pool says from then on. Pure: times come in, in
 * microseconds.
 */
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Clock } from "./clock-rules.ts";

export type ClockRefusal = Extract<ErrorCode, "pool/clock-jumped" | "pool/clock-ahead">;

export interface ClockEvidence {
  /** The log's clock: it stands where the last event left it. */
  readonly clock: Clock;
  /** The wall time that an admin last confirmed; 0 for none. */
  readonly confirmedUs: number;
  /** Peers that an admin trusts, whose own time says that our wall clock is ahead. */
  readonly aheadOfPeers: number;
}

/** Null: the wall clock may be believed. */
export function clockRefusal(wallUs: number, { clock, confirmedUs, aheadOfPeers }: ClockEvidence): ClockRefusal | null {
  const lastUs = Math.max(clock.physical_us, confirmedUs);
  // A log without any event has nothing to compare with.
  if (lastUs > 0 && wallUs - lastUs > LIMITS.clockJumpMs * 1_000) return "pool/clock-jumped";
  // One peer alone may be wrong, or lie.
  return aheadOfPeers >= LIMITS.clockWitnesses ? "pool/clock-ahead" : null;
}

/**
 * How far our wall clock is ahead of a peer's, by the `Date` header of its answer to a request that we sent at `sentMs`:
 * at least so much, for the answer was written later. Null where it does not say.
 */
export function aheadOfPeerMs(headers: { get(name: string): string | null }, sentMs: number): number | null {
  // An answer out of a cache tells the time of long ago.
  if (headers.get("age") !== null) return null;
  const saidMs = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(saidMs) ? null : sentMs - saidMs;
}
