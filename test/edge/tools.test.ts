import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { utf8 } from "../../schema/crypto/bytes.ts";
import type { JobFrame } from "../../schema/wire/worker-frames.ts";
import { type ClientKey, chat, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

let key: ClientKey;
beforeEach(async () => {
  key = await createKey();
});

let models = 0;
async function serve(options: { engine?: "llama" | "upstream"; speaks?: string } = {}) {
  const model = `tools-${++models}`;
  return { model, agent: await ScriptedAgent.serving((await invite()).token, { ...options, model }) };
}
const tools = ["f", "g"].map((name) => ({ type: "function", function: { name } }));
const delta = (job: JobFrame, seq: number, text: string, toolCall?: object) => ({
  type: "delta",
  jobId: job.jobId,
  lease: job.lease,
  seq,
  text,
  tokens: 1,
  ...(toolCall && { toolCall }),
});
const usage = { promptTokens: 3, completionTokens: 4 };
const flagsOf = (jobId: string) =>
  eventually(async () => {
    const row = await env.DB.prepare("SELECT flags FROM metering WHERE job_id = ?")
      .bind(jobId)
      .first<{ flags: string }>();
    return row && `flags: ${row.flags}`;
  });

describe("tool calls", () => {
  it("stream in OpenAI's shape, and are metered", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true, tools });
    const job = await agent.next("job");
    agent.send(delta(job, 0, "Well. "));
    agent.send(delta(job, 1, "", { index: 0, id: "call_a", name: "f" }));
    agent.send(delta(job, 2, '{"x"', { index: 0 }));
    agent.send(delta(job, 3, ":1}", { index: 0 }));
    agent.send(delta(job, 4, "{}", { index: 1, id: "call_b", name: "g" }));
    await agent.finish(job, { output: utf8('Well. f{"x":1}g{}'), usage, finishReason: "tool_calls" });
    const { data } = await events(await asking);
    expect(data.at(-1)).toBe("[DONE]");
    const choices = data.slice(0, -1).map((line) => JSON.parse(line).choices[0]);
    expect(choices.map((choice) => choice.delta)).toEqual([
      { role: "assistant", content: "" },
      { content: "Well. " },
      { tool_calls: [{ index: 0, id: "call_a", type: "function", function: { name: "f", arguments: "" } }] },
      { tool_calls: [{ index: 0, function: { arguments: '{"x"' } }] },
      { tool_calls: [{ index: 0, function: { arguments: ":1}" } }] },
      { tool_calls: [{ index: 1, id: "call_b", type: "function", function: { name: "g", arguments: "{}" } }] },
      {},
    ]);
    expect(choices.at(-1).finish_reason).toBe("tool_calls");
    expect(await flagsOf(job.jobId)).toBe("flags: ");
  });

  it("are in a whole answer, whose content is null where there is no text", async () => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, tools, tool_choice: "required" });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ tools: [{ name: "f" }, { name: "g" }], toolChoice: "required" });
    const toolCalls = [{ id: "call_a", name: "g", arguments: "{}" }];
    await agent.finish(job, {
      output: utf8("g{}"),
      usage: { ...usage, completionTokens: 2 },
      finishReason: "tool_calls",
      whole: { text: "", toolCalls },
    });
    const { choices } = await (await asking).json<{ choices: object[] }>();
    expect(choices).toEqual([
      {
        index: 0,
        logprobs: null,
        finish_reason: "tool_calls",
        message: {
          role: "assistant",
          content: null,
          refusal: null,
          tool_calls: [{ id: "call_a", type: "function", function: { name: "g", arguments: "{}" } }],
        },
      },
    ]);
    expect(await flagsOf(job.jobId)).toBe("flags: ");
  });

  it.each<[what: string, body: object, calls: object[]]>([
    ["that the request does not allow", {}, [{ index: 0, id: "a", name: "f" }]],
    ["of a tool that the request does not have", { tools }, [{ index: 0, id: "a", name: "h" }]],
    ["without a start", { tools }, [{ index: 0 }]],
    ["out of order", { tools }, [{ index: 1, id: "a", name: "f" }]],
    ["with a name and no id", { tools }, [{ index: 0, name: "f" }]],
    [
      "beyond the allowed one",
      { tools, parallel_tool_calls: false },
      [0, 1].map((index) => ({ index, id: `${index}`, name: "f" })),
    ],
    ["with an invalid name", { tools }, [{ index: 0, id: "a", name: "f\n" }]],
  ])("%s close the socket", async (_what, body, calls) => {
    const { agent, model } = await serve();
    const asking = chat(key, { model, stream: true, ...body });
    const job = await agent.next("job");
    for (const [seq, call] of calls.entries()) agent.send(delta(job, seq, "", call));
    expect((await agent.closed).code).toBe(1008);
    await (await asking).body?.cancel();
  });

  it("that do not match the finish reason close the socket", async () => {
    for (const [finishReason, toolCalls] of [
      ["stop", [{ id: "a", name: "f", arguments: "{}" }]],
      ["tool_calls", undefined],
    ] as const) {
      const { agent, model } = await serve();
      void chat(key, { model, tools });
      const job = await agent.next("job");
      await agent.finish(job, {
        output: utf8(""),
        usage,
        finishReason,
        whole: { text: "", ...(toolCalls && { toolCalls }) },
      });
      expect((await agent.closed).code).toBe(1008);
    }
  });
});

