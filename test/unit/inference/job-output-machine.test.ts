import { describe, expect, it } from "vitest";
import { submit, workerConnected, workerFrame, workerGone } from "../../../edge/inference/jobs/lane-machine.ts";
import { addBytes } from "../../../edge/inference/jobs/lane-memory-rules.ts";
import { type NewJob, newLane } from "../../../edge/inference/jobs/lane-state.ts";
import { ERRORS } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import {
  accept,
  delta,
  done,
  ends,
  type JobFrame,
  jobOf,
  laneWith,
  MODEL,
  newJob,
  ready,
  types,
} from "./lane-support.ts";

describe("the output of a worker", () => {
  const BIG = "y".repeat(60_000);
  const laneOf = (contextTokens: number) => {
    const state = newLane(new Set([MODEL]));
    const models = [{ name: MODEL, slots: 4, kinds: ["chat" as const, "embedding" as const], contextTokens }];
    workerConnected(state, { connection: "a", workerId: "id-a", engine: "llama", minor: 0, models }, 0);
    workerFrame(state, "a", ready(0, 4), 0);
    return state;
  };

  it.each<[what: string, contextTokens: number, maxTokens: number | undefined, deltas: number]>([
    ["the context of its model", 1_024, undefined, 2],
    ["what the client allows", 100_000, 1_000, 2],
    ["the limit of every answer", 2 ** 31, undefined, Math.floor(LIMITS.answerBytes / BIG.length)],
  ])(
    "is bounded by %s: beyond it the job fails, is flagged, and no other worker gets it",
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

  it("counts ids and names of tool calls, also in a whole answer", () => {
    const state = laneOf(1);
    submit(state, [newJob("whole", { stream: false })], 100, 0);
    const call = { id: "i".repeat(4_000), name: "f", arguments: "y".repeat(224) };
    const tools = [{ name: "f" }];
    Object.assign(jobOf(state, "whole").request, { tools });
    const frame = { ...done("whole", 1, ""), toolCalls: [call], finishReason: "tool_calls" } as JobFrame;
    expect(ends(workerFrame(state, "a", frame, 0))).toEqual([["whole", "inference/answer-overlong"]]);
  });

  it("stays in the lane's memory until the client has read it, and a job without room may be tried again", () => {
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
    // Two answers wait for their reader; the third one has freed everything.
    expect(state.memory.answers).toBe(2 * each);
    expect(ERRORS["inference/answer-room"].status).toBe(503);
    // Jobs that are cancelled or retried hold no memory.
    submit(state, [embed("other", "k2")], 100, 0);
    workerFrame(
      state,
      "a",
      { type: "vector", jobId: "other", lease: jobOf(state, "other").lease, index: 0, vector },
      0,
    );
    // The memory for all of its vectors is reserved with the first vector.
    expect(state.memory.answers).toBe(3 * each);
    workerGone(state, "a", 0);
    expect(state.memory.answers).toBe(2 * each);
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
  ])("%i vectors of %i numbers: the first vector decides: %s", (inputs, dimensions, want) => {
    const state = laneFor("embedding");
    const batches = Array.from({ length: Math.ceil(inputs / embeddingInputs) }, (_, i) =>
      embedding(`b${i}`, Math.min(embeddingInputs, inputs - i * embeddingInputs)),
    );
    submit(state, batches as [NewJob, ...NewJob[]], 100, 0);
    // Whichever batch is first, and however few inputs that batch has.
    const { id, lease } = jobOf(state, `b${batches.length - 1}`);
    const vector = Buffer.from(new Float32Array(dimensions).buffer).toString("base64");
    const effects = workerFrame(state, "a", { type: "vector", jobId: id, lease, index: 0, vector }, 0);
    if (want === "runs") expect(types(effects)).toEqual(["accepted"]);
    else {
      const most = Math.floor(keyAnswerBytes / dimensions / 4);
      const remedy = `Send at most ${most} inputs in a request.`;
      expect(effects.at(-1)).toMatchObject({ type: "end", end: { code: "inference/answer-too-large", remedy } });
      expect(state.memory.answers).toBe(0);
    }
    expect(ERRORS["inference/answer-too-large"].status).toBe(400);
  });

  it("is refused also where only the texts of several choices together are too long", () => {
    const state = laneFor("chat");
    addBytes(state.memory, "k", "answers", keyAnswerBytes - wholeTextBytes);
    const choices = ["c0", "c1"].map((id) => ({ ...newJob(id, { stream: false }), group: "c0" }));
    submit(state, choices as [NewJob, ...NewJob[]], 100, 0);
    const finish = (id: string, chars: number) =>
      workerFrame(state, "a", done(id, jobOf(state, id).lease, "x".repeat(chars)), 0);
    expect(ends(finish("c0", wholeTextBytes - 10))).toEqual([["c0", "done"]]);
    const effects = finish("c1", 11);
    expect(effects.at(-1)).toMatchObject({
      end: { code: "inference/answer-too-large", remedy: expect.stringContaining("Ask for a stream") },
    });
  });
});

describe("frames that break the protocol", () => {
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
