import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cancel,
  creditOf,
  jobsNamed,
  submit,
  tick,
  workerConnected,
  workerFrame,
  workerGone,
  workerRestored,
} from "../../../edge/inference/jobs/lane-machine.ts";
import { drop, keep, noBytes } from "../../../edge/inference/jobs/lane-memory-rules.ts";
import { type Effect, type LaneState, type NewJob, newLane } from "../../../edge/inference/jobs/lane-state.ts";
import { modelLoads } from "../../../edge/inference/jobs/served-models-rules.ts";
import { ERRORS } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { AgentFrame, Metering } from "../../../schema/wire/worker-frames.ts";

type JobFrame = Exclude<AgentFrame, { type: "hello" }>;

const MODEL = "m";
const newJob = (id: string, { stream = true, model = MODEL } = {}): NewJob => ({
  id,
  group: id,
  keyId: "k",
  requestId: `request-${id}`,
  kind: "chat" as const,
  model,
  request: { messages: [{ role: "user" as const, content: "hi" }], stream },
});
const offers = (name: string, slots: number) => [{ name, slots, kinds: ["chat" as const] }];
const record = {} as Metering;
const done = (jobId: string, lease: number, text?: string): JobFrame => ({
  type: "done",
  jobId,
  lease,
  finishReason: "stop",
  usage: { promptTokens: 1, completionTokens: 1 },
  metering: record,
  meteringSignature: "",
  ...(text !== undefined && { text }),
});
const delta = (jobId: string, lease: number, seq = 0, text = "x"): JobFrame => ({
  type: "delta",
  jobId,
  lease,
  seq,
  text,
  tokens: 1,
});
const ready = (received: number, free: number, model = MODEL): JobFrame => ({
  type: "ready",
  received,
  slots: [{ model, free }],
});

/** A lane with one connected worker per name, each with the given free slots. */
function laneWith(workers: Record<string, number>): LaneState {
  const state = newLane([MODEL]);
  for (const [name, free] of Object.entries(workers)) {
    workerConnected(
      state,
      { connection: name, workerId: `id-${name}`, engine: "llama", minor: 0, models: offers(MODEL, 4) },
      0,
    );
    workerFrame(state, name, ready(0, free), 0);
  }
  return state;
}
const submitOne = (state: LaneState, job: NewJob, nowMs: number, requestBytes = 100) =>
  submit(state, [job], requestBytes, nowMs);
function accept(state: LaneState, id: string, nowMs = 0, options = {}) {
  const submission = submitOne(state, newJob(id, options), nowMs);
  if (!submission.ok) throw new Error(submission.code);
  return { job: submission.jobs[0] ?? expect.fail(), effects: submission.effects };
}
const jobOf = (state: LaneState, id: string) => state.jobs.get(id) ?? expect.fail(`no job ${id}`);
const types = (effects: Effect[]) => effects.map((effect) => effect.type);
const ends = (effects: Effect[]) =>
  effects.flatMap((effect) =>
    effect.type === "end" ? [[effect.job.id, effect.end.outcome === "done" ? "done" : effect.end.code]] : [],
  );
const sentTo = (effects: Effect[]) =>
  effects.flatMap((effect) => (effect.type === "send-job" ? [[effect.connection, effect.job.id]] : []));

