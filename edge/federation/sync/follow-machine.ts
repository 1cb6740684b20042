/** What a follower does after each round (docs/spec/events.md#sync). */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** How a round ended. A round pulls until it is level with the peer's log, then reads the log's stream. */
export type RoundOutcome =
  /** We were level with the log, and its stream ended in good order. */
  | { readonly type: "caught-up" }
  /** The peer, or a part of this pool, did not answer, or the answer was refused. */
  | { readonly type: "failed" }
  /** One side has had enough of the other's events for now. */
  | { readonly type: "throttled"; readonly waitMs: number }
  /** An event needs another try: our clock has not reached its time, or our trust in the peer ended during the pull. */
  | { readonly type: "stalled" }
  /** Our log has no room for more events of this peer. */
  | { readonly type: "full" }
  /** This pool does not follow the log now. */
  | { readonly type: "stopped" }
  /** Our own code threw an exception that no rule expects. */
  | { readonly type: "bug" };

export type NextStep =
  | { readonly type: "stop" }
  | { readonly type: "again" }
  /** Nothing shortens a pause. */
  | { readonly type: "pause"; readonly ms: number }
  /** `Follower.start` shortens a wait: the peer may be available again. */
  | { readonly type: "wait"; readonly ms: number };

/**
 * `failures`: rounds that failed in a row, before this one. `hasProgressed`: this round brought events. `isRestarted`:
 * something called for a new round during this one, and may know that the peer, or a switch, is back.
 */
export function afterRound(
  failures: number,
  outcome: RoundOutcome,
  { hasProgressed, isRestarted }: { hasProgressed: boolean; isRestarted: boolean },
  random: number,
): { failures: number; next: NextStep } {
  const earlier = hasProgressed || outcome.type === "caught-up" ? 0 : failures;
  const now = outcome.type === "failed" ? earlier + 1 : earlier;
  return { failures: now, next: nextStep(outcome, now, isRestarted, random) };
}

function nextStep(outcome: RoundOutcome, failures: number, isRestarted: boolean, random: number): NextStep {
  switch (outcome.type) {
    case "stopped":
      return { type: isRestarted ? "again" : "stop" };
    case "stalled":
    case "full":
      return { type: "pause", ms: LIMITS.eventStallMs };
    case "throttled":
      return { type: "pause", ms: Math.min(outcome.waitMs, LIMITS.followBackoffMaxMs) };
    case "bug":
      return { type: "pause", ms: LIMITS.followBackoffMaxMs };
    case "caught-up":
    case "failed":
      return { type: "wait", ms: isRestarted ? LIMITS.followBackoffMinMs : backoffMs(failures, random) };
    default:
      return outcome satisfies never;
  }
}

/** Full jitter, so that the peers of a pool that comes back do not all call it at the same moment. */
function backoffMs(failures: number, random: number): number {
  const ceilingMs = Math.min(LIMITS.followBackoffMinMs * 2 ** failures, LIMITS.followBackoffMaxMs);
  return LIMITS.followBackoffMinMs / 2 + random * ceilingMs;
}
