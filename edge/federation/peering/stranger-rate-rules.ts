/**
 * The shared rate of grants from peers below trust 2. Anyone may register, and each grant costs a verification and a
 * write. The first try of a peer may use the whole burst, whatever its outcome. All other tries may use half of the
 * burst, so that they cannot block the first grant of a new peer. First tries are as rare as registrations.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { type CellStep, takeCell } from "../../limits/gcra-rules.ts";

/**
 * Counts one grant, or refuses it. `paidAtMs` and `nowMs` are epoch ms; `paidAtMs` is a persisted contract of
 * `PeerRegistry`. `isFirst`: the first try of its peer.
 */
export function takeStrangerGrant(paidAtMs: number, isFirst: boolean, nowMs: number): CellStep {
  const rate = { burst: LIMITS.strangerGrantsPerMinute, periodMs: 60_000, reserved: isFirst ? 0 : 0.5 };
  return takeCell(paidAtMs, rate, nowMs);
}
