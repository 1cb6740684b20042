import { describe, expect, it } from "vitest";
import { cancel, jobsNamed, submit, workerFrame } from "../../../edge/inference/jobs/lane-machine.ts";
import { type LaneState, type NewJob, newLane } from "../../../edge/inference/jobs/lane-state.ts";
import { ERRORS } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { accept, done, laneWith, MODEL, newJob, sentTo, submitOne } from "./lane-support.ts";

describe("a submitted request", () => {
  it("goes immediately to a worker with credit", () => {
    expect(sentTo(accept(laneWith({ a: 1 }), "j1").effects)).toEqual([["a", "j1"]]);
  });

  it.each<[what: string, state: LaneState, model: string, code: string]>([
    ["a model that no worker ever offered", laneWith({ a: 1 }), "other", "inference/model-not-found"],
    ["a known model that no worker serves", newLane(new Set(["m"])), "m", "inference/no-worker"],
  ])("is refused for %s", (_what, state, model, code) => {
    expect(submitOne(state, newJob("j", { model }), 0)).toEqual({ ok: false, code });
    expect(state.jobs.size).toBe(0);
  });

  it("is refused where the only worker of its model drains", () => {
    const state = laneWith({ a: 1 });
    workerFrame(state, "a", { type: "drain" }, 0);
    expect(submitOne(state, newJob("j"), 0)).toEqual({ ok: false, code: "inference/no-worker" });
  });

  it("is refused where the queue of its model is full", () => {
    const state = laneWith({ a: 0 });
    for (let i = 0; i < LIMITS.queuePerModel; i++) accept(state, `j${i}`);
    expect(submitOne(state, newJob("one-more"), 0)).toEqual({ ok: false, code: "inference/queue-full" });
    expect(state.jobs.size).toBe(LIMITS.queuePerModel);
  });

  it("of another key gets a place in the reserve of a full queue, which is bounded too", () => {
    const state = laneWith({ a: 0 });
    const of = (keyId: string, id: string) => submitOne(state, { ...newJob(id), keyId }, 0);
    for (let i = 0; i < LIMITS.queuePerModel; i++) of("full", `j${i}`);
    expect(of("other", "first").ok).toBe(true);
    expect(of("other", "second")).toEqual({ ok: false, code: "inference/queue-full" });
    for (let i = 1; i < LIMITS.queueReservePerModel; i++) expect(of(`k${i}`, `k${i}`).ok).toBe(true);
    expect(of("late", "late")).toEqual({ ok: false, code: "inference/queue-full" });
  });

  it("is refused where its key, or all keys together, fill the memory, until some of it is free", () => {
    const state = laneWith({ a: 0 });
    const keys = LIMITS.laneBytes / LIMITS.keyRequestBytes;
    const big = (keyId: string, id: string) =>
      submitOne(state, { ...newJob(id), keyId }, 0, LIMITS.keyRequestBytes / 2);
    const full = { ok: false, code: "inference/queue-full" };
    const fullOfKey = expect.objectContaining({ ...full, message: expect.stringContaining("This key's requests") });
    const fullOfAll = expect.objectContaining({ ...full, message: expect.stringContaining("of all clients") });
    for (let k = 0; k < keys; k++) {
      expect([big(`k${k}`, `k${k}-1`).ok, big(`k${k}`, `k${k}-2`).ok]).toEqual([true, true]);
      expect(big(`k${k}`, "more")).toEqual(fullOfKey);
    }
    expect(big("other", "more")).toEqual(fullOfAll);
    cancel(state, "k0-1", "inference/cancelled");
    expect(big("k1", "more")).toEqual(fullOfKey);
    expect(big("other", "more").ok).toBe(true);
  });
});

describe("the jobs of one request", () => {
  const parts = (count: number): [NewJob, ...NewJob[]] => [
    newJob("g"),
    ...Array.from({ length: count - 1 }, (_, i) => ({
      ...newJob(`g${i + 1}`),
      group: "g",
      requestId: "request-g",
    })),
  ];

  it("go to several free workers, and the rest waits in order", () => {
    const state = laneWith({ a: 1, b: 1 });
    const submission = submit(state, parts(3), 100, 0);
    if (!submission.ok) throw new Error(submission.code);
    expect(sentTo(submission.effects)).toEqual([
      ["a", "g"],
      ["b", "g1"],
    ]);
    expect(state.queues.get(MODEL)).toEqual(["g2"]);
  });

  it("are accepted all or none: each needs a place in the queue", () => {
    const state = laneWith({ a: 0 });
    for (let i = 0; i < LIMITS.queuePerModel - 2; i++) accept(state, `j${i}`);
    expect(submit(state, parts(3), 100, 0)).toEqual({ ok: false, code: "inference/queue-full" });
    expect(submit(state, parts(2), LIMITS.keyRequestBytes, 0)).toMatchObject({ code: "inference/queue-full" });
    expect(state.jobs.size).toBe(LIMITS.queuePerModel - 2);
    expect(submit(state, parts(2), 100, 0).ok).toBe(true);
  });

  it("count once in the memory, until the last of them has ended", () => {
    const state = laneWith({ a: 0 });
    const most = LIMITS.keyRequestBytes;
    const many = parts(LIMITS.choicesPerRequest);
    expect(submit(state, many, most, 0).ok).toBe(true);
    for (const { id } of many.slice(0, -1)) cancel(state, id, "inference/cancelled");
    expect(state.memory.requests).toBe(most);
    cancel(state, many.at(-1)?.id ?? "", "inference/cancelled");
    expect([state.memory.requests, state.memory.byKey.size]).toEqual([0, 0]);
  });

  it("are refused for good where the request never fits", () => {
    const refused = submit(laneWith({ a: 0 }), parts(1), LIMITS.keyRequestBytes + 1, 0);
    expect(refused).toMatchObject({ ok: false, code: "http/body-too-large" });
    expect(ERRORS["http/body-too-large"].status).toBe(413);
  });

  it("are all found by the id of any of them, and by the request id", () => {
    const state = laneWith({ a: 4 });
    submit(state, parts(3), 100, 0);
    accept(state, "other");
    const named = (jobId: string | null, requestId: string, keyId = "k") =>
      jobsNamed(state, { jobId, requestId }, keyId);
    expect(named("g", "g")).toEqual(["g", "g1", "g2"]);
    expect(named("g2", "g2")).toEqual(["g", "g1", "g2"]);
    expect(named(null, "request-g")).toEqual(["g", "g1", "g2"]);
    expect(named("g", "g", "another")).toEqual([]);
    workerFrame(state, "a", done("g", 1), 0);
    expect(named("g", "g")).toEqual(["g1", "g2"]);
  });
});
