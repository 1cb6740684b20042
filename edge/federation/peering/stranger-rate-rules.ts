/**
 * Grants of all peers below trust 2 share one rate, because anyone may register and each grant costs a verification and
 * a write. A first try of a peer may use the whole burst, whatever its outcome. All other tries may use half of the burst,
 * so that they cannot keep out the first grant of a new peer. First tries are as rare as registrations.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { type CellStep, takeCell } from "../../limits/gcra-rules.ts";

/** `paidAtMs` is a persisted contract of `PeerRegistry`. */
export function takeStrangerGrant(paidAtMs: number, isFirst: boolean, nowMs: number): CellStep {
  const rate = { burst: LIMITS.strangerGrantsPerMinute, periodMs: 60_000, reserved: isFirst ? 0 : 0.5 };
  return takeCell(paidAtMs, rate, nowMs);
}
