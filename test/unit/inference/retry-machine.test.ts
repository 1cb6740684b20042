import { describe, expect, it } from "vitest";
import { submit, workerConnected, workerFrame, workerGone } from "../../../edge/inference/jobs/lane-machine.ts";
import type { LaneState } from "../../../edge/inference/jobs/lane-state.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import {
  accept,
  delta,
  ends,
  type JobFrame,
  jobOf,
  laneWith,
  MODEL,
  newJob,
  offerOf,
  offers,
  ready,
  sentTo,
} from "./lane-support.ts";

describe("a job that its worker does not finish", () => {
  it("goes back to the queue in order, or ends where it had output", () => {
    const state = laneWith({ a: 3, b: 0 });
    for (const id of ["j1", "j2", "j3", "j4"]) accept(state, id);
    workerFrame(state, "a", delta("j2", 2), 0);
    expect(ends(workerGone(state, "a", 0))).toEqual([["j2", "inference/worker-lost"]]);
    expect(sentTo(workerFrame(state, "b", ready(0, 4), 0)).map(([, id]) => id)).toEqual(["j1", "j3", "j4"]);
  });

  it.each<[what: string, keys: string[], attempts: number]>([
    ["three attempts where its workers also held a job of another key", ["k", "other"], LIMITS.jobAttempts],
    ["one more attempt where its worker vanished with it alone", ["k"], 2],
    ["one more attempt where its worker vanished with two jobs of its key", ["k", "k"], 2],
  ])("gets %s", (_what, keys, attempts) => {
    const state = laneWith({ a: keys.length });
    const jobs = keys.map((_, i) => `j${i + 1}`);
    for (const [i, id] of jobs.entries()) submit(state, [{ ...newJob(id), keyId: keys[i] ?? "" }], 100, 0);
    for (let attempt = 1; attempt <= attempts; attempt++) {
      expect(jobOf(state, "j1").attempts).toBe(attempt);
      const ended = ends(workerGone(state, "a", 0));
      const all = jobs.map((id) => [id, "inference/worker-lost"]);
      expect(ended.toSorted()).toEqual(attempt === attempts ? all : []);
      const models = offers(MODEL, jobs.length);
      workerConnected(state, { connection: "a", workerId: "id-a", engine: "llama", minor: 0, models }, 0);
      workerFrame(state, "a", ready(0, jobs.length), 0);
    }
    expect(state.jobs.size).toBe(0);
  });

  it("goes to another worker after a retryable failure, and ends after another failure", () => {
    const state = laneWith({ a: 2, b: 0 });
    accept(state, "j1");
    accept(state, "j2");
    const failed = (jobId: string, lease: number, retryable: boolean): JobFrame => ({
      type: "failed",
      jobId,
      lease,
      code: retryable ? "inference/engine-failed" : "inference/context-length-exceeded",
      message: "",
      retryable,
    });
    expect(ends(workerFrame(state, "a", failed("j1", 1, true), 0))).toEqual([]);
    expect(ends(workerFrame(state, "a", failed("j2", 2, false), 0))).toEqual([
      ["j2", "inference/context-length-exceeded"],
    ]);
    expect(sentTo(workerFrame(state, "b", ready(0, 1), 0))).toEqual([["b", "j1"]]);
  });

  const failure = (
    jobId: string,
    lease: number,
    about: Partial<Extract<JobFrame, { type: "failed" }>> = {},
  ): JobFrame => ({
    type: "failed",
    jobId,
    lease,
    code: "inference/engine-failed",
    message: "no",
    retryable: true,
    ...about,
  });
  const busy = { code: "inference/worker-busy" as const };

  it("ends at once with the worker's failure where no other worker can run it", () => {
    const state = laneWith({ a: 1, b: 1 });
    workerConnected(state, offerOf("c", { model: "other" }), 0);
    workerFrame(state, "b", { type: "drain" }, 0);
    accept(state, "j1");
    expect(workerFrame(state, "a", failure("j1", 1, { ...busy, retryAfterSeconds: 7 }), 0)).toMatchObject([
      { type: "end", end: { outcome: "failed", code: "inference/worker-busy", message: "no", retryAfterSeconds: 7 } },
    ]);
    expect(state.jobs.size).toBe(0);
  });

  it("never goes back to the worker that failed it, nor to the next connection of that worker", () => {
    const state = laneWith({ a: 4, b: 0 });
    accept(state, "j1");
    expect(workerFrame(state, "a", failure("j1", 1), 0)).toEqual([]);
    expect(sentTo(workerFrame(state, "a", ready(1, 4), 0))).toEqual([]);
    expect(sentTo(accept(state, "j2").effects), "other jobs are not held up").toEqual([["a", "j2"]]);
    workerConnected(state, offerOf("a2", { workerId: "id-a" }), 0);
    expect(sentTo(workerFrame(state, "a2", ready(0, 4), 0))).toEqual([["a2", "j2"]]);
    expect(sentTo(workerFrame(state, "b", ready(0, 1), 0))).toEqual([["b", "j1"]]);
    expect(ends(workerFrame(state, "b", failure("j1", jobOf(state, "j1").lease), 0))).toEqual([
      ["j1", "inference/engine-failed"],
    ]);
  });

  it.each<[what: string, before: (state: LaneState) => void, about: object]>([
    ["had no free slot after all", () => {}, busy],
    ["drains", (state) => workerFrame(state, "a", { type: "drain" }, 0), {}],
  ])("waits for another worker where the only worker %s", (_what, before, about) => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    before(state);
    expect(workerFrame(state, "a", failure("j1", 1, about), 0)).toEqual([]);
    workerConnected(state, offerOf("a2", { workerId: "id-a" }), 0);
    expect(sentTo(workerFrame(state, "a2", ready(0, 1), 0))).toEqual([["a2", "j1"]]);
  });
});
