import { describe, expect, it } from "vitest";
import { workerConnected, workerFrame } from "../../../edge/inference/jobs/lane-machine.ts";
import type { LaneState, NewJob, WorkerOffer } from "../../../edge/inference/jobs/lane-state.ts";
import { anyWorkerCanRun, chooseWorkerAndJob } from "../../../edge/inference/jobs/worker-choice-rules.ts";
import { accept, jobOf, laneWith, MODEL, newJob, offerOf, ready, submitOne } from "./lane-support.ts";

/** A lane whose jobs wait, and whose workers then get credit without a dispatch. */
function waiting(jobs: NewJob[], workers: WorkerOffer[]): LaneState {
  const state = laneWith({});
  for (const offer of workers) workerConnected(state, offer, 0);
  for (const job of jobs) expect(submitOne(state, job, 0).ok).toBe(true);
  for (const { connection } of workers) {
    const model = state.workers.get(connection)?.models.get(MODEL) ?? expect.fail();
    model.credit = 1;
    state.available.set(MODEL, (state.available.get(MODEL) ?? new Set()).add(connection));
  }
  return state;
}

const chosen = (state: LaneState) => {
  const assignment = chooseWorkerAndJob(state, MODEL, 0);
  return assignment && [assignment.job.id, assignment.worker.connection, assignment.queueIndex];
};

const older = offerOf("older");
const newer: WorkerOffer = { ...offerOf("newer"), minor: 2 };
/** Only workers of protocol v1.2 can run it. */
const topK: NewJob = { ...newJob("top-k"), request: { ...newJob("top-k").request, topK: 5 } as NewJob["request"] };

describe("the choice", () => {
  it.each<[what: string, jobs: NewJob[], workers: WorkerOffer[], want: unknown]>([
    ["takes the first job in the queue", [newJob("j1"), newJob("j2")], [older], ["j1", "older", 0]],
    ["takes the worker that was available first", [newJob("j1")], [older, newer], ["j1", "older", 0]],
    ["skips a worker that lacks a capability", [topK], [older, newer], ["top-k", "newer", 0]],
    ["takes a later job where no worker can run the first", [newJob("j1"), newJob("j2")], [newer], ["j2", "newer", 1]],
  ])("%s", (_what, jobs, workers, want) => {
    const state = waiting(jobs, workers);
    if (Array.isArray(want) && want[2] === 1) jobOf(state, "j1").failedWorkers.add("id-newer");
    expect(chosen(state)).toEqual(want);
  });

  it("is none without a job, without a worker, and without a worker that can run a job", () => {
    expect(chosen(waiting([], [older]))).toBeNull();
    expect(chosen(laneWith({}))).toBeNull();
    const state = waiting([newJob("j1")], [older]);
    jobOf(state, "j1").failedWorkers.add("id-older");
    expect(chosen(state)).toBeNull();
  });

  it("changes nothing", () => {
    const state = waiting([newJob("j1"), newJob("j2")], [older, newer]);
    const before = structuredClone(state);
    chosen(state);
    expect(structuredClone(state)).toEqual(before);
  });
});

describe("a worker that could run a job", () => {
  it("need not have credit now, but must not drain and must not have failed the job", () => {
    const state = laneWith({ a: 0 });
    const { job } = accept(state, "j1");
    expect(anyWorkerCanRun(state, job)).toBe(true);
    job.failedWorkers.add("id-a");
    expect(anyWorkerCanRun(state, job)).toBe(false);
    job.failedWorkers.clear();
    workerFrame(state, "a", { type: "drain" }, 0);
    workerFrame(state, "a", ready(0, 4), 0);
    expect(anyWorkerCanRun(state, job)).toBe(false);
  });
});
