import { describe, expect, it } from "vitest";
import { recordRefusal } from "../../../edge/federation/sync/follow-refusal-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

describe("when a log cannot be followed", () => {
  it("our admin is notified once for each reason, after refusals have lasted since we were last level", () => {
    const notified: string[] = [];
    let state: ReturnType<typeof recordRefusal>["unfollowable"] | null = null;
    const again = (reason: "rolled-back" | "chain-mismatch", nowMs: number) => {
      const step = recordRefusal(state, reason, nowMs);
      if (step.shouldNotify) notified.push(`${reason} at ${nowMs}`);
      state = step.unfollowable;
    };
    const lasts = LIMITS.followRefusedMs;
    again("rolled-back", 0);
    again("rolled-back", lasts - 1);
    expect(notified).toEqual([]);
    // A changing reason does not restart the time.
    for (let i = 0; i < 10; i++) again(i % 2 === 0 ? "chain-mismatch" : "rolled-back", lasts + i);
    expect(notified).toEqual([`chain-mismatch at ${lasts}`, `rolled-back at ${lasts + 1}`]);
    expect(state).toMatchObject({ reason: "rolled-back", sinceMs: 0 });
  });

  it("the time starts again after a backward clock step", () => {
    const { unfollowable } = recordRefusal(null, "malformed", 1_000_000);
    const stepped = recordRefusal(unfollowable, "malformed", 10);
    expect(stepped).toEqual({ unfollowable: { reason: "malformed", sinceMs: 10, told: [] }, shouldNotify: false });
    expect(recordRefusal(stepped.unfollowable, "malformed", 10 + LIMITS.followRefusedMs).shouldNotify).toBe(true);
  });
});
