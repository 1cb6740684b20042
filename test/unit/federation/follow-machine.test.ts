import { describe, expect, it } from "vitest";
import { afterRound, type NextStep, type RoundOutcome } from "../../../edge/federation/sync/follow-machine.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const { followBackoffMinMs: MIN, followBackoffMaxMs: MAX, eventStallMs: STALL } = LIMITS;
const QUIET = { hasProgressed: false, isRestarted: false };
const RANDOM = 0.5;

describe("after a round, a follower", () => {
  it.each<[what: string, outcome: RoundOutcome, round: typeof QUIET, failures: number, next: NextStep]>([
    ["waits the shortest backoff when it has caught up", { type: "caught-up" }, QUIET, 0, { type: "wait", ms: MIN }],
    ["waits longer after another failure", { type: "failed" }, QUIET, 4, { type: "wait", ms: MIN / 2 + 8 * MIN }],
    [
      "counts failures from the last events on",
      { type: "failed" },
      { ...QUIET, hasProgressed: true },
      1,
      { type: "wait", ms: MIN / 2 + MIN },
    ],
    [
      "waits the shortest backoff when it is restarted",
      { type: "failed" },
      { ...QUIET, isRestarted: true },
      4,
      { type: "wait", ms: MIN },
    ],
    ["pauses as long as a throttle says", { type: "throttled", waitMs: 7_000 }, QUIET, 3, { type: "pause", ms: 7_000 }],
    [
      "pauses no longer than the longest backoff",
      { type: "throttled", waitMs: 10 * MAX },
      QUIET,
      3,
      { type: "pause", ms: MAX },
    ],
    ["pauses before an event that needs another try", { type: "stalled" }, QUIET, 3, { type: "pause", ms: STALL }],
    ["pauses while our log is full", { type: "full" }, QUIET, 3, { type: "pause", ms: STALL }],
    ["pauses after a bug, which is no failure of the peer", { type: "bug" }, QUIET, 3, { type: "pause", ms: MAX }],
    ["stops", { type: "stopped" }, QUIET, 3, { type: "stop" }],
    ["runs again when it is restarted", { type: "stopped" }, { ...QUIET, isRestarted: true }, 3, { type: "again" }],
  ])("%s", (_what, outcome, round, failures, next) => {
    expect(afterRound(3, outcome, round, RANDOM)).toEqual({ failures, next });
  });

  it("never waits longer than the longest backoff and its jitter", () => {
    const { next } = afterRound(1_000, { type: "failed" }, QUIET, 1);
    expect(next).toEqual({ type: "wait", ms: MIN / 2 + MAX });
  });
});
