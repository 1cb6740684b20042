import { expect, it } from "vitest";
import { cancel, workerFrame } from "../../../edge/inference/jobs/lane-machine.ts";
import {
  hasQueueRoom,
  placeInQueue,
  removeFromQueue,
  requeueAtFront,
} from "../../../edge/inference/jobs/queue-machine.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { accept, jobOf, laneWith, MODEL, ready } from "./lane-support.ts";

it("a queue keeps the order in which jobs were accepted, and states each job's place", () => {
  const state = laneWith({ a: 0 });
  for (const id of ["j1", "j2", "j3"]) accept(state, id);
  expect(["j1", "j2", "j3", "unknown"].map((id) => placeInQueue(state, id))).toEqual([1, 2, 3, null]);
  cancel(state, "j1", "inference/cancelled");
  expect(["j1", "j2", "j3"].map((id) => placeInQueue(state, id))).toEqual([null, 1, 2]);
  workerFrame(state, "a", ready(0, 1), 0);
  expect(["j2", "j3"].map((id) => placeInQueue(state, id))).toEqual([null, 1]);
});

it("a job that comes back goes to the front, and its wait starts again", () => {
  const state = laneWith({ a: 1 });
  for (const id of ["j1", "j2"]) accept(state, id);
  requeueAtFront(state, jobOf(state, "j1"), 5_000);
  expect(state.queues.get(MODEL)).toEqual(["j1", "j2"]);
  expect(jobOf(state, "j1")).toMatchObject({ state: "queued", queueUntilMs: 5_000 + LIMITS.queueWaitMs });
});

it("an empty queue leaves no entry", () => {
  const state = laneWith({ a: 0 });
  const { job } = accept(state, "j1");
  removeFromQueue(state, job);
  expect(state.queues.size).toBe(0);
  removeFromQueue(state, job);
  expect(state.queues.size).toBe(0);
});

it("a full queue has room for as many jobs as workers have credit", () => {
  const state = laneWith({ a: 0 });
  for (let i = 0; i < LIMITS.queuePerModel; i++) accept(state, `j${i}`);
  expect(hasQueueRoom(state, MODEL, "k", 1)).toBe(false);
  const model = state.workers.get("a")?.models.get(MODEL) ?? expect.fail();
  model.credit = 2;
  state.available.set(MODEL, new Set(["a"]));
  expect([1, 2, 3].map((parts) => hasQueueRoom(state, MODEL, "k", parts))).toEqual([true, true, false]);
});
