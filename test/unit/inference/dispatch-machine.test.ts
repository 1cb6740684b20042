import { describe, expect, it } from "vitest";
import { creditOf } from "../../../edge/inference/jobs/dispatch-machine.ts";
import { workerFrame, workerRestored } from "../../../edge/inference/jobs/lane-machine.ts";
import { newLane } from "../../../edge/inference/jobs/lane-state.ts";
import { accept, type JobFrame, laneWith, offerOf, ready, sentTo, types } from "./lane-support.ts";

describe("pull credit", () => {
  it("is never exceeded, and the queue is served in order", () => {
    const state = laneWith({ a: 1 });
    const effects = ["j1", "j2", "j3"].flatMap((id) => accept(state, id).effects);
    expect(sentTo(effects)).toEqual([["a", "j1"]]);
    expect(sentTo(workerFrame(state, "a", ready(1, 1), 0))).toEqual([["a", "j2"]]);
    expect(sentTo(workerFrame(state, "a", ready(2, 1), 0))).toEqual([["a", "j3"]]);
  });

  it("is the free slots that the worker reported, less the jobs that are on their way", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    accept(state, "j2");
    // The worker sent this before j1 reached it: its one free slot is taken.
    expect(sentTo(workerFrame(state, "a", ready(0, 1), 0))).toEqual([]);
  });

  it("is used evenly among equal workers", () => {
    const state = laneWith({ a: 2, b: 2 });
    const effects = ["j1", "j2", "j3", "j4"].flatMap((id) => accept(state, id).effects);
    expect(sentTo(effects).map(([connection]) => connection)).toEqual(["a", "b", "a", "b"]);
  });

  it.each<[what: string, frame: JobFrame]>([
    ["counts jobs that were never sent", ready(7, 1)],
    ["claims more slots than its manifest", ready(0, 5)],
    ["names a model it does not offer", ready(0, 1, "other")],
  ])("closes the socket of a worker that %s", (_what, frame) => {
    expect(types(workerFrame(laneWith({ a: 1 }), "a", frame, 0))).toEqual(["close"]);
  });

  it("is zero for a worker that drains, also after a later `ready`", () => {
    const state = laneWith({ a: 0, b: 0 });
    accept(state, "j1");
    workerFrame(state, "a", { type: "drain" }, 0);
    expect(workerFrame(state, "a", ready(0, 4), 0)).toEqual([]);
    expect(sentTo(workerFrame(state, "b", ready(0, 1), 0))).toEqual([["b", "j1"]]);
  });

  it("continues after hibernation with the jobs that were on their way", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    const remembered = creditOf(state, "a") ?? expect.fail();
    const awake = newLane();
    workerRestored(awake, offerOf("a"), remembered);
    expect(sentTo(accept(awake, "j2").effects), "its slot is still taken").toEqual([]);
    expect(sentTo(workerFrame(awake, "a", ready(1, 1), 0))).toEqual([["a", "j2"]]);
  });

  it("continues after hibernation from the remembered credit", () => {
    const state = newLane();
    workerRestored(state, offerOf("a", { slots: 2 }), { sent: 5, credits: [2], draining: false });
    expect(sentTo(accept(state, "j1").effects)).toEqual([["a", "j1"]]);
    expect(types(workerFrame(state, "a", ready(6, 2), 0))).toEqual([]);
  });
});
