import { describe, expect, it } from "vitest";
import { tick, workerFrame } from "../../../edge/inference/jobs/lane-machine.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { accept, delta, done, ends, jobOf, laneWith, ready, sentTo, types } from "./lane-support.ts";

describe("leases", () => {
  it.each<[what: string, connection: string, lease: number]>([
    ["a stale lease number", "a", 99],
    ["another worker's job", "b", 1],
  ])("reject frames with %s", (_what, connection, lease) => {
    const state = laneWith({ a: 1, b: 0 });
    accept(state, "j1");
    expect(workerFrame(state, connection, delta("j1", lease), 0)).toEqual([
      { type: "send", connection, frame: { type: "rejected", jobId: "j1", lease } },
    ]);
    expect(jobOf(state, "j1").relayedBytes).toBe(0);
  });

  it("expire in silence: the job goes to the front of the queue, and the old worker is fenced", () => {
    const state = laneWith({ a: 1, b: 0 });
    accept(state, "j1");
    accept(state, "j2");
    const effects = tick(state, LIMITS.leaseMs);
    expect(effects).toContainEqual({
      type: "send",
      connection: "a",
      frame: { type: "rejected", jobId: "j1", lease: 1 },
    });
    expect(sentTo(workerFrame(state, "b", ready(0, 2), LIMITS.leaseMs))).toEqual([
      ["b", "j1"],
      ["b", "j2"],
    ]);
    expect(workerFrame(state, "a", done("j1", 1), LIMITS.leaseMs)).toMatchObject([{ frame: { type: "rejected" } }]);
    expect(ends(workerFrame(state, "b", done("j1", jobOf(state, "j1").lease), LIMITS.leaseMs))).toEqual([
      ["j1", "done"],
    ]);
  });

  it("are renewed by progress and by deltas", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    expect(types(workerFrame(state, "a", { type: "progress", jobId: "j1", lease: 1 }, 20_000))).toEqual(["accepted"]);
    expect(tick(state, LIMITS.leaseMs)).toEqual([]);
    workerFrame(state, "a", delta("j1", 1), 45_000);
    expect(tick(state, 74_000)).toEqual([]);
    expect(ends(tick(state, 75_000))).toEqual([["j1", "inference/worker-lost"]]);
  });
});
