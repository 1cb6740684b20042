/**
 * Grants of all peers below trust 2 share one rate, because anyone may register and each grant costs a verification and
 * a write. A peer that has handed in no grant yet may use the whole burst and the others half of it, so that strangers
 * who repeat themselves cannot keep a newcomer's first grant out. Pure.
 */
import { LIMITS } from "../../schema/wire/limits.ts";
import { type CellStep, takeCell } from "./cell-rate.ts";

/** `paidAtMs` is a persisted contract of `PeerRegistry`. */
export function takeStrangerGrant(paidAtMs: number, isFirst: boolean, nowMs: number): CellStep {
  const rate = { burst: LIMITS.strangerGrantsPerMinute, periodMs: 60_000, reserved: isFirst ? 0 : 0.5 };
  return takeCell(paidAtMs, rate, nowMs);
}
