import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { ask, type ClientKey, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

let key: ClientKey;
let model: string;
let agent: ScriptedAgent;
let models = 0;
let leave: AbortController;
beforeEach(async () => {
  leave = new AbortController();
  key = await createKey();
  model = `messages-${++models}`;
  agent = await ScriptedAgent.serving((await invite()).token, { model, speaks: "ligand.worker.v1.2" });
  return () => agent.close();
});

/** As Anthropic's SDK sends it: the key in its own header, the version headers, and a query. */
function post(path: string, body: object | string, headers: HeadersInit = { "x-api-key": key.key }): Promise<Response> {
  return ask(`/v1/messages${path}`, {
    method: "POST",
    signal: leave.signal,
    headers: { "anthropic-version": "2023-06-01", "anthropic-beta": "tools-2024-05-16", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}
const message = (more: object = {}) => ({ model, max_tokens: 9, messages: [{ role: "user", content: "hi" }], ...more });
const metered = (jobId: string) =>
  eventually(() =>
    env.DB.prepare("SELECT prompt_tokens, completion_tokens, outcome, flags FROM metering WHERE job_id = ?")
      .bind(jobId)
      .first(),
  );

describe("/v1/messages", () => {
  it("answers in one piece", async () => {
    const asking = post("?beta=true", message({ system: [{ type: "text", text: "Be brief." }] }));
    const job = await agent.next("job");
    expect(job.request).toEqual({
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "hi" },
      ],
      maxTokens: 9,
      stream: false,
    });
    await agent.done(job, "Hello");
    const response = await asking;
    expect(response.status).toBe(200);
    expect(response.headers.get("request-id")).toBe(response.headers.get("x-request-id"));
    expect(await response.json()).toMatchObject({
      id: `msg_${job.jobId}`,
      type: "message",
      role: "assistant",
      model,
      content: [{ type: "text", text: "Hello" }],
      stop_reason: "end_turn",
      stop_sequence: null,
      usage: { input_tokens: 3, output_tokens: 5 },
    });
    expect(await metered(job.jobId)).toMatchObject({ prompt_tokens: 3, completion_tokens: 5, flags: "" });
  });

  it("also accepts the key in OpenAI's header", async () => {
    const asking = post("", message(), { authorization: `Bearer ${key.key}` });
    await agent.done(await agent.next("job"), "Hello");
    expect((await asking).status).toBe(200);
  });

  const forged = `lk_${"0".repeat(16)}_${"0".repeat(40)}_${"0".repeat(24)}`;
  it.each<[what: string, apiKey: string | null, bearer: string | null, path: string, status: number]>([
    ["the key beside a placeholder in the other header", null, "dummy", "/v1/messages", 200],
    ["the key in the other header, beside a placeholder", "dummy", null, "/v1/messages", 200],
    ["its own header first", null, forged, "/v1/messages?beta=true", 200],
    ["its own header first, although that key is forged", forged, null, "/v1/messages", 401],
    ["no key: two placeholders", "dummy", "dummy", "/v1/messages", 401],
    ["on another route, the key beside a placeholder", "dummy", null, "/v1/models", 200],
    ["on another route, the key in the other header beside a placeholder", null, "dummy", "/v1/models", 200],
    ["on another route, the other header first", forged, null, "/v1/models", 200],
    ["on another route, the other header first, although that key is forged", null, forged, "/v1/models", 401],
  ])("accepts %s", async (_what, apiKey, bearer, path, status) => {
    const headers = { "x-api-key": apiKey ?? key.key, authorization: `Bearer ${bearer ?? key.key}` };
    const isMessages = path.startsWith("/v1/messages");
    const asking = ask(path, { headers, ...(isMessages && { method: "POST", body: JSON.stringify(message()) }) });
    if (isMessages && status === 200) await agent.done(await agent.next("job"), "Hello");
    expect((await asking).status).toBe(status);
  });

  it("streams its events, with calls", async () => {
    const asking = post("", message({ stream: true, tools: [{ name: "f", input_schema: { type: "object" } }] }));
    const job = await agent.next("job");
    agent.delta(job, 0, "Well.");
    const toolCall = { index: 0, id: "call_a", name: "f" };
    agent.send({ type: "delta", jobId: job.jobId, lease: job.lease, seq: 1, text: "{}", tokens: 1, toolCall });
    const usage = { promptTokens: 3, completionTokens: 2 };
    await agent.finish(job, { output: utf8("Well.f{}"), usage, finishReason: "tool_calls" });
    const { data } = await events(await asking);
    expect(data.map((line) => JSON.parse(line).type)).toEqual([
      "message_start",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "message_delta",
      "message_stop",
    ]);
    expect(JSON.parse(data.at(-2) ?? "")).toMatchObject({
      delta: { stop_reason: "tool_use" },
      usage: { output_tokens: 2 },
    });
  });

  it.each([[true], [false]])("names the stop sequence that ended it, streamed: %s", async (stream) => {
    const asking = post("", message({ stream, stop_sequences: ["END", "STOP"] }));
    const job = await agent.next("job");
    if (stream) agent.delta(job, 0, "Hello");
    const usage = { promptTokens: 3, completionTokens: 1 };
    const whole = { stopSequence: "STOP", ...(!stream && { text: "Hello" }) };
    await agent.finish(job, { output: utf8("Hello"), usage, whole });
    const text = await (await asking).text();
    expect(text).toContain('"stop_reason":"stop_sequence","stop_sequence":"STOP"');
  });

  it("closes the socket of a worker that names a stop sequence which the request does not have", async () => {
    const asking = post("", message({ stop_sequences: ["END"] }));
    const job = await agent.next("job");
    const usage = { promptTokens: 3, completionTokens: 1 };
    await agent.finish(job, { output: utf8("x"), usage, whole: { text: "x", stopSequence: "OTHER" } });
    expect(await agent.closed).toMatchObject({ code: 1008 });
    leave.abort();
    await asking.catch(() => {});
  });

  it("sends an error event when the worker is lost in the middle of a stream", async () => {
    const asking = post("", message({ stream: true }));
    agent.delta(await agent.next("job"), 0, "Half");
    const response = await asking;
    agent.close();
    const text = await response.text();
    expect(text).toMatch(/event: error\ndata: \{"type":"error","error":\{"type":"api_error".*\n\n$/);
    expect(text).toContain(`"request_id":"${response.headers.get("request-id")}"`);
  });
});

describe("errors of /v1/messages have Anthropic's shape", () => {
  it.each<[what: string, asking: () => Promise<Response>, status: number, type: string]>([
    ["without a key", () => post("", message(), {}), 401, "authentication_error"],
    ["with an invalid key", () => post("", message(), { "x-api-key": "sk-none" }), 401, "authentication_error"],
    ["that is not JSON", () => post("", "{"), 400, "invalid_request_error"],
    ["without max_tokens", () => post("", message({ max_tokens: undefined })), 400, "invalid_request_error"],
    [
      "with an image",
      () => post("", message({ messages: [{ role: "user", content: [{ type: "image" }] }] })),
      400,
      "invalid_request_error",
    ],
    ["of an unknown model", () => post("", message({ model: "nobody-has-it" })), 404, "not_found_error"],
    [
      "streamed, of an unknown model",
      () => post("", message({ model: "nobody-has-it", stream: true })),
      404,
      "not_found_error",
    ],
    ["that is too large", () => post("", `"${"x".repeat(4 * 1024 * 1024)}"`), 413, "request_too_large"],
    [
      "by another method",
      () => ask("/v1/messages", { method: "PUT", headers: { "x-api-key": key.key } }),
      405,
      "invalid_request_error",
    ],
    ["of a count without a key", () => post("/count_tokens", message(), {}), 401, "authentication_error"],
    ["to an unknown path below it", () => post("/batches", {}), 404, "not_found_error"],
  ])("for a request %s", async (_what, asking, status, type) => {
    const response = await asking();
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({
      type: "error",
      error: {
        type,
        message: expect.any(String),
        details: expect.objectContaining({ error_code: expect.any(String) }),
      },
      request_id: response.headers.get("x-request-id"),
    });
  });

  it("for a key over its rate", async () => {
    key = await createKey({ requests_per_minute: 1 });
    const first = post("", message());
    await agent.done(await agent.next("job"), "Hello");
    expect((await first).status).toBe(200);
    for (const body of [message(), "{"]) {
      const response = await post("", body);
      expect([response.status, await response.json()]).toMatchObject([429, { error: { type: "rate_limit_error" } }]);
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    }
  });

  it("for a job that its worker fails, whole and streamed", async () => {
    for (const stream of [false, true]) {
      const asking = post("", message({ stream }));
      const { jobId, lease } = await agent.next("job");
      agent.send({
        type: "failed",
        jobId,
        lease,
        code: "inference/engine-failed",
        message: "It broke.",
        retryable: false,
      });
      const response = await asking;
      expect([response.status, await response.json()]).toMatchObject([
        502,
        { type: "error", error: { type: "api_error" } },
      ]);
    }
  });
});

describe("/v1/messages/count_tokens", () => {
  const counted = (
    text: string,
    countedTokens: number | undefined,
    usage = { promptTokens: 0, completionTokens: 0 },
  ) => ({
    output: utf8(text),
    usage,
    whole: { text, ...(countedTokens !== undefined && { countedTokens }) },
  });
  const count = (more: object = {}) =>
    post("/count_tokens", { model, messages: [{ role: "user", content: "hi" }], ...more });

  it("is answered by a worker, and costs no tokens", async () => {
    const asking = count({ tools: [{ name: "f", input_schema: { type: "object" } }] });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ countTokens: true, tools: [{ name: "f" }] });
    await agent.finish(job, counted("", 42));
    expect(await (await asking).json()).toEqual({ input_tokens: 42 });
    expect(await metered(job.jobId)).toMatchObject({
      prompt_tokens: 0,
      completion_tokens: 0,
      outcome: "done",
      flags: "",
    });
  });

  it("counts a conversation that ends with a call", async () => {
    const call = { type: "tool_use", id: "a", name: "f", input: {} };
    const asking = count({
      messages: [
        { role: "user", content: "hi" },
        { role: "assistant", content: [call] },
      ],
    });
    await agent.finish(await agent.next("job"), counted("", 42));
    expect(await (await asking).json()).toEqual({ input_tokens: 42 });
  });

  it("is bounded by the bytes of the request", async () => {
    const asking = count();
    await agent.finish(await agent.next("job"), counted("", 1_000_000));
    const { input_tokens } = await (await asking).json<{ input_tokens: number }>();
    expect(input_tokens).toBeLessThan(2_000);
  });

  it.each<[what: string, end: ReturnType<typeof counted>]>([
    ["does not count", counted("", undefined)],
    ["answers beside the count", counted("Hello", 42)],
    ["charges for it", counted("", 42, { promptTokens: 42, completionTokens: 0 })],
  ])("closes a worker that %s", async (_what, end) => {
    const asking = count();
    await agent.finish(await agent.next("job"), end);
    expect(await agent.closed).toMatchObject({ code: 1008 });
    leave.abort();
    await asking.catch(() => {});
  });

  it("closes the socket of a worker that counts without being asked to", async () => {
    const asking = post("", message());
    await agent.finish(await agent.next("job"), counted("Hello", 42, { promptTokens: 3, completionTokens: 1 }));
    expect(await agent.closed).toMatchObject({ code: 1008 });
    leave.abort();
    await asking.catch(() => {});
  });

  it.each([
    ["an older agent", { speaks: "ligand.worker.v1.1" }],
    ["another server's model", { speaks: "ligand.worker.v1.2", engine: "upstream" as const }],
  ])("is refused by name where only %s serves the model", async (_what, options) => {
    const other = await ScriptedAgent.serving((await invite()).token, { model: `${model}-other`, ...options });
    const response = await count({ model: `${model}-other` });
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { type: "invalid_request_error", details: { error_code: "cannot_count_tokens" } } },
    ]);
    other.close();
  });
});