describe("a format", () => {
  it("reaches the worker with its schema", async () => {
    const { agent, model } = await serve();
    const schema = { type: "object", properties: { a: { type: "null" } } };
    const asking = chat(key, {
      model,
      response_format: { type: "json_schema", json_schema: { name: "x", schema, strict: true } },
    });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ responseFormat: { type: "json_schema", schema } });
    await agent.done(job, '{"a":null}');
    expect((await asking).status).toBe(200);
    expect(await flagsOf(job.jobId)).toBe("flags: ");
  });

  const refusable: [what: string, schema: object, keyword: string, remedy: RegExp][] = [
    ["a pattern that looks ahead", { type: "string", pattern: "^(?=a)" }, "pattern", /Leave it out of the schema/],
    ["an external reference", { $ref: "https://example.com/x" }, "$ref", /Put the referenced schema into \$defs/],
    ["a choice of one", { oneOf: [{ type: "string" }, { const: "a" }] }, "oneOf", /Use anyOf,/],
    [
      "a bound that is not an integer",
      { type: "number", maximum: 0.5 },
      "maximum",
      /leave the bound out and check the answer\./,
    ],
    ["an unknown format", { type: "string", format: "phone" }, "format", /Use one of them, or leave format out/],
  ];
  it.each(refusable)("that is strict, with %s, is refused with a remedy", async (_what, schema, keyword, remedy) => {
    const { model } = await serve();
    const response = await chat(key, {
      model,
      response_format: { type: "json_schema", json_schema: { name: "x", schema, strict: true } },
    });
    expect(response.status).toBe(400);
    const { error } = await response.json<{ error: { message: string } }>();
    expect(error).toMatchObject({
      code: "unsupported_parameter",
      param: `response_format.json_schema.schema.${keyword}`,
      message: expect.stringMatching(remedy),
    });
    expect(error.message).not.toContain("Remove the named parameter");
  });

  it("that is not strict reaches the worker unchanged, with all tools, although a part of it is not enforced", async () => {
    const { agent, model } = await serve({ speaks: "ligand.worker.v1.2" });
    const properties = Object.fromEntries(refusable.map(([what, schema]) => [what, schema]));
    const schema = { type: "object", properties };
    const asking = chat(key, {
      model,
      response_format: { type: "json_schema", json_schema: { name: "x", schema } },
      tools: [{ type: "function", function: { name: "f", parameters: schema } }],
    });
    const job = await agent.next("job");
    expect(job.request).toMatchObject({ responseFormat: { schema }, tools: [{ name: "f", parameters: schema }] });
    await agent.done(job, "{}");
    expect((await asking).status).toBe(200);
    expect(await flagsOf(job.jobId)).toBe("flags: ");
  });

  it("reaches an older worker with the keywords that it knows, and the record covers that form", async () => {
    const { agent, model } = await serve({ speaks: "ligand.worker.v1.1" });
    const schema = { type: "object", properties: { a: { type: "string", pattern: "^a$" } } };
    const asking = chat(key, { model, response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
    const job = await agent.next("job");
    const older = { type: "object", properties: { a: { type: "string" } }, required: [], additionalProperties: false };
    expect(job.request).toMatchObject({ responseFormat: { type: "json_schema", schema: older } });
    await agent.done(job, "{}");
    expect((await asking).status).toBe(200);
    expect(await flagsOf(job.jobId)).toBe("flags: ");
  });

  it("together with tools is refused where all workers of the model are older", async () => {
    const { model } = await serve({ speaks: "ligand.worker.v1.1" });
    const response = await chat(key, { model, tools, response_format: { type: "json_object" } });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: "unsupported_parameter", param: "response_format" } });
  });

  it("of an unknown type is refused with the list of types", async () => {
    const { model } = await serve();
    const response = await chat(key, { model, response_format: { type: "yaml" } });
    const { error } = await response.json<{ error: object }>();
    expect(error).toMatchObject({
      param: "response_format.type",
      message: "Response formats are text, json_object and json_schema. Use one of them.",
    });
  });
});

describe("an answer of another server's model", () => {
  it("is marked as not deterministic, in a header or in a comment", async () => {
    const { agent, model } = await serve({ engine: "upstream" });
    const whole = chat(key, { model });
    await agent.done(await agent.next("job"), "Hello");
    expect((await whole).headers.get("x-ligand-deterministic")).toBe("false");

    const busy = await ScriptedAgent.serving((await invite()).token, {
      model: `${model}-b`,
      engine: "upstream",
      free: 0,
    });
    const queued = await chat(key, { model: `${model}-b`, stream: true });
    busy.ready(1, `${model}-b`);
    const job = await busy.next("job");
    busy.delta(job, 0, "x");
    await busy.done(job, "x");
    const { comments } = await events(queued);
    expect(comments).toContainEqual(expect.stringMatching(/x-ligand-deterministic=false$/));
  });

  it("of a model file has no such mark", async () => {
    const { agent, model } = await serve();
    const whole = chat(key, { model });
    await agent.done(await agent.next("job"), "Hello");
    expect((await whole).headers.has("x-ligand-deterministic")).toBe(false);
  });
});
