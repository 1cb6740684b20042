import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Metering } from "../../schema/wire/worker-frames.ts";
import { ask, type ClientKey, chat, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

let key: ClientKey;
beforeEach(async () => {
  key = await createKey({ requests_per_minute: 1_000 });
});

/** Each test has a model of its own, so that no other test's worker serves it. */
let models = 0;
const freshModel = () => `model-${++models}`;
async function serve(options: { slots?: number; free?: number } = {}) {
  const model = freshModel();
  const { token, id } = await invite();
  const agent = await ScriptedAgent.serving(token, { ...options, model });
  return { agent, model, token, tokenId: id };
}
const meteringRow = (jobId: string) =>
  eventually(() =>
    env.DB.prepare("SELECT * FROM metering WHERE job_id = ?").bind(jobId).first<Record<string, unknown>>(),
  );

describe("a streamed answer", () => {
  it("has a role, deltas, a finish reason, usage and [DONE], and names its worker", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true, stream_options: { include_usage: true } });
    const job = await agent.next("job");
    expect(job).toMatchObject({
      model,
      kind: "chat",
      request: { messages: [{ role: "user", content: "hi" }], stream: true },
    });
    agent.delta(job, 0, "Hello");
    const response = await asking;
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    expect(response.headers.get("x-ligand-worker")).toBe(agent.workerId);
    expect(Number(response.headers.get("x-ligand-queue-ms"))).toBeGreaterThanOrEqual(0);
    expect(response.headers.get("x-ratelimit-limit-requests")).toBe("1000");
    agent.delta(job, 1, " you 你好");
    await agent.done(job, "Hello you 你好");

    const { data } = await events(response);
    expect(data.at(-1)).toBe("[DONE]");
    const chunks = data.slice(0, -1).map((line) => JSON.parse(line));
    expect(chunks[0].choices[0].delta).toEqual({ role: "assistant", content: "" });
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("Hello you 你好");
    expect(chunks.at(-2).choices[0].finish_reason).toBe("stop");
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 },
    });
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
    expect(await meteringRow(job.jobId)).toMatchObject({
      key_id: key.id,
      worker_id: agent.workerId,
      outcome: "done",
      flags: "",
      prompt_tokens: 3,
      completion_tokens: 5,
    });
  });

  it("has no usage chunk when the request does not ask for one", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "a");
    await agent.done(job, "a");
    const { data } = await events(await asking);
    expect(data.some((line) => line.includes('"usage"'))).toBe(false);
  });

  it("turns a failure before the first output into a status", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true });
    const job = await agent.next("job");
    agent.send({
      type: "failed",
      jobId: job.jobId,
      lease: job.lease,
      code: "inference/context-length-exceeded",
      message: "The prompt has 9000 tokens; the model takes 1024.",
      retryable: false,
    });
    const response = await asking;
    expect(response.status).toBe(400);
    const { error } = await response.json<{ error: { code: string; message: string } }>();
    expect(error.code).toBe("context_length_exceeded");
    expect(error.message).toContain("9000 tokens");
  });

  it("sends an error after the first byte as an event, without [DONE]", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "half an ans");
    const response = await asking;
    agent.close();
    const { data } = await events(response);
    expect(JSON.parse(data.at(-1) ?? "")).toMatchObject({ error: { code: "worker_lost" } });
    expect(data).not.toContain("[DONE]");
    expect(await meteringRow(job.jobId)).toMatchObject({ outcome: "failed", code: "inference/worker-lost" });
  });

  it("starts with comments while it waits in the queue, and a later comment names its worker", async () => {
    const { agent, model } = await serve({ free: 0 });
    const response = await chat(key, { model, stream: true });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-ligand-worker")).toBeNull();
    agent.ready(1, model);
    const job = await agent.next("job");
    agent.delta(job, 0, "late");
    await agent.done(job, "late");
    const { data, comments } = await events(response);
    expect(comments[0]).toBe("queued place=1");
    expect(comments.some((comment) => comment.startsWith(`x-ligand-worker=${agent.workerId} x-ligand-queue-ms=`))).toBe(
      true,
    );
    expect(data.at(-1)).toBe("[DONE]");
  });

  it("cancels the job at the worker when its reader leaves", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "x");
    const response = await asking;
    await response.body?.cancel();
    expect(await agent.next("cancel")).toEqual({ type: "cancel", jobId: job.jobId, lease: job.lease });
    expect(await meteringRow(job.jobId)).toMatchObject({ outcome: "cancelled", code: "inference/cancelled" });
  });

  it("is cancelled when its reader leaves more than a megabyte unread", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true, max_tokens: 100_000 });
    const job = await agent.next("job");
    agent.delta(job, 0, "x");
    const response = await asking;
    const text = "y".repeat(60_000);
    for (let seq = 1; seq <= 200; seq++) agent.delta(job, seq, text);
    expect(await agent.next("cancel")).toMatchObject({ jobId: job.jobId });
    expect(await meteringRow(job.jobId)).toMatchObject({ code: "inference/slow-reader" });
    await response.body?.cancel().catch(() => {});
  });
});

