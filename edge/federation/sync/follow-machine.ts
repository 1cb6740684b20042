/** Decides what a follower does after each round (docs/spec/events.md#sync). */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** How a round ended. A round pulls until this pool has all events of the peer's log, then reads the log's stream. */
export type RoundOutcome =
  /** This pool had all events, and the peer ended the stream normally. */
  | { readonly type: "caught-up" }
  /** The peer, or a part of this pool, did not answer, or the answer was refused. */
  | { readonly type: "failed" }
  /** One of the two pools takes no more events from the other for `waitMs`. */
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
  /** Wait `ms`. Nothing shortens a pause. */
  | { readonly type: "pause"; readonly ms: number }
  /** Wait `ms`, or less if `Follower.start` is called, because the peer may be available again. */
  | { readonly type: "wait"; readonly ms: number };

/**
 * The next step after a round. `failures`: how many rounds in a row failed before it. `hasProgressed`: the round
 * brought events. `isRestarted`: a new round was requested during this one, for example because the peer is available
 * again. `random` is a number in [0, 1).
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

/**
 * The wait in ms, with full jitter, so that the peers of a pool that restarts do not all call it at the same moment.
 */
function backoffMs(failures: number, random: number): number {
  const ceilingMs = Math.min(LIMITS.followBackoffMinMs * 2 ** failures, LIMITS.followBackoffMaxMs);
  return LIMITS.followBackoffMinMs / 2 + random * ceilingMs;
}