it("a refusal states the form and the limit of a tool's name", async () => {
  const response = await post("", message({ tools: [{ name: "n".repeat(129), input_schema: { type: "object" } }] }));
  expect([response.status, await response.json()]).toMatchObject([
    400,
    {
      error: {
        message: expect.stringContaining("expected 1 to 128 of the characters a-z, A-Z, 0-9, _ and -"),
        details: { param: "tools.0.name" },
      },
    },
  ]);
});

it("a started answer is continued by a worker with llama.cpp, and refused where only another server could continue it", async () => {
  const messages = [
    { role: "user", content: "hi" },
    { role: "assistant", content: "Well, " },
  ];
  const asking = post("", message({ messages }));
  const job = await agent.next("job");
  expect(job.request).toMatchObject({ messages });
  await agent.done(job, "hello");
  expect((await asking).status).toBe(200);
  const upstream = { model: `${model}-upstream`, speaks: "ligand.worker.v1.2", engine: "upstream" as const };
  const other = await ScriptedAgent.serving((await invite()).token, upstream);
  const response = await post("", message({ model: upstream.model, messages }));
  expect([response.status, await response.json()]).toMatchObject([
    400,
    { error: { details: { error_code: "unsupported_parameter", param: "messages" } } },
  ]);
  other.close();
});

it("an older worker does not get requests that it would answer differently, and gets all others", async () => {
  const older = await ScriptedAgent.serving((await invite()).token, { model, speaks: "ligand.worker.v1.1" });
  const long = [{ name: "f", description: "d".repeat(5_000), input_schema: { type: "object" } }];
  const named = [{ name: `mcp__${"n".repeat(123)}`, input_schema: { type: "object" } }];
  const many = Array.from({ length: 512 }, (_, i) => ({ name: `f${i}`, input_schema: { type: "object" } }));
  for (const more of [{ top_k: 5 }, { tools: long }, { tools: named }, { tools: many }, { top_k: 5 }]) {
    const asking = post("", message(more));
    await agent.done(await agent.next("job"), "from the newer");
    expect((await asking).status).toBe(200);
    agent.ready(4, model);
  }
  agent.close();
  await agent.closed;
  const refused = await eventually(async () => {
    const response = await post("", message({ top_k: 5 }));
    return response.status === 400 && response.json();
  });
  expect(refused).toMatchObject({ error: { details: { error_code: "unsupported_parameter", param: "top_k" } } });
  const asking = post("", message());
  await older.done(await older.next("job"), "from the older");
  expect((await asking).status).toBe(200);
  older.close();
});