describe("a whole answer", () => {
  it("comes in one piece, chat and completion", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, max_tokens: 5 });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ stream: false, maxTokens: 5 });
    await agent.done(job, "Hello");
    const response = await asking;
    expect(response.headers.get("x-ligand-worker")).toBe(agent.workerId);
    expect(await response.json()).toMatchObject({
      object: "chat.completion",
      model,
      choices: [{ message: { role: "assistant", content: "Hello" }, finish_reason: "stop" }],
      usage: { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 },
    });

    const completing = ask("/v1/completions", {
      method: "POST",
      headers: { authorization: `Bearer ${key.key}` },
      body: JSON.stringify({ model, prompt: "Once" }),
    });
    const second = await agent.next("job");
    expect(second).toMatchObject({ kind: "completion", request: { prompt: "Once" } });
    await agent.done(second, " upon");
    expect(await (await completing).json()).toMatchObject({ object: "text_completion", choices: [{ text: " upon" }] });
  });
});

describe("a worker that claims too much", () => {
  it.each<[what: string, change: (record: Metering) => Metering, flags: string]>([
    ["more tokens than bytes", (record) => ({ ...record, completion_tokens: 9_999 }), "clamped"],
    ["another job", (record) => ({ ...record, job_id: crypto.randomUUID() }), "mismatch"],
    ["another answer", (record) => ({ ...record, response_sha256: "0".repeat(64) }), "mismatch"],
  ])("is flagged: %s", async (_what, change, flags) => {
    const { agent, model } = await serve();
    const asking = chat(key, { model });
    const job = await agent.next("job");
    await agent.done(job, "Hello", change);
    const { usage } = await (await asking).json<{ usage: { completion_tokens: number } }>();
    const most = "Hello".length + LIMITS.hiddenTokens;
    expect(usage.completion_tokens).toBeLessThanOrEqual(most);
    expect(await meteringRow(job.jobId)).toMatchObject({ flags, completion_tokens: flags === "clamped" ? most : 5 });
  });

  it("may claim a token for each byte of the prompt, which is not its length in UTF-16", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, messages: [{ role: "user", content: "\u6f22".repeat(300) }] });
    const job = await agent.next("job");
    await agent.done(job, "Hello", (record) => ({ ...record, prompt_tokens: 3 * 300 }));
    expect((await asking).status).toBe(200);
    expect(await meteringRow(job.jobId)).toMatchObject({ flags: "", prompt_tokens: 900 });
  });

  it("is flagged when the record is signed by another key", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model });
    const job = await agent.next("job");
    await agent.done(job, "Hello", (record) => record, await signerFrom(generateSecretKey()));
    await asking;
    expect(await meteringRow(job.jobId)).toMatchObject({ flags: "bad-signature" });
  });
});

describe("a worker that goes away", () => {
  it("before the first output: another worker completes the job", async () => {
    const model = freshModel();
    const first = await ScriptedAgent.serving((await invite()).token, { model });
    const asking = chat(key, { model, stream: true });
    await first.next("job");
    const second = await ScriptedAgent.serving((await invite()).token, { model });
    first.close();
    const again = await second.next("job");
    second.delta(again, 0, "done");
    await second.done(again, "done");
    const { data } = await events(await asking);
    expect(data.at(-1)).toBe("[DONE]");
    expect(await meteringRow(again.jobId)).toMatchObject({ attempts: 2, worker_id: second.workerId });
  });
});