describe("submitting", () => {
  it("sends a job at once to a worker with credit", () => {
    expect(sentTo(accept(laneWith({ a: 1 }), "j1").effects)).toEqual([["a", "j1"]]);
  });

  it.each<[what: string, state: LaneState, model: string, code: string]>([
    ["a model nobody ever offered", laneWith({ a: 1 }), "other", "inference/model-not-found"],
    ["a known model that nobody serves", newLane(["m"]), "m", "inference/no-worker"],
  ])("refuses %s", (_what, state, model, code) => {
    expect(submitOne(state, newJob("j", { model }), 0)).toEqual({ ok: false, code });
    expect(state.jobs.size).toBe(0);
  });

  it("refuses a model whose only worker drains", () => {
    const state = laneWith({ a: 1 });
    workerFrame(state, "a", { type: "drain" }, 0);
    expect(submitOne(state, newJob("j"), 0)).toEqual({ ok: false, code: "inference/no-worker" });
  });

  it("bounds the queue of a model, and says so", () => {
    const state = laneWith({ a: 0 });
    for (let i = 0; i < LIMITS.queuePerModel; i++) accept(state, `j${i}`);
    expect(submitOne(state, newJob("one-more"), 0)).toEqual({ ok: false, code: "inference/queue-full" });
    expect(state.jobs.size).toBe(LIMITS.queuePerModel);
  });

  it("has places left for other keys when one has filled the queue of a model, and those are bounded too", () => {
    const state = laneWith({ a: 0 });
    const of = (keyId: string, id: string) => submitOne(state, { ...newJob(id), keyId }, 0);
    for (let i = 0; i < LIMITS.queuePerModel; i++) of("full", `j${i}`);
    expect(of("other", "first").ok).toBe(true);
    expect(of("other", "second")).toEqual({ ok: false, code: "inference/queue-full" });
    for (let i = 1; i < LIMITS.queueReservePerModel; i++) expect(of(`k${i}`, `k${i}`).ok).toBe(true);
    expect(of("late", "late")).toEqual({ ok: false, code: "inference/queue-full" });
  });

  it("bounds the bytes that it holds, of each key and of all, and takes more when some are gone", () => {
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

describe("the parts of one request", () => {
  const parts = (count: number): [NewJob, ...NewJob[]] => [
    newJob("g"),
    ...Array.from({ length: count - 1 }, (_, i) => ({
      ...newJob(`g${i + 1}`),
      group: "g",
      requestId: "request-g",
    })),
  ];

  it("go to whoever is free, at several workers, and the rest waits in order", () => {
    const state = laneWith({ a: 1, b: 1 });
    const submission = submit(state, parts(3), 100, 0);
    if (!submission.ok) throw new Error(submission.code);
    expect(sentTo(submission.effects)).toEqual([
      ["a", "g"],
      ["b", "g1"],
    ]);
    expect(state.queues.get(MODEL)).toEqual(["g2"]);
  });

  it("wait all or none: each takes a place, and room of its key", () => {
    const state = laneWith({ a: 0 });
    for (let i = 0; i < LIMITS.queuePerModel - 2; i++) accept(state, `j${i}`);
    expect(submit(state, parts(3), 100, 0)).toEqual({ ok: false, code: "inference/queue-full" });
    expect(submit(state, parts(2), LIMITS.keyRequestBytes, 0)).toMatchObject({ code: "inference/queue-full" });
    expect(state.jobs.size).toBe(LIMITS.queuePerModel - 2);
    expect(submit(state, parts(2), 100, 0).ok).toBe(true);
  });

  it("count once, until the last of them has ended", () => {
    const state = laneWith({ a: 0 });
    const most = LIMITS.keyRequestBytes;
    const many = parts(LIMITS.choicesPerRequest);
    expect(submit(state, many, most, 0).ok).toBe(true);
    for (const { id } of many.slice(0, -1)) cancel(state, id, "inference/cancelled");
    expect(state.bytes.requests).toBe(most);
    cancel(state, many.at(-1)?.id ?? "", "inference/cancelled");
    expect([state.bytes.requests, state.bytes.byKey.size]).toEqual([0, 0]);
  });

  it("that never fit are refused for good, also by an idle pool", () => {
    const refused = submit(laneWith({ a: 0 }), parts(1), LIMITS.keyRequestBytes + 1, 0);
    expect(refused).toMatchObject({ ok: false, code: "http/body-too-large" });
    expect(ERRORS["http/body-too-large"].status).toBe(413);
  });

  it("are all found by the id of any of them, while any runs, and by their request's", () => {
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

describe("what a worker answers", () => {
  const BIG = "y".repeat(60_000);
  const laneOf = (contextTokens: number) => {
    const state = newLane([MODEL]);
    const models = [{ name: MODEL, slots: 4, kinds: ["chat" as const, "embedding" as const], contextTokens }];
    workerConnected(state, { connection: "a", workerId: "id-a", engine: "llama", minor: 0, models }, 0);
    workerFrame(state, "a", ready(0, 4), 0);
    return state;
  };

  it.each<[what: string, contextTokens: number, maxTokens: number | undefined, deltas: number]>([
    ["the context of its model", 1_024, undefined, 2],
    ["what the client allowed", 100_000, 1_000, 2],
    ["a limit for all", 2 ** 31, undefined, Math.floor(LIMITS.answerBytes / BIG.length)],
  ])(
    "is bounded by %s: beyond it the job fails, flagged, and no other worker gets it",
    (_what, context, maxTokens, deltas) => {
      const state = laneOf(context);
      const job = newJob("j");
      submit(state, [{ ...job, request: { ...job.request, ...(maxTokens !== undefined && { maxTokens }) } }], 100, 0);
      const running = jobOf(state, "j");
      for (let seq = 0; seq < deltas; seq++) {
        expect(types(workerFrame(state, "a", { ...delta("j", 1, seq, BIG), tokens: 16 } as JobFrame, 0))).toEqual([
          "text",
        ]);
      }
      const effects = workerFrame(state, "a", delta("j", 1, deltas, BIG), 0);
      expect(effects).toMatchObject([
        { type: "send", frame: { type: "rejected", jobId: "j" } },
        { type: "end", end: { outcome: "failed", code: "inference/answer-overlong" } },
      ]);
      expect([running.isOverlong, state.jobs.size, state.workers.has("a")]).toEqual([true, 0, true]);
    },
  );

  it("counts the heads of tool calls too, and a whole answer", () => {
    const state = laneOf(1);
    submit(state, [newJob("whole", { stream: false })], 100, 0);
    const call = { id: "i".repeat(4_000), name: "f", arguments: "y".repeat(224) };
    const tools = [{ name: "f" }];
    Object.assign(jobOf(state, "whole").request, { tools });
    const frame = { ...done("whole", 1, ""), toolCalls: [call], finishReason: "tool_calls" } as JobFrame;
    expect(ends(workerFrame(state, "a", frame, 0))).toEqual([["whole", "inference/answer-overlong"]]);
  });

  it("waits for its reader in the lane's bytes, and a job without room beside those may come again", () => {
    const state = laneOf(1_024);
    const embed = (id: string, keyId: string): NewJob => ({
      ...newJob(id),
      keyId,
      kind: "embedding",
      request: { input: Array(LIMITS.embeddingInputs).fill("x"), stream: false },
    });
    const vector = Buffer.from(new Float32Array(LIMITS.embeddingDimensions).fill(1).buffer).toString("base64");
    const speak = (id: string) => {
      const { lease } = jobOf(state, id);
      for (let index = 0; index < LIMITS.embeddingInputs; index++) {
        const effects = workerFrame(state, "a", { type: "vector", jobId: id, lease, index, vector }, 0);
        if (ends(effects).length > 0) return ends(effects);
      }
      return ends(workerFrame(state, "a", done(id, lease), 0));
    };
    const each = LIMITS.embeddingInputs * LIMITS.embeddingDimensions * 4;
    for (const [i, want] of ["done", "done", "inference/answer-room"].entries()) {
      submit(state, [embed(`j${i}`, "k")], 100, 0);
      expect(speak(`j${i}`)).toEqual([[`j${i}`, want]]);
      workerFrame(state, "a", ready(i + 1, 4), 0);
    }
    // Two answers wait for their reader; the third has left nothing.
    expect(state.bytes.answers).toBe(2 * each);
    expect(ERRORS["inference/answer-room"].status).toBe(503);
    // Jobs that are cancelled or tried again keep nothing.
    submit(state, [embed("other", "k2")], 100, 0);
    workerFrame(
      state,
      "a",
      { type: "vector", jobId: "other", lease: jobOf(state, "other").lease, index: 0, vector },
      0,
    );
    // Room for all of its vectors is taken with the first.
    expect(state.bytes.answers).toBe(3 * each);
    workerGone(state, "a", 0);
    expect(state.bytes.answers).toBe(2 * each);
  });
});

describe("an answer that is too large by itself", () => {
  const { keyAnswerBytes, embeddingInputs, wholeTextBytes } = LIMITS;
  const laneFor = (kind: "chat" | "embedding") => {
    const state = newLane();
    const models = [{ name: MODEL, slots: 8, kinds: [kind], contextTokens: 1_000_000 }];
    workerConnected(state, { connection: "a", workerId: "w", engine: "llama", minor: 2, models }, 0);
    workerFrame(state, "a", ready(0, 8), 0);
    return state;
  };
  const embedding = (id: string, inputs: number): NewJob => ({
    ...newJob(id),
    group: "g",
    kind: "embedding",
    request: { input: Array(inputs).fill("x"), stream: false },
  });

  it.each<[inputs: number, dimensions: number, want: "runs" | "refused"]>([
    [2_048, keyAnswerBytes / 4 / 2_048, "runs"],
    [2_048, keyAnswerBytes / 4 / 2_048 + 1, "refused"],
    [2_048, 3_072, "refused"],
    [1_365, 3_072, "runs"],
    [1_366, 3_072, "refused"],
    [512, 8_192, "runs"],
    [513, 8_192, "refused"],
  ])("%i vectors of %i numbers: %s, as the first vector says", (inputs, dimensions, want) => {
    const state = laneFor("embedding");
    const batches = Array.from({ length: Math.ceil(inputs / embeddingInputs) }, (_, i) =>
      embedding(`b${i}`, Math.min(embeddingInputs, inputs - i * embeddingInputs)),
    );
    submit(state, batches as [NewJob, ...NewJob[]], 100, 0);
    // Whichever batch is first, and however few inputs it has.
    const { id, lease } = jobOf(state, `b${batches.length - 1}`);
    const vector = Buffer.from(new Float32Array(dimensions).buffer).toString("base64");
    const effects = workerFrame(state, "a", { type: "vector", jobId: id, lease, index: 0, vector }, 0);
    if (want === "runs") expect(types(effects)).toEqual(["accepted"]);
    else {
      const most = Math.floor(keyAnswerBytes / dimensions / 4);
      const remedy = `Send at most ${most} inputs in a request.`;
      expect(effects.at(-1)).toMatchObject({ type: "end", end: { code: "inference/answer-too-large", remedy } });
      expect(state.bytes.answers).toBe(0);
    }
    expect(ERRORS["inference/answer-too-large"].status).toBe(400);
  });

  it("is refused so also when the texts of several choices are too long together, whatever else its key holds", () => {
    const state = laneFor("chat");
    keep(state.bytes, "k", "answers", keyAnswerBytes - wholeTextBytes);
    const choices = ["c0", "c1"].map((id) => ({ ...newJob(id, { stream: false }), group: "c0" }));
    submit(state, choices as [NewJob, ...NewJob[]], 100, 0);
    const say = (id: string, chars: number) =>
      workerFrame(state, "a", done(id, jobOf(state, id).lease, "x".repeat(chars)), 0);
    expect(ends(say("c0", wholeTextBytes - 10))).toEqual([["c0", "done"]]);
    const effects = say("c1", 11);
    expect(effects.at(-1)).toMatchObject({
      end: { code: "inference/answer-too-large", remedy: expect.stringContaining("Ask for a stream") },
    });
  });
});

describe("pull credit", () => {
  it("never sends more jobs than credits, and serves the queue in order", () => {
    const state = laneWith({ a: 1 });
    const effects = ["j1", "j2", "j3"].flatMap((id) => accept(state, id).effects);
    expect(sentTo(effects)).toEqual([["a", "j1"]]);
    expect(sentTo(workerFrame(state, "a", ready(1, 1), 0))).toEqual([["a", "j2"]]);
    expect(sentTo(workerFrame(state, "a", ready(2, 1), 0))).toEqual([["a", "j3"]]);
  });

  it("subtracts jobs that are on their way from what the worker counted", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    accept(state, "j2");
    // The worker sent this before j1 reached it: its one free slot is spoken for.
    expect(sentTo(workerFrame(state, "a", ready(0, 1), 0))).toEqual([]);
  });

  it("shares equal work among workers", () => {
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

  it("gives no job to a worker that drains, whatever it says afterwards", () => {
    const state = laneWith({ a: 0, b: 0 });
    accept(state, "j1");
    workerFrame(state, "a", { type: "drain" }, 0);
    expect(workerFrame(state, "a", ready(0, 4), 0)).toEqual([]);
    expect(sentTo(workerFrame(state, "b", ready(0, 1), 0))).toEqual([["b", "j1"]]);
  });

  it("after hibernation takes an honest count for what it is", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    const remembered = creditOf(state, "a") ?? expect.fail();
    const awake = newLane();
    workerRestored(
      awake,
      { connection: "a", workerId: "id-a", engine: "llama", minor: 0, models: offers(MODEL, 4) },
      remembered,
    );
    expect(sentTo(accept(awake, "j2").effects), "its slot is still taken").toEqual([]);
    expect(sentTo(workerFrame(awake, "a", ready(1, 1), 0))).toEqual([["a", "j2"]]);
  });

  it("goes on from what an attachment remembered after hibernation", () => {
    const state = newLane();
    workerRestored(
      state,
      { connection: "a", workerId: "id-a", engine: "llama", minor: 0, models: offers(MODEL, 2) },
      { sent: 5, credits: [2], draining: false },
    );
    expect(sentTo(accept(state, "j1").effects)).toEqual([["a", "j1"]]);
    expect(types(workerFrame(state, "a", ready(6, 2), 0))).toEqual([]);
  });
});

describe("leases", () => {
  it.each<[what: string, connection: string, lease: number]>([
    ["a stale lease number", "a", 99],
    ["another worker's job", "b", 1],
  ])("drops frames with %s and tells the sender", (_what, connection, lease) => {
    const state = laneWith({ a: 1, b: 0 });
    accept(state, "j1");
    expect(workerFrame(state, connection, delta("j1", lease), 0)).toEqual([
      { type: "send", connection, frame: { type: "rejected", jobId: "j1", lease } },
    ]);
    expect(jobOf(state, "j1").relayedBytes).toBe(0);
  });

  it("requeues at the front when a lease runs out in silence, and fences the old worker", () => {
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

  it("renews a lease by progress and by deltas", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    expect(types(workerFrame(state, "a", { type: "progress", jobId: "j1", lease: 1 }, 20_000))).toEqual(["accepted"]);
    expect(tick(state, LIMITS.leaseMs)).toEqual([]);
    workerFrame(state, "a", delta("j1", 1), 45_000);
    expect(tick(state, 74_000)).toEqual([]);
    expect(ends(tick(state, 75_000))).toEqual([["j1", "inference/worker-lost"]]);
  });

  it("gives back in order what a lost worker had not begun, and ends what it had", () => {
    const state = laneWith({ a: 3, b: 0 });
    for (const id of ["j1", "j2", "j3", "j4"]) accept(state, id);
    workerFrame(state, "a", delta("j2", 2), 0);
    expect(ends(workerGone(state, "a", 0))).toEqual([["j2", "inference/worker-lost"]]);
    expect(sentTo(workerFrame(state, "b", ready(0, 4), 0)).map(([, id]) => id)).toEqual(["j1", "j3", "j4"]);
  });

  it.each<[what: string, keys: string[], attempts: number]>([
    ["three attempts where its workers held another key's job too", ["k", "other"], LIMITS.jobAttempts],
    ["one attempt more where its worker vanished with it alone", ["k"], 2],
    ["one attempt more where its worker vanished with two jobs of its key", ["k", "k"], 2],
  ])("gives a job %s", (_what, keys, attempts) => {
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

  it("tries a retryable failure elsewhere and ends one that is the request's own", () => {
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

  it("ends at once what failed at the only worker that does it, with what that one said", () => {
    const state = laneWith({ a: 1, b: 1 });
    workerConnected(
      state,
      { connection: "c", workerId: "id-c", engine: "llama", minor: 0, models: offers("other", 4) },
      0,
    );
    workerFrame(state, "b", { type: "drain" }, 0);
    accept(state, "j1");
    expect(workerFrame(state, "a", failure("j1", 1, { ...busy, retryAfterSeconds: 7 }), 0)).toMatchObject([
      { type: "end", end: { outcome: "failed", code: "inference/worker-busy", message: "no", retryAfterSeconds: 7 } },
    ]);
    expect(state.jobs.size).toBe(0);
  });

  it("never gives a job to a worker that failed at it, neither while another one is busy nor by its next socket", () => {
    const state = laneWith({ a: 4, b: 0 });
    accept(state, "j1");
    expect(workerFrame(state, "a", failure("j1", 1), 0)).toEqual([]);
    expect(sentTo(workerFrame(state, "a", ready(1, 4), 0))).toEqual([]);
    expect(sentTo(accept(state, "j2").effects), "others are not held up").toEqual([["a", "j2"]]);
    workerConnected(
      state,
      { connection: "a2", workerId: "id-a", engine: "llama", minor: 0, models: offers(MODEL, 4) },
      0,
    );
    expect(sentTo(workerFrame(state, "a2", ready(0, 4), 0))).toEqual([["a2", "j2"]]);
    expect(sentTo(workerFrame(state, "b", ready(0, 1), 0))).toEqual([["b", "j1"]]);
    expect(ends(workerFrame(state, "b", failure("j1", jobOf(state, "j1").lease), 0))).toEqual([
      ["j1", "inference/engine-failed"],
    ]);
  });

  it.each<[what: string, before: (state: LaneState) => void, about: object]>([
    ["had no slot after all", () => {}, busy],
    ["drains, in whatever words", (state) => workerFrame(state, "a", { type: "drain" }, 0), {}],
  ])("keeps a job for when there is somebody again, if the only worker %s", (_what, before, about) => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    before(state);
    expect(workerFrame(state, "a", failure("j1", 1, about), 0)).toEqual([]);
    workerConnected(
      state,
      { connection: "a2", workerId: "id-a", engine: "llama", minor: 0, models: offers(MODEL, 4) },
      0,
    );
    expect(sentTo(workerFrame(state, "a2", ready(0, 1), 0))).toEqual([["a2", "j1"]]);
  });

  it("replaces a worker's old socket by its new one and keeps its jobs alive", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    const effects = workerConnected(
      state,
      { connection: "a2", workerId: "id-a", engine: "llama", minor: 0, models: offers(MODEL, 1) },
      0,
    );
    expect(effects).toMatchObject([{ type: "close", connection: "a" }]);
    expect(sentTo(workerFrame(state, "a2", ready(0, 1), 0))).toEqual([["a2", "j1"]]);
  });
});

describe("ends", () => {
  it("cancels a queued job without a word to any worker", () => {
    const state = laneWith({ a: 0 });
    accept(state, "j1");
    expect(types(cancel(state, "j1", "inference/cancelled"))).toEqual(["end"]);
    expect(workerFrame(state, "a", ready(0, 1), 0)).toEqual([]);
  });

  it("tells the worker of a cancelled job, once", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    expect(types(cancel(state, "j1", "inference/cancelled"))).toEqual(["send", "end"]);
    expect(cancel(state, "j1", "inference/cancelled")).toEqual([]);
  });

  it("ends waiting after a minute and a job after half an hour", () => {
    const state = laneWith({ a: 1 });
    accept(state, "runs");
    accept(state, "waits");
    expect(
      ends(tick(state, LIMITS.queueWaitMs - 1).filter((effect) => effect.type === "end" && effect.job.id === "waits")),
    ).toEqual([]);
    expect(ends(tick(state, LIMITS.queueWaitMs))).toContainEqual(["waits", "inference/queue-timeout"]);
    const fresh = laneWith({ a: 1 });
    accept(fresh, "long");
    for (let t = 0; t < LIMITS.jobMs; t += 10_000) {
      workerFrame(fresh, "a", { type: "progress", jobId: "long", lease: 1 }, t);
      expect(tick(fresh, t)).toEqual([]);
    }
    const last = tick(fresh, LIMITS.jobMs);
    expect(ends(last)).toEqual([["long", "inference/job-timeout"]]);
    expect(types(last)).toEqual(["send", "end"]);
  });

  it.each<[what: string, stream: boolean, frame: (lease: number) => JobFrame]>([
    ["a delta out of sequence", true, (lease) => delta("j1", lease, 3)],
    ["a delta for a whole answer", false, (lease) => delta("j1", lease)],
    ["text in the end of a stream", true, (lease) => done("j1", lease, "all")],
    ["no text in the end of a whole answer", false, (lease) => done("j1", lease)],
  ])("closes the socket on %s", (_what, stream, frame) => {
    const state = laneWith({ a: 1 });
    accept(state, "j1", 0, { stream });
    expect(types(workerFrame(state, "a", frame(1), 0))).toEqual(["close"]);
  });
});

describe("what must always hold", () => {
  /** Random schedules of clients, workers and time; the seed of a failure is printed by fast-check. */
  type Move =
    | { do: "submit"; stream: boolean }
    | { do: "connect" | "gone" | "drain" | "speak" | "finish" | "fail" | "ready"; worker: number }
    | { do: "cancel"; job: number }
    | { do: "wait"; ms: number };
  const worker = fc.integer({ min: 0, max: 3 });
  const move: fc.Arbitrary<Move> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("submit" as const), stream: fc.boolean() }) },
    { weight: 8, arbitrary: fc.record({ do: fc.constant("ready" as const), worker }) },
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constantFrom("connect" as const, "speak" as const, "finish" as const), worker }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constantFrom("gone" as const, "drain" as const, "fail" as const), worker }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("cancel" as const), job: fc.nat(50) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 40_000 }) }) },
  );

  it("ends every accepted job once, never overfills a worker, and forgets everything afterwards", () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 120 }), (moves) => {
        const state = newLane();
        const SLOTS = 2;
        let nowMs = 0;
        let ids = 0;
        const accepted: string[] = [];
        const ended: string[] = [];
        /** Job and worker. */
        const failures = new Set<string>();
        /** What each honest worker holds: it frees a slot only when it has finished or was told to stop. */
        const held = new Map<
          string,
          { received: number; jobs: Map<string, { lease: number; seq: number; stream: boolean }> }
        >();
        const run = (effects: Effect[]) => {
          for (const effect of effects) {
            if (effect.type === "end") {
              ended.push(effect.job.id);
              // Its reader has it.
              drop(state.bytes, effect.job.keyId, "answers", effect.job.keptBytes);
            }
            if (effect.type === "close") held.delete(effect.connection);
            if (effect.type === "send") {
              held.get(effect.connection)?.jobs.delete(effect.frame.jobId);
            }
            if (effect.type === "send-job") {
              const mine = held.get(effect.connection);
              expect(mine, "jobs go to connected workers only").toBeDefined();
              if (!mine) continue;
              expect(failures, "nobody fails twice at one job").not.toContain(`${effect.job.id} ${effect.connection}`);
              mine.received += 1;
              mine.jobs.set(effect.job.id, { lease: effect.job.lease, seq: 0, stream: effect.job.request.stream });
              expect(mine.jobs.size, "never more jobs than slots").toBeLessThanOrEqual(SLOTS);
            }
          }
        };
        const step = (next: Move) => {
          if (next.do === "submit") {
            const submission = submitOne(state, newJob(`j${ids++}`, { stream: next.stream }), nowMs);
            if (!submission.ok) return;
            accepted.push(...submission.jobs.map(({ id }) => id));
            run(submission.effects);
            return;
          }
          if (next.do === "wait") {
            nowMs += next.ms;
            run(tick(state, nowMs));
            return;
          }
          if (next.do === "cancel") {
            run(cancel(state, `j${next.job}`, "inference/cancelled"));
            return;
          }
          const name = `w${next.worker}`;
          if (next.do === "connect") {
            if (held.has(name)) return;
            held.set(name, { received: 0, jobs: new Map() });
            run(
              workerConnected(
                state,
                { connection: name, workerId: name, engine: "llama", minor: 0, models: offers(MODEL, SLOTS) },
                nowMs,
              ),
            );
            return;
          }
          const mine = held.get(name);
          if (!mine) return;
          const [job] = mine.jobs;
          switch (next.do) {
            case "gone":
              held.delete(name);
              run(workerGone(state, name, nowMs));
              break;
            case "drain":
              run(workerFrame(state, name, { type: "drain" }, nowMs));
              break;
            case "ready":
              run(workerFrame(state, name, ready(mine.received, SLOTS - mine.jobs.size), nowMs));
              break;
            case "speak":
              if (job?.[1].stream) run(workerFrame(state, name, delta(job[0], job[1].lease, job[1].seq++), nowMs));
              break;
            case "finish":
              if (!job) break;
              mine.jobs.delete(job[0]);
              run(workerFrame(state, name, done(job[0], job[1].lease, job[1].stream ? undefined : "text"), nowMs));
              break;
            case "fail":
              if (!job) break;
              if (!state.workers.get(name)?.draining) failures.add(`${job[0]} ${name}`);
              mine.jobs.delete(job[0]);
              run(
                workerFrame(
                  state,
                  name,
                  {
                    type: "failed",
                    jobId: job[0],
                    lease: job[1].lease,
                    code: "inference/engine-failed",
                    message: "",
                    retryable: true,
                  },
                  nowMs,
                ),
              );
              break;
            default:
              next.do satisfies never;
          }
        };
        for (const next of moves) step(next);
        // Time alone ends everything that is left.
        for (let i = 0; i < 12; i++) step({ do: "wait", ms: LIMITS.queueWaitMs });

        expect(ended.toSorted()).toEqual(accepted.toSorted());
        expect(state.jobs.size).toBe(0);
        expect(state.queues.size).toBe(0);
        expect(state.bytes).toEqual(noBytes());
        for (const available of state.available.values()) expect(available.size).toBeGreaterThan(0);
        for (const left of state.workers.values()) expect(left.jobs.size).toBe(0);
      }),
      { numRuns: 400 },
    );
  });

  it("counts UTF-8 bytes as an encoder does", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => utf8Bytes(text) === new TextEncoder().encode(text).length),
    );
  });

  it("shows loads by model", () => {
    const state = laneWith({ a: 1, b: 0 });
    for (const id of ["j1", "j2", "j3"]) accept(state, id);
    expect(modelLoads(state)).toEqual([
      { name: MODEL, kinds: ["chat"], workers: 2, slots: 8, free: 0, active: 1, queued: 2 },
    ]);
  });
});
