import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chatFormat } from "../../../edge/inference/formats/chat-format.ts";
import { JobGroup, newJobs, type PartEnd, servedTogether } from "../../../edge/inference/jobs/job-group-tracker.ts";
import type { LaneJob } from "../../../edge/inference/lane-rpc.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const base = { id: "j", keyId: "k", requestId: "r", model: "auto", includeUsage: false };
const completion = (more: Partial<LaneJob>, request: object = {}): LaneJob => ({
  ...base,
  kind: "completion",
  request: { prompt: "first", stream: true, ...request },
  ...more,
});
const jobsOf = (job: LaneJob) => {
  let made = 0;
  return newJobs(job, "m", () => `new-${++made}`);
};

describe("the jobs of a request", () => {
  it("are a single unchanged job for one answer", () => {
    const job = completion({});
    expect(jobsOf(job)).toEqual([
      {
        id: "j",
        group: "j",
        keyId: "k",
        requestId: "r",
        kind: "completion",
        model: "m",
        request: job.request,
      },
    ]);
  });

  it("are one job for each choice, those of the first prompt first", () => {
    const jobs = jobsOf(completion({ n: 2, prompts: ["a", "b"], moreIds: ["i1", "i2", "i3"] }));
    expect(jobs.map(({ id, group, request }) => [id, group, "prompt" in request && request.prompt])).toEqual([
      ["j", "j", "a"],
      ["i1", "j", "a"],
      ["i2", "j", "b"],
      ["i3", "j", "b"],
    ]);
  });

  it.each<[what: string, more: Partial<LaneJob>, seed: number | undefined, want: (number | undefined)[]]>([
    ["seeds of their own for the choices of one prompt", { n: 3 }, 7, [7, 8, 9]],
    ["the same seed for each prompt", { prompts: ["a", "b"] }, 7, [7, 7]],
    [
      "seeds that stay whole numbers",
      { n: 2 },
      Number.MAX_SAFE_INTEGER,
      [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1],
    ],
    ["no seed where the client gave none", { n: 2 }, undefined, [undefined, undefined]],
  ])("have %s", (_what, more, seed, want) => {
    const jobs = jobsOf(completion(more, seed === undefined ? {} : { seed }));
    expect(jobs.map(({ request }) => ("seed" in request ? request.seed : undefined))).toEqual(want);
  });

  it("share the texts of the request: several choices take no more memory than one", () => {
    const messages = [{ role: "user" as const, content: "hi" }];
    const chat: LaneJob = { ...base, kind: "chat", request: { messages, stream: false, seed: 1 }, n: 8 };
    for (const { request } of jobsOf(chat)) expect("messages" in request && request.messages).toBe(messages);
  });

  it.each([
    [1, [1]],
    [256, [256]],
    [257, [256, 1]],
    [600, [256, 256, 88]],
    [2_048, Array(8).fill(256)],
  ])("of %i inputs are batches that an older agent takes", (inputs, want) => {
    const input = Array.from({ length: inputs }, (_, i) => `${i}`);
    const jobs = jobsOf({ ...base, kind: "embedding", request: { input, stream: false } });
    const batches = jobs.map(({ request }) => ("input" in request ? request.input : []));
    expect(batches.map((batch) => batch.length)).toEqual(want);
    expect(batches.flat()).toEqual(input);
    expect(Math.max(...want)).toBeLessThanOrEqual(LIMITS.embeddingInputs);
    expect(jobs.map(({ id }) => id)).toEqual(["j", ...want.slice(1).map((_, i) => `new-${i + 1}`)]);
  });
});

const served = { workerId: "w", queuedMs: 1, deterministic: true };
const endOf = (promptTokens: number, completionTokens: number): PartEnd => ({
  ...{ served, finishReason: "stop", usage: { promptTokens, completionTokens } },
  ...{ text: undefined, toolCalls: undefined, vectors: [] },
});

