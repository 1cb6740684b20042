import { beforeEach, describe, expect, it } from "vitest";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { admin, ask, type ClientKey, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

let key: ClientKey;
let model: string;
let agent: ScriptedAgent;
let models = 0;
beforeEach(async () => {
  key = await createKey();
  model = `responses-${++models}`;
  agent = await ScriptedAgent.serving((await invite()).token, { model, speaks: "ligand.worker.v1.2" });
  return () => agent.close();
});

function respond(body: object = {}): Promise<Response> {
  return ask("/v1/responses", {
    method: "POST",
    headers: { authorization: `Bearer ${key.key}` },
    body: JSON.stringify({ model, input: "hi", ...body }),
  });
}

describe("/v1/responses", () => {
  it("answers in one piece", async () => {
    const asking = respond({ instructions: "Be brief.", max_output_tokens: 9 });
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
    expect([response.status, response.headers.get("x-ligand-worker")]).toEqual([200, agent.workerId]);
    expect(await response.json()).toMatchObject({
      id: `resp_${job.jobId}`,
      object: "response",
      status: "completed",
      model,
      instructions: "Be brief.",
      max_output_tokens: 9,
      output: [{ type: "message", role: "assistant", content: [{ type: "output_text", text: "Hello" }] }],
      usage: { input_tokens: 3, output_tokens: 5, total_tokens: 8 },
    });
  });

  it("streams the published events, and ends without [DONE]", async () => {
    const asking = respond({ stream: true, tools: [{ type: "function", name: "f", parameters: null }] });
    const job = await agent.next("job");
    agent.delta(job, 0, "Well.");
    const toolCall = { index: 0, id: "call_a", name: "f" };
    agent.send({ type: "delta", jobId: job.jobId, lease: job.lease, seq: 1, text: "{}", tokens: 1, toolCall });
    const usage = { promptTokens: 3, completionTokens: 2 };
    await agent.finish(job, { output: utf8("Well.f{}"), usage, finishReason: "tool_calls" });
    const response = await asking;
    expect(response.headers.get("content-type")).toMatch("text/event-stream");
    const { data } = await events(response);
    const streamedEvents = data.map((line) => JSON.parse(line));
    expect(streamedEvents.map(({ type }) => type)).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.output_item.added",
      "response.function_call_arguments.delta",
      "response.function_call_arguments.done",
      "response.output_item.done",
      "response.completed",
    ]);
    expect(streamedEvents.map((event) => event.sequence_number)).toEqual(streamedEvents.map((_, at) => at));
    expect(streamedEvents.at(-1).response).toMatchObject({
      status: "completed",
      usage: { input_tokens: 3, output_tokens: 2 },
    });
  });

  it("ends a stream with a failed response when the worker is lost", async () => {
    const asking = respond({ stream: true });
    agent.delta(await agent.next("job"), 0, "Half");
    const response = await asking;
    agent.close();
    const { data } = await events(response);
    expect(JSON.parse(data.at(-1) ?? "")).toMatchObject({
      type: "response.failed",
      response: { status: "failed", error: { code: "worker_lost" } },
    });
  });

  it("cancels a stream that is longer than its last events can repeat, also at the worker", async () => {
    const asking = respond({ stream: true, max_output_tokens: 100_000 });
    const job = await agent.next("job");
    const response = await asking.then((answered) => answered);
    const reading = response.text();
    for (let seq = 0; seq < 17; seq++) agent.delta(job, seq, "x".repeat(64 * 1024));
    expect(await agent.next("cancel")).toMatchObject({ jobId: job.jobId });
    expect(await reading).toContain('"code":"answer_too_long"');
  });

  it("is cancelled by the id of the response", async () => {
    const asking = respond({ stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "x");
    const response = await asking;
    const cancelled = await ask(`/v1/jobs/resp_${job.jobId}/cancel`, {
      method: "POST",
      headers: { authorization: `Bearer ${key.key}` },
    });
    expect(await cancelled.json()).toMatchObject({ cancelled: true });
    await response.text();
  });

  it.each<[what: string, body: object, status: number, code: string, param: string | null]>([
    ["of an unknown model", { model: "nobody-has-it" }, 404, "model_not_found", "model"],
    ["to store the answer", { store: true }, 400, "unsupported_parameter", "store"],
    [
      "with an item that is only referred to",
      { input: [{ type: "item_reference", id: "m" }] },
      400,
      "unsupported_parameter",
      "input.0.type",
    ],
    ["with an unknown parameter", { stop: "x" }, 400, "unknown_parameter", "stop"],
  ])("refuses a request %s in OpenAI's shape", async (_what, body, status, code, param) => {
    const response = await respond(body);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code, param } });
  });

  it("needs a key", async () => {
    const response = await ask("/v1/responses", { method: "POST", body: "{}" });
    expect([response.status, await response.json()]).toMatchObject([401, { error: { code: "missing_api_key" } }]);
  });
});

it("a stream of /v1/responses whose client does not read is given up", async () => {
  const asking = respond({ stream: true, max_output_tokens: 100_000 });
  const job = await agent.next("job");
  const wide = "\u4f60".repeat(20_000);
  for (let seq = 0; seq < 30; seq++) agent.delta(job, seq, wide);
  const response = await asking;
  expect(await agent.next("cancel")).toMatchObject({ jobId: job.jobId });
  await eventually(async () =>
    response.text().then(
      () => false,
      () => true,
    ),
  );
});

it("a stream holds what its last events repeat, until it has been read", async () => {
  const held = async () => {
    const { lanes } = await admin<{ lanes: { holds: Record<string, number> }[] }>("GET", "/doctor");
    return lanes[0]?.holds.answer_bytes ?? -1;
  };
  const asking = respond({ stream: true });
  const job = await agent.next("job");
  const longText = "ä".repeat(20_000);
  for (let i = 0; i < 20; i++) agent.delta(job, i, longText.slice(i * 1_000, (i + 1) * 1_000));
  const reading = asking.then((response) => events(response));
  await eventually(async () => (await held()) >= 40_000);
  const usage = { promptTokens: 3, completionTokens: 5 };
  await agent.finish(job, { output: utf8(longText), usage });
  expect(JSON.stringify((await reading).data.at(-1))).toContain(longText);
  await eventually(async () => (await held()) === 0);
});
