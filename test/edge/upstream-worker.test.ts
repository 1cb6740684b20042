import { env } from "cloudflare:workers";
import { beforeAll, expect, it } from "vitest";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { ask, type ClientKey, chat, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

/** Frames of v1.2 that only workers in front of another server send, and how clients see them. */
let key: ClientKey;
beforeAll(async () => {
  key = await createKey();
});

async function serve(speaks: string) {
  const model = `model-${crypto.randomUUID()}`;
  return { model, agent: await ScriptedAgent.serving((await invite()).token, { model, engine: "upstream", speaks }) };
}

const schema = { type: "object", properties: {}, additionalProperties: false };
const jsonFormat = {
  response_format: {
    type: "json_schema",
    json_schema: { name: "weather", description: "Of today.", schema, strict: true },
  },
};
const tools = [
  { type: "function", function: { name: "look", parameters: schema, strict: true } },
  { type: "function", function: { name: "stop" } },
];
const none = { type: "object", properties: {}, additionalProperties: false };

it.each<[speaks: string, format: object, tool: object]>([
  ["ligand.worker.v1.2", { name: "weather", description: "Of today.", strict: true }, { strict: true }],
  ["ligand.worker.v1.1", {}, {}],
])("a worker of %s gets the strict flags, names and descriptions that it can parse", async (speaks, format, tool) => {
  const { agent, model } = await serve(speaks);
  for (const body of [jsonFormat, { tools }]) {
    const asking = chat(key, { model, ...body });
    const job = await agent.next("job");
    const { responseFormat, tools: offered } = job.request as { responseFormat?: object; tools?: object[] };
    if (responseFormat) expect(responseFormat).toEqual({ type: "json_schema", schema, ...format });
    else
      expect(offered).toEqual([
        { name: "look", parameters: schema, ...tool },
        { name: "stop", parameters: none },
      ]);
    await agent.done(job, "{}");
    expect((await asking).status).toBe(200);
    // The hash in the record covers the request as this worker got it.
    expect(await flags(job.jobId)).toBe("");
  }
});

it.each([true, false])(
  "reasoning is counted, shown and recorded, and a filter can be the finish reason; streamed: %s",
  async (stream) => {
    const { agent, model } = await serve("ligand.worker.v1.2");
    const asking = chat(key, { model, stream, ...(stream && { stream_options: { include_usage: true } }) });
    const job = await agent.next("job");
    if (stream) agent.delta(job, 0, "Yes.");
    await agent.finish(job, {
      output: utf8("Yes."),
      usage: { promptTokens: 3, completionTokens: 203, reasoningTokens: 200 },
      finishReason: "content_filter",
      whole: stream ? {} : { text: "Yes." },
    });
    const response = await asking;
    const usage = {
      prompt_tokens: 3,
      completion_tokens: 203,
      total_tokens: 206,
      completion_tokens_details: { reasoning_tokens: 200 },
    };
    const parts = stream
      ? (await events(response)).data.filter((one) => one !== "[DONE]").map((one) => JSON.parse(one))
      : [await response.json()];
    expect(parts.at(-1).usage).toEqual(usage);
    expect(parts.map((one) => one.choices[0]?.finish_reason).find(Boolean)).toBe("content_filter");
    expect(await flags(job.jobId)).toBe("");
  },
);

it.each([
  ["inference/upstream-refused", 400, "upstream_refused", /Change the request/],
  ["inference/prompt-refused", 400, "prompt_refused", /another order or form/],
  ["inference/upstream-disobeyed", 502, "upstream_disobeyed", /another model/],
])("the client gets %s with a remedy", async (code, status, openAiCode, remedy) => {
  const { agent, model } = await serve("ligand.worker.v1.2");
  const asking = chat(key, { model });
  const { jobId, lease } = await agent.next("job");
  agent.send({ type: "failed", jobId, lease, code, message: "The upstream server did so.", retryable: false });
  const response = await asking;
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject({ error: { code: openAiCode, message: expect.stringMatching(remedy) } });
});

it("a schema name that is not Unicode is refused before a worker gets it", async () => {
  const { model } = await serve("ligand.worker.v1.2");
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "hi" }], ...jsonFormat });
  const response = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { authorization: `Bearer ${key.key}` },
    body: body.replace('"weather"', '"\\ud800"'),
  });
  expect(response.status).toBe(400);
});

async function flags(jobId: string): Promise<string> {
  const query = env.DB.prepare("SELECT flags FROM metering WHERE job_id = ?").bind(jobId);
  return (await eventually(() => query.first<{ flags: string }>())).flags;
}