it("an answer of several workers names each once, the longest wait, and is deterministic where all are", () => {
  const ends = [
    { served },
    { served: { workerId: "v", queuedMs: 9, deterministic: false } },
    { served: { ...served, queuedMs: 3 } },
  ];
  expect(servedTogether(ends)).toEqual({ workerId: "w, v", queuedMs: 9, deterministic: false });
});

/** An event of one part at one time. */
type Step = { part: number; does: "text" | "done" | "fails" };

it("a stream has each choice's text in order, each end once, the sum of the usage and [DONE] once, however its parts run", () => {
  const parts = fc.integer({ min: 1, max: 6 });
  const cases = parts.chain((count) =>
    fc.record({
      count: fc.constant(count),
      steps: fc.array(
        fc.record({
          part: fc.nat(count - 1),
          does: fc.oneof(
            { weight: 8, arbitrary: fc.constant<Step["does"]>("text") },
            { weight: 4, arbitrary: fc.constant<Step["does"]>("done") },
            { weight: 1, arbitrary: fc.constant<Step["does"]>("fails") },
          ),
        }),
        { maxLength: 60 },
      ),
    }),
  );
  fc.assert(
    fc.property(cases, ({ count, steps }) => {
      const ids = Array.from({ length: count }, (_, i) => `p${i}`);
      const group = new JobGroup(ids);
      const format = chatFormat({
        jobId: "j",
        requestId: "r",
        format: "chat",
        model: "m",
        createdSeconds: 1,
        includeUsage: true,
      });
      const running = new Set(ids);
      const texts = ids.map(() => "");
      let failed: string | null = null;
      let stream = "";
      for (const [at, { part, does }] of steps.entries()) {
        const id = ids[part] ?? "";
        // A lane reports about a job until the job's single end.
        if (!running.has(id)) continue;
        if (does === "text") {
          const text = `${part}.${at} `;
          if (failed === null) texts[part] += text;
          // After the failure of its request, the output of a part has no reader.
          if (failed === null) stream += format.text(group.choiceOf(id), text);
        } else if (does === "done") {
          running.delete(id);
          const step = group.done(id, endOf(part + 1, 10));
          expect(step === "over").toBe(failed !== null);
          if (step === "over") continue;
          stream += format.finish(group.choiceOf(id), "stop");
          if (step !== "running") stream += format.end(step.usage);
        } else {
          running.delete(id);
          const others = group.failed(id);
          expect(others === null).toBe(failed !== null);
          if (others === null) continue;
          expect(new Set(others)).toEqual(running);
          failed = id;
          stream += format.error("inference/worker-lost");
        }
        expect(new Set(group.running)).toEqual(failed === null ? running : new Set());
      }

      const data = stream.split("\n\n").flatMap((event) => (event === "" ? [] : event.replace(/^data: /, "")));
      const isDone = failed === null && running.size === 0;
      expect(data.filter((each) => each === "[DONE]")).toHaveLength(isDone ? 1 : 0);
      expect(data.at(-1) === "[DONE]").toBe(isDone);
      const chunks = data.filter((each) => each !== "[DONE]").map((each) => JSON.parse(each));
      const choices = chunks.flatMap((chunk) => chunk.choices ?? []);
      for (const [i, text] of texts.entries()) {
        const ofChoice = choices.filter(({ index }) => index === i);
        expect(ofChoice.map(({ delta }) => delta.content ?? "").join("")).toBe(text);
        const ends = ofChoice.filter(({ finish_reason }) => finish_reason !== null);
        expect(ends.length).toBeLessThanOrEqual(1);
        if (isDone) expect(ends).toHaveLength(1);
        // No text of a choice follows its end.
        if (ends.length > 0) expect(ofChoice.at(-1)).toBe(ends[0]);
      }
      const usages = chunks.flatMap(({ usage }) => usage ?? []);
      const promptTokens = (count * (count + 1)) / 2;
      expect(usages).toEqual(
        isDone
          ? [{ prompt_tokens: promptTokens, completion_tokens: 10 * count, total_tokens: promptTokens + 10 * count }]
          : [],
      );
    }),
    { numRuns: 500 },
  );
});
