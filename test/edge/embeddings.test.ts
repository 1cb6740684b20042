import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { toBase64 } from "../../schema/crypto/bytes.ts";
import type { JobFrame } from "../../schema/wire/worker-frames.ts";
import { ask, type ClientKey, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

let key: ClientKey;
beforeEach(async () => {
  key = await createKey();
});

let models = 0;
async function serve(kinds: ("chat" | "embedding")[] = ["embedding"]) {
  const model = `embed-${++models}`;
  return { model, agent: await ScriptedAgent.serving((await invite()).token, { model, kinds }) };
}

function embed(body: object, as = key): Promise<Response> {
  const headers = { authorization: `Bearer ${as.key}`, "content-type": "application/json" };
  return ask("/v1/embeddings", { method: "POST", headers, body: JSON.stringify(body) });
}

const bytes = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer);
const vector = (job: JobFrame, index: number, of: Uint8Array) =>
  ({ type: "vector", jobId: job.jobId, lease: job.lease, index, vector: toBase64(of) }) as const;

describe("embeddings", () => {
  it("are numbers in the order of the inputs, and their record covers the bytes of the vectors", async () => {
    const { agent, model } = await serve();
    const asking = embed({ model, input: ["one", "two"] });
    const job = await agent.next("job");
    expect(job).toMatchObject({ kind: "embedding", request: { input: ["one", "two"], stream: false } });
    const vectors = [bytes(0.5, -0.25), bytes(1, 0)];
    for (const [i, one] of vectors.entries()) agent.send(vector(job, i, one));
    await agent.embedded(job, vectors, 4);
    const response = await asking;
    expect(response.status).toBe(200);
    expect(response.headers.get("x-ligand-worker")).toBe(agent.workerId);
    expect(await response.json()).toEqual({
      object: "list",
      model,
      data: [
        { object: "embedding", index: 0, embedding: [0.5, -0.25] },
        { object: "embedding", index: 1, embedding: [1, 0] },
      ],
      usage: { prompt_tokens: 4, total_tokens: 4 },
    });
    const row = await eventually(() =>
      env.DB.prepare("SELECT * FROM metering WHERE job_id = ?").bind(job.jobId).first<Record<string, unknown>>(),
    );
    expect(row).toMatchObject({
      kind: "embedding",
      outcome: "done",
      flags: "",
      prompt_tokens: 4,
      completion_tokens: 0,
    });
  });

  it("are base64 of float32 where the request asks for it", async () => {
    const { agent, model } = await serve();
    const asking = embed({ model, input: "one", encoding_format: "base64", dimensions: 3 });
    const job = await agent.next("job");
    expect(job.request).toEqual({ input: ["one"], dimensions: 3, stream: false });
    const one = bytes(0.1, 0.2, 0.3);
    agent.send(vector(job, 0, one));
    await agent.embedded(job, [one], 1);
    const { data } = await (await asking).json<{ data: { embedding: string }[] }>();
    expect(data[0]?.embedding).toBe(toBase64(one));
  });

  it("are computed again by another worker when the first is lost half-way", async () => {
    const model = `embed-${++models}`;
    const first = await ScriptedAgent.serving((await invite()).token, { model, kinds: ["embedding"] });
    const asking = embed({ model, input: ["one", "two"] });
    const job = await first.next("job");
    first.send(vector(job, 0, bytes(1)));
    const second = await ScriptedAgent.serving((await invite()).token, { model, kinds: ["embedding"] });
    first.close();
    const again = await second.next("job");
    expect(again.jobId).toBe(job.jobId);
    const vectors = [bytes(2), bytes(3)];
    for (const [i, one] of vectors.entries()) second.send(vector(again, i, one));
    await second.embedded(again, vectors, 2);
    const { data } = await (await asking).json<{ data: { embedding: number[] }[] }>();
    expect(data.map(({ embedding }) => embedding)).toEqual([[2], [3]]);
  });

  it.each<[what: string, frames: (job: JobFrame) => object[]]>([
    ["a vector out of order", (job) => [vector(job, 1, bytes(1))]],
    ["more vectors than inputs", (job) => [0, 1, 2].map((i) => vector(job, i, bytes(1)))],
    ["vectors of two lengths", (job) => [vector(job, 0, bytes(1)), vector(job, 1, bytes(1, 2))]],
    ["a value that is not a number", (job) => [vector(job, 0, bytes(Number.NaN))]],
    ["half a number", (job) => [vector(job, 0, new Uint8Array(3))]],
    ["text that is not base64", (job) => [{ ...vector(job, 0, bytes(1)), vector: "????" }]],
    ["text", (job) => [{ type: "delta", jobId: job.jobId, lease: job.lease, seq: 0, text: "x", tokens: 1 }]],
    ["too long a vector", (job) => [vector(job, 0, new Uint8Array(4 * 8_193))]],
  ])("close a socket that sends %s", async (_what, frames) => {
    const { agent, model } = await serve();
    const asking = embed({ model, input: ["one", "two"] });
    const job = await agent.next("job");
    for (const frame of frames(job)) agent.send(frame);
    expect((await agent.closed).code).toBe(1008);
    const other = await ScriptedAgent.serving((await invite()).token, { model, kinds: ["embedding"] });
    const again = await other.next("job");
    const vectors = [bytes(1), bytes(1)];
    for (const [i, one] of vectors.entries()) other.send(vector(again, i, one));
    await other.embedded(again, vectors, 2);
    expect((await asking).status).toBe(200);
  });

  it("close the socket of a worker that ends one vector too early", async () => {
    const { agent, model } = await serve();
    void embed({ model, input: ["one", "two"] });
    const job = await agent.next("job");
    agent.send(vector(job, 0, bytes(1)));
    await agent.embedded(job, [bytes(1)], 2);
    expect((await agent.closed).code).toBe(1008);
  });

  it("are refused with the name of a parameter that the worker cannot apply", async () => {
    const { agent, model } = await serve();
    const asking = embed({ model, input: "one", dimensions: 7 });
    const { jobId, lease } = await agent.next("job");
    const message = "The vectors of this model have 256 dimensions.";
    const code = "http/unsupported-parameter";
    agent.send({ type: "failed", jobId, lease, code, message, retryable: false, param: "dimensions" });
    const response = await asking;
    expect(response.status).toBe(400);
    const { error } = await response.json<{ error: object }>();
    expect(error).toMatchObject({ code: "unsupported_parameter", param: "dimensions" });
  });

  it.each<[what: string, body: object, code: string, param: string]>([
    ["token ids", { input: [1, 2] }, "unsupported_parameter", "input"],
    ["lists of token ids", { input: [[1, 2]] }, "unsupported_parameter", "input"],
    ["no input", {}, "invalid_value", "input"],
    ["empty text", { input: "" }, "invalid_value", "input"],
    ["no texts", { input: [] }, "invalid_value", "input"],
    ["too many texts", { input: Array.from({ length: 2_049 }, () => "x") }, "invalid_value", "input"],
    ["another encoding", { input: "x", encoding_format: "hex" }, "invalid_value", "encoding_format"],
    ["an unknown parameter", { input: "x", stream: true }, "unknown_parameter", "stream"],
  ])("of %s are refused", async (_what, body, code, param) => {
    const response = await embed({ model: "m", ...body });
    expect(response.status).toBe(400);
    const { error } = await response.json<{ error: { param: string } }>();
    expect(error).toMatchObject({ code });
    expect(error.param).toMatch(new RegExp(`^${param}`));
  });
});

describe("a model that does not do the kind of the request", () => {
  it("is refused with a code of its own, and the list of models has its kinds", async () => {
    const { model } = await serve(["chat"]);
    const refused = await embed({ model, input: "x" });
    expect(refused.status).toBe(400);
    expect((await refused.json<{ error: object }>()).error).toMatchObject({ code: "unsupported_model" });
    const listed = await ask(`/v1/models/${model}`, { headers: { authorization: `Bearer ${key.key}` } });
    expect(await listed.json()).toMatchObject({ id: model, kinds: ["chat"] });
  });

  it("on one worker, waits for another worker that does", async () => {
    const { model, agent } = await serve(["chat"]);
    const able = await ScriptedAgent.serving((await invite()).token, { model, kinds: ["embedding"], free: 0 });
    const asking = embed({ model, input: "x" });
    able.ready(1, model);
    const job = await able.next("job");
    able.send(vector(job, 0, bytes(1)));
    await able.embedded(job, [bytes(1)], 1);
    expect((await asking).status).toBe(200);
    expect(agent.received).toBe(0);
  });
});
