import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { toBase64 } from "../../schema/crypto/bytes.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobFrame, JobKind } from "../../schema/wire/worker-frames.ts";
import { admin, ask, type ClientKey, chat, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

/** Requests that are several jobs. */
let key: ClientKey;
beforeEach(async () => {
  key = await createKey({ requests_per_minute: 1_000 });
});

let models = 0;
const freshModel = () => `several-${++models}`;
const serve = async (model: string, kinds: JobKind[] = ["chat", "completion", "embedding"]) =>
  ScriptedAgent.serving((await invite()).token, { model, kinds, slots: 8 });

const post = (path: string, body: object) =>
  ask(path, { method: "POST", headers: { authorization: `Bearer ${key.key}` }, body: JSON.stringify(body) });

const remaining = (response: Response) => Number(response.headers.get("x-ratelimit-remaining-requests"));
const rowsOf = (jobIds: string[]) =>
  eventually(async () => {
    const marks = jobIds.map(() => "?").join(",");
    const found = await env.DB.prepare(`SELECT * FROM metering WHERE job_id IN (${marks})`)
      .bind(...jobIds)
      .all();
    return found.results.length === jobIds.length && found.results;
  });
/** The workers report which jobs they have received. Until then the lane counts these as on their way. */
const holdsNothing = (model: string, ...agents: ScriptedAgent[]) => {
  for (const agent of agents) agent.ready(8, model);
  return eventually(async () => {
    const { lanes } = await admin<{ lanes: { holds: Record<string, number> }[] }>("GET", "/doctor");
    return lanes.every(({ holds }) => Object.values(holds).every((n) => n === 0));
  });
};

interface Whole {
  id: string;
  choices: { index: number; text?: string; message?: { content: string }; finish_reason: string }[];
  usage: { prompt_tokens: number; completion_tokens: number };
}

describe("n answers", () => {
  it("are one choice each, in order, each with its metering row, and the usage is the sum", async () => {
    const model = freshModel();
    const agent = await serve(model);
    const asking = chat(key, { model, n: 3, seed: 5 });
    const jobs = [await agent.next("job"), await agent.next("job"), await agent.next("job")] as const;
    expect(jobs.map(({ request }) => "seed" in request && request.seed)).toEqual([5, 6, 7]);
    expect(new Set(jobs.map(({ jobId }) => jobId)).size).toBe(3);
    for (const i of [2, 0, 1]) await agent.done(jobs[i] as JobFrame, `answer ${i}`);
    const response = await asking;
    expect([response.status, response.headers.get("x-ligand-job")]).toEqual([200, jobs[0].jobId]);
    expect(remaining(response)).toBe(997);
    const { id, choices, usage } = await response.json<Whole>();
    expect(id).toBe(`chatcmpl-${jobs[0].jobId}`);
    expect(choices.map(({ index, message }) => [index, message?.content])).toEqual([
      [0, "answer 0"],
      [1, "answer 1"],
      [2, "answer 2"],
    ]);
    expect(usage).toMatchObject({ prompt_tokens: 9, completion_tokens: 15, total_tokens: 24 });
    const rows = await rowsOf(jobs.map(({ jobId }) => jobId));
    expect(rows.map(({ outcome, flags }) => [outcome, flags])).toEqual(Array(3).fill(["done", ""]));
    await holdsNothing(model, agent);
    agent.close();
  });

  it("are one stream of several workers, with each choice's index, one usage and one end", async () => {
    const model = freshModel();
    const agents = [await serve(model), await serve(model)] as const;
    const asking = chat(key, { model, n: 2, stream: true, stream_options: { include_usage: true } });
    const [first, second] = [await agents[0].next("job"), await agents[1].next("job")];
    agents[1].delta(second, 0, "b");
    agents[0].delta(first, 0, "a");
    await agents[1].done(second, "b");
    agents[0].delta(first, 1, "A");
    await agents[0].done(first, "aA");
    const { data } = await events(await asking);
    expect(data.filter((each) => each === "[DONE]")).toHaveLength(1);
    expect(data.at(-1)).toBe("[DONE]");
    const chunks = data.slice(0, -1).map((each) => JSON.parse(each));
    const textOf = (index: number) =>
      chunks.flatMap(({ choices }) => choices.filter((choice: { index: number }) => choice.index === index));
    expect(
      textOf(0)
        .map(({ delta }) => delta.content ?? "")
        .join(""),
    ).toBe("aA");
    expect(
      textOf(1)
        .map(({ delta }) => delta.content ?? "")
        .join(""),
    ).toBe("b");
    for (const i of [0, 1]) expect(textOf(i).filter(({ finish_reason }) => finish_reason === "stop")).toHaveLength(1);
    expect(chunks.flatMap(({ usage }) => usage ?? [])).toMatchObject([{ prompt_tokens: 6, completion_tokens: 3 }]);
    await holdsNothing(model, ...agents);
    for (const agent of agents) agent.close();
  });

  it("all fail with the first failure, whole and streamed, and the other jobs are cancelled", async () => {
    for (const stream of [false, true]) {
      const model = freshModel();
      const agent = await serve(model);
      const asking = chat(key, { model, n: 2, stream });
      const [first, second] = [await agent.next("job"), await agent.next("job")];
      if (stream) agent.delta(first, 0, "x");
      const { jobId, lease } = second;
      const code = "inference/engine-failed";
      agent.send({ type: "failed", jobId, lease, code, message: "The engine failed.", retryable: false });
      expect(await agent.next("cancel")).toMatchObject({ jobId: first.jobId });
      const response = await asking;
      const error = { error: { code: "engine_error" } };
      if (stream) expect(JSON.parse((await events(response)).data.at(-1) ?? "")).toMatchObject(error);
      else expect([response.status, await response.json()]).toMatchObject([502, error]);
      const rows = await rowsOf([first.jobId, jobId]);
      expect(rows.map(({ outcome }) => outcome).sort()).toEqual(["cancelled", "failed"]);
      await holdsNothing(model, agent);
      agent.close();
    }
  });

  it("all end when their client leaves, or cancels by any of their ids", async () => {
    const model = freshModel();
    const agent = await serve(model);
    const begin = async () => {
      const asking = chat(key, { model, n: 2, stream: true });
      const jobs = [await agent.next("job"), await agent.next("job")] as const;
      agent.delta(jobs[0], 0, "x");
      return { jobs, response: await asking };
    };
    const cancelled = async () => [(await agent.next("cancel")).jobId, (await agent.next("cancel")).jobId].sort();
    const ids = (jobs: readonly JobFrame[]) => jobs.map(({ jobId }) => jobId).sort();

    const left = await begin();
    await left.response.body?.cancel();
    expect(await cancelled()).toEqual(ids(left.jobs));
    for (const which of [0, 1] as const) {
      agent.ready(8, model);
      const { jobs, response } = await begin();
      const answer = await post(`/v1/jobs/${jobs[which].jobId}/cancel`, {});
      expect(await cancelled()).toEqual(ids(jobs));
      if (which === 0) expect(await answer.json()).toEqual({ id: jobs[0].jobId, cancelled: true, state: "cancelled" });
      expect((await events(response)).data.at(-1)).toContain('"cancelled"');
    }
    await holdsNothing(model, agent);
    agent.close();
  });

  it("hold one stream slot each, and free it when they end", async () => {
    const small = await createKey({ requests_per_minute: 100, streams: 2 });
    const model = freshModel();
    const agent = await serve(model);
    const refused = await chat(small, { model, n: 3, stream: true });
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([400, null]);
    expect(await refused.json()).toMatchObject({ error: { code: "too_many_choices", param: "n" } });
    const asking = chat(small, { model, n: 2, stream: true });
    const jobs = [await agent.next("job"), await agent.next("job")];
    expect((await chat(small, { model, stream: true })).status).toBe(429);
    for (const job of jobs) await agent.done(job, "x");
    await (await asking).text();
    await eventually(async () => {
      const again = chat(small, { model, n: 2, stream: true });
      const answered = await Promise.race([again, agent.next("job")]);
      if (answered instanceof Response) return false;
      await agent.done(answered, "x");
      await agent.done(await agent.next("job"), "x");
      return (await again).text();
    });
    agent.close();
  });
});

describe("several prompts", () => {
  it("have n choices each, in order", async () => {
    const model = freshModel();
    const agent = await serve(model);
    const asking = post("/v1/completions", { model, prompt: ["A", "B"], n: 2, best_of: 2, seed: 1 });
    const jobs: JobFrame[] = [];
    for (let i = 0; i < 4; i++) jobs.push(await agent.next("job"));
    expect(jobs.map(({ request }) => request)).toMatchObject([
      { prompt: "A", seed: 1 },
      { prompt: "A", seed: 2 },
      { prompt: "B", seed: 1 },
      { prompt: "B", seed: 2 },
    ]);
    for (const [i, job] of jobs.entries()) await agent.done(job, `text ${i}`);
    const response = await asking;
    expect(remaining(response)).toBe(996);
    const { choices } = await response.json<Whole>();
    expect(choices.map(({ index, text }) => [index, text])).toEqual([0, 1, 2, 3].map((i) => [i, `text ${i}`]));
    agent.close();
  });

  it.each<[what: string, body: object, param: string]>([
    ["too many of them", { prompt: Array(33).fill("a") }, "prompt"],
    ["too many with n", { prompt: Array(5).fill("a"), n: 7 }, "n"],
    ["too large an n", { prompt: "a", n: 9 }, "n"],
    ["best_of larger than n", { prompt: "a", best_of: 2 }, "best_of"],
  ])("%s are refused", async (_what, body, param) => {
    const response = await post("/v1/completions", { model: "any", ...body });
    expect([response.status, (await response.json<{ error: { param: string } }>()).error.param]).toEqual([400, param]);
  });
});

describe("a long request", () => {
  const heldBytes = async () => {
    const { lanes } = await admin<{ lanes: { holds: Record<string, number> }[] }>("GET", "/doctor");
    return lanes.reduce((sum, { holds }) => sum + (holds.request_bytes ?? 0), 0);
  };
  const long = "x".repeat(600_000);
  const short = Array<string>(31).fill("b");

  it.each<[what: string, path: string, body: object, choices: number, bytes: number]>([
    ["eight answers to one message", "chat/completions", { messages: [{ role: "user", content: long }], n: 8 }, 8, 6e5],
    ["32 prompts, the longest first", "completions", { prompt: [long, ...short] }, 32, 6e5],
    ["32 prompts, the longest last", "completions", { prompt: [...short, long] }, 32, 6e5],
    ["eight answers to each of four", "completions", { prompt: [long, long, "b", "b"], n: 8 }, 32, 12e5],
  ])("is held once for all of its answers: %s", async (_what, path, body, choices, bytes) => {
    const model = freshModel();
    const agent = await ScriptedAgent.serving((await invite()).token, { model, slots: choices });
    const asking = post(`/v1/${path}`, { model, ...body });
    const jobs: JobFrame[] = [];
    while (jobs.length < choices) jobs.push(await agent.next("job"));
    expect(await heldBytes()).toBeGreaterThan(bytes);
    expect(await heldBytes()).toBeLessThan(bytes + 10_000);
    for (const job of jobs) {
      // Each worker may claim the tokens of its own prompt only.
      const usage = { promptTokens: 100_000_000, completionTokens: 1 };
      await agent.finish(job, { output: new TextEncoder().encode("a"), usage, whole: { text: "a" } });
    }
    const { usage } = await (await asking).json<Whole>();
    const sent = jobs.reduce((sum, job) => sum + JSON.stringify(job.request).length + LIMITS.promptTokenSlack, 0);
    expect(usage.prompt_tokens).toBe(sent);
    agent.ready(choices, model);
    await eventually(async () => (await heldBytes()) === 0);
    agent.close();
  });
});

describe("embeddings of many inputs", () => {
  it("that are too large together are refused with the number that fits, before the rest is computed", async () => {
    const model = freshModel();
    const agent = await serve(model, ["embedding"]);
    const asking = post("/v1/embeddings", { model, input: Array(2_048).fill("x") });
    const jobs: JobFrame[] = [];
    while (jobs.length < 8) jobs.push(await agent.next("job"));
    const { jobId, lease } = jobs[7] as JobFrame;
    agent.send({ type: "vector", jobId, lease, index: 0, vector: toBase64(new Uint8Array(4 * 3_072)) });
    const response = await asking;
    const { error } = await response.json<{ error: { code: string; message: string } }>();
    expect([response.status, error.code]).toEqual([400, "answer_too_large"]);
    expect(error.message).toContain("Send at most 1365 inputs in a request.");
    const rejectedIds = [(await agent.next("rejected")).jobId];
    while (rejectedIds.length < 8) rejectedIds.push((await agent.next("cancel")).jobId);
    expect(rejectedIds.sort()).toEqual(jobs.map((job) => job.jobId).sort());
    await holdsNothing(model, agent);
    agent.close();
  });

  it.each([
    [300, "float"],
    [600, "base64"],
    [2_048, "base64"],
  ] as const)(
    "%i, as %s, are batches at the workers and one answer in order, for one request",
    async (count, format) => {
      const model = freshModel();
      const agent = await serve(model, ["embedding"]);
      const input = Array.from({ length: count }, (_, i) => `text ${i}`);
      const asking = post("/v1/embeddings", { model, input, encoding_format: format });
      const batches = Math.ceil(count / 256);
      const jobs: JobFrame[] = [];
      for (let i = 0; i < batches; i++) jobs.push(await agent.next("job"));
      // The last batch first: the answer still has the order of the inputs.
      for (const job of jobs.toReversed()) {
        const texts = "input" in job.request ? job.request.input : [];
        const vectors = texts.map((text) => new Uint8Array(new Float32Array([Number(text.slice(5)), 0.5]).buffer));
        for (const [index, vector] of vectors.entries()) {
          agent.send({ type: "vector", jobId: job.jobId, lease: job.lease, index, vector: toBase64(vector) });
        }
        await agent.embedded(job, vectors, 100);
      }
      const response = await asking;
      expect(response.status).toBe(200);
      expect(remaining(response)).toBe(999);
      const { data, usage } = await response.json<{
        data: { index: number; embedding: number[] | string }[];
        usage: { prompt_tokens: number };
      }>();
      const first = data.map(({ embedding }) =>
        typeof embedding === "string" ? new Float32Array(bytesOf(embedding).buffer)[0] : embedding[0],
      );
      expect(first).toEqual(input.map((_, i) => i));
      expect(data.map(({ index }) => index)).toEqual(input.map((_, i) => i));
      expect(usage.prompt_tokens).toBe(100 * batches);
      await holdsNothing(model, agent);
      agent.close();
    },
  );

  it("that are token ids, or too many, are refused with a remedy", async () => {
    for (const input of [
      [1, 2, 3],
      [[1, 2], [3]],
    ]) {
      const response = await post("/v1/embeddings", { model: "any", input });
      const { error } = await response.json<{ error: { message: string } }>();
      expect([response.status, error.message]).toEqual([
        400,
        expect.stringContaining("check_embedding_ctx_length=False"),
      ]);
    }
    const response = await post("/v1/embeddings", { model: "any", input: Array(2_049).fill("x") });
    expect([response.status, await response.json()]).toMatchObject([400, { error: { param: "input" } }]);
  });
});

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