describe("refusals", () => {
  it.each<[what: string, body: object, status: number, code: string, param: string]>([
    ["an unknown model", { model: "never-heard-of" }, 404, "model_not_found", "model"],
    ["n that is too large", { n: 9 }, 400, "invalid_value", "n"],
    ["logit_bias", { logit_bias: { "1": 1 } }, 400, "unsupported_parameter", "logit_bias"],
    ["messages of a wrong type", { messages: 7 }, 400, "invalid_value", "messages"],
  ])("%s", async (_what, body, status, code, param) => {
    const response = await chat(key, body);
    expect(response.status).toBe(status);
    expect((await response.json<{ error: object }>()).error).toMatchObject({ code, param });
  });

  it("of a busy worker: at once, with Retry-After, also in a stream that has started", async () => {
    const { agent, model } = await serve({ free: 0 });
    const failure = { code: "inference/worker-busy", message: "Full.", retryable: true, retryAfterSeconds: 9 };
    const waiting = await chat(key, { model, stream: true });
    agent.ready(1, model);
    const { jobId, lease } = await agent.next("job");
    agent.send({ type: "failed", jobId, lease, ...failure });
    expect(JSON.parse((await events(waiting)).data.at(-1) ?? "").error).toMatchObject({
      code: "worker_busy",
      message: expect.stringMatching(/^Full\. .*Try again in 9 s\.$/),
    });
    agent.ready(1, model);
    const whole = chat(key, { model });
    const job = await agent.next("job");
    agent.send({ type: "failed", jobId: job.jobId, lease: job.lease, ...failure });
    const { status, headers } = await whole;
    expect([status, headers.get("retry-after"), headers.get("x-ligand-code")]).toEqual([
      503,
      "9",
      "inference/worker-busy",
    ]);
  });

  it("of a known model that no worker serves", async () => {
    const { agent, model } = await serve();
    agent.close();
    const response = await eventually(async () => {
      const answer = await chat(key, { model, stream: false });
      return answer.status === 503 ? answer : null;
    });
    const { error } = await response.json<{ error: object }>();
    expect(error).toMatchObject({
      code: "no_worker",
      message: expect.stringMatching(/that model now.*GET \/v1\/models/),
    });
    expect(response.headers.get("retry-after")).toBe("5");
  });

  it("of auto, when no worker does that kind of request", async () => {
    const response = await ask("/v1/embeddings", {
      method: "POST",
      headers: { authorization: `Bearer ${key.key}` },
      body: JSON.stringify({ model: "auto", input: "a" }),
    });
    const { error } = await response.json<{ error: object }>();
    const message = expect.stringMatching(/^No worker that does this kind.*Try again later/);
    expect([response.status, error]).toEqual([503, { code: "no_worker", type: "server_error", param: null, message }]);
  });

  it("of more requests than the key's limits", async () => {
    const small = await createKey({ requests_per_minute: 3, streams: 1 });
    const { agent, model } = await serve();
    const first = chat(small, { model, stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "x");
    await first;
    // The pool has read its body, so it costs a request.
    const second = await chat(small, { model, stream: true });
    expect(second.status).toBe(429);
    expect((await second.json<{ error: { code: string } }>()).error.code).toBe("too_many_streams");
    const third = chat(small, { model });
    await agent.done(await agent.next("job"), "y");
    expect((await third).status).toBe(200);
    const fourth = await chat(small, { model });
    expect(fourth.status).toBe(429);
    expect(Number(fourth.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(fourth.headers.get("x-ratelimit-remaining-requests")).toBe("0");
  });

  it("of a key that fills its memory in the lane, while another key is served", async () => {
    const { agent, model } = await serve({ free: 0 });
    const messages = [{ role: "user", content: "x".repeat(LIMITS.keyRequestBytes / 2 - 4_096) }];
    const waiting = [chat(key, { model, messages }), chat(key, { model, messages })];
    await eventually(async () => {
      const { models } = await env.LANE.getByName("main").overview();
      return models.find(({ name }) => name === model)?.queued === 2;
    });
    const third = await chat(key, { model, messages });
    expect([third.status, third.headers.get("x-ligand-code")]).toEqual([503, "inference/queue-full"]);
    const other = chat(await createKey(), { model });
    agent.ready(3, model);
    for (let i = 0; i < 3; i++) await agent.done(await agent.next("job"), "served");
    for (const asked of [...waiting, other]) expect((await asked).status).toBe(200);
  });

  it("of a body that is too large, with and without a length", async () => {
    const huge = `{"model":"m","messages":[{"role":"user","content":"${"x".repeat(4 * 1024 * 1024)}"}]}`;
    const chunked = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(huge));
        controller.close();
      },
    });
    for (const body of [huge, chunked]) {
      const response = await chat(key, {}, { body });
      expect(response.status).toBe(413);
    }
  });

  it("of a body that is not JSON, or not UTF-8", async () => {
    for (const body of ["{", new Uint8Array([0x22, 0xff, 0x22])])
      expect((await chat(key, {}, { body })).status).toBe(400);
  });
});

describe("models", () => {
  it("are listed while they are served, and shown one by one", async () => {
    const { model } = await serve();
    const headers = { authorization: `Bearer ${key.key}` };
    const list = await (await ask("/v1/models", { headers })).json<{ object: string; data: { id: string }[] }>();
    expect(list.object).toBe("list");
    expect(list.data.map(({ id }) => id)).toContain(model);
    expect(await (await ask(`/v1/models/${model}`, { headers })).json()).toMatchObject({ id: model, object: "model" });
    expect((await ask("/v1/models/none", { headers })).status).toBe(404);
    expect(await (await ask("/v1/models/auto", { headers })).json()).toMatchObject({ id: "auto", object: "model" });
  });
});
