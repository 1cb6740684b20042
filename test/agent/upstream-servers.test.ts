import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { GenerationEvent, GenerationJob } from "../../worker-agent/engine/engine.ts";
import { openUpstream } from "../../worker-agent/engine/upstream/upstream-engine.ts";
import { Counters } from "../../worker-agent/session/counters.ts";
import { ScriptedServer } from "./http-servers.ts";
import { chat, completion } from "./loaded-model.ts";

/** Undocumented behaviour of OpenAI-compatible servers. Each case comes from a bug report of a client. */
const KEY = "sk-upstream-secret";
let server: ScriptedServer | undefined;
let warnings: string[];
let counters: Counters;
beforeEach(() => {
  warnings = [];
  counters = new Counters();
});
afterEach(() => {
  server?.close();
  server = undefined;
});

type Request = Parameters<typeof chat>[1];

/** Runs one job against a server that answers with this script. */
async function run(script: (response: ServerResponse) => unknown, request: Request = {}, job?: GenerationJob) {
  server = await ScriptedServer.listen((response, { path }) => {
    if (path === "/v1/models") response.end('{"data":[{"id":"m"}]}');
    else script(response);
  });
  const opened = await openUpstream({
    base: `${server.url}/v1`,
    key: KEY,
    models: [],
    meter: counters,
    onWarning: (message) => warnings.push(message),
  });
  if (!opened.ok) throw new Error(opened.message);
  const events: GenerationEvent[] = [];
  const asked = { ...(job ?? chat("Hello", request)), model: "m" };
  for await (const event of opened.engine.generate(asked, new AbortController().signal)) events.push(event);
  const text = events.map((event) => (event.type === "text" ? event.text : "")).join("");
  expect(counters.values.activeGenerations).toBe(0);
  return { events, text, calls: callsIn(events), last: events.at(-1), asked: server.requests.at(-1)?.body };
}

function callsIn(events: readonly GenerationEvent[]) {
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const event of events) {
    const last = calls.at(-1);
    if (event.type === "tool-call") calls.push({ id: event.id, name: event.name, arguments: "" });
    else if (event.type === "tool-arguments" && last) last.arguments += event.text;
  }
  return calls;
}

const raw = (text: string) => (response: ServerResponse) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.end(text);
};
const sse = (...events: (object | string | null)[]) =>
  raw(events.map((one) => `data: ${typeof one === "string" ? one : JSON.stringify(one)}\n\n`).join(""));
const whole =
  (value: unknown, status = 200, headers: Record<string, string> = {}) =>
  (response: ServerResponse) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof value === "string" ? value : JSON.stringify(value));
  };
const textEvent = (content: string) => ({ choices: [{ index: 0, delta: { content } }] });
const endEvent = (finish_reason: string | null = "stop") => ({ choices: [{ index: 0, delta: {}, finish_reason }] });
const callEvent = (...tool_calls: object[]) => ({ choices: [{ index: 0, delta: { tool_calls } }] });
const DONE = "[DONE]";
const fails = (code: string, retryable = true) => ({ type: "failed", code, retryable });

describe("events that are not part of an answer are skipped:", () => {
  const filtered = { id: "", model: "", object: "", choices: [], prompt_filter_results: [{ prompt_index: 0 }] };
  it.each<[what: string, script: (response: ServerResponse) => unknown]>([
    // AbanteAI/archive-old-cli-mentat#429, pydantic/pydantic-ai#164
    ["Azure's first event, which is about its filter", sse(filtered, textEvent("Hi"), endEvent(), DONE)],
    // microsoft/autogen#6465
    [
      "Azure's event without a delta",
      sse(
        textEvent("Hi"),
        { choices: [{ index: 0, finish_reason: null, content_filter_offsets: {} }] },
        endEvent(),
        DONE,
      ),
    ],
    // anthropics/anthropic-sdk-typescript#734
    ["Anthropic's pings", sse({ type: "ping" }, textEvent("Hi"), { type: "ping" }, endEvent(), { type: "ping" }, DONE)],
    ["null and empty events", sse(null, "", textEvent("Hi"), "", null, endEvent(), DONE)],
    [
      "choices that are null",
      sse({ choices: null }, textEvent("Hi"), { choices: null, usage: null }, endEvent(), DONE),
    ],
    // openai/openai-go#227
    [
      "OpenRouter's comments",
      raw(`: OPENROUTER PROCESSING\n\n:\n\ndata: ${JSON.stringify(textEvent("Hi"))}\n: in between\n\n: OPENROUTER PROCESSING
data: ${JSON.stringify(endEvent())}\n\ndata: [DONE]\n\n`),
    ],
    [
      "names, numbers and delays of events, a byte order mark, and CRLF line ends",
      raw(`\ufeffevent: message\r\nid: 1\r\nretry: 10\r\ndata:${JSON.stringify(textEvent("Hi"))}\r\n\r\nevent: ping\r\ndata: {}\r\n
data: ${JSON.stringify(endEvent())}\r\n\r\ndata: [DONE]\r\n\r\n`),
    ],
    [
      "a missing last blank line",
      raw(`data: ${JSON.stringify(textEvent("Hi"))}\n\ndata: ${JSON.stringify(endEvent())}`),
    ],
    ["other choices", sse({ choices: [{ index: 1, delta: { content: "no" } }] }, textEvent("Hi"), endEvent(), DONE)],
    // Mistral's reasoning models
    [
      "reasoning among the parts of a text",
      sse(
        { choices: [{ delta: { content: [{ type: "thinking", thinking: [{ type: "text", text: "hm" }] }] } }] },
        { choices: [{ delta: { content: [{ type: "text", text: "Hi" }] } }] },
        endEvent(),
        DONE,
      ),
    ],
    [
      "reasoning",
      sse({ choices: [{ delta: { content: null, reasoning_content: "hm" } }] }, textEvent("Hi"), endEvent(), DONE),
    ],
    ["null members", sse({ error: null, choices: [{ delta: { content: "Hi", tool_calls: null } }] }, endEvent(), DONE)],
  ])("%s", async (_what, script) => {
    const { text, last } = await run(script);
    expect([text, last]).toMatchObject(["Hi", { type: "end", finishReason: "stop" }]);
    expect(warnings).toEqual([]);
  });

  it.each<[what: string, line: string]>([
    ["pings", 'data: {"type":"ping"}\n\n'],
    ["comments", ": still here\n\n"],
    ["empty choices", 'data: {"choices":[{"delta":{}}]}\n\n'],
    ["lines without a meaning", "event: nothing\n"],
  ])("but not forever: %s alone end the job and its connection", async (_what, line) => {
    let sent = 0;
    const { last } = await run((response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const many = line.repeat(Math.ceil(65_536 / line.length));
      const more = () => {
        while (!response.destroyed) {
          sent += many.length;
          if (!response.write(many)) break;
        }
      };
      response.on("drain", more);
      more();
    });
    expect(last).toMatchObject({
      ...fails("inference/engine-failed"),
      message: /not part of an answer|could not be read/,
    });
    // The worker's reading is bounded. The operating system's buffers hold some more.
    expect(sent).toBeLessThan(32 * 1024 * 1024);
  });
});

describe("how an answer ends", () => {
  it.each<[reason: string | null, finishReason: string]>([
    ["stop", "stop"],
    ["length", "length"],
    ["max_tokens", "length"],
    ["MAX_TOKENS", "length"],
    ["model_length", "length"],
    ["content_filter", "content_filter"],
    ["SAFETY", "content_filter"],
    ["RECITATION", "content_filter"],
    ["PROHIBITED_CONTENT", "content_filter"],
    ["sensitive", "content_filter"],
    ["refusal", "content_filter"],
    ["ERROR_TOXIC", "content_filter"],
    ["ERROR_LIMIT", "length"],
    ["model_context_window_exceeded", "length"],
    // vibrantlabsai/ragas#1548, dstackai/dstack#2229
    ["eos", "stop"],
    ["eos_token", "stop"],
    ["something new", "stop"],
    ["function_call", "stop"],
    // earendil-works/pi#6226
    [null, "stop"],
    // ollama/ollama#4357, sgl-project/sglang#3912
    ["", "stop"],
  ])("%j is %s", async (reason, finishReason) => {
    const { last } = await run(sse(textEvent("Hi"), endEvent(reason), DONE));
    expect(last).toMatchObject({ type: "end", finishReason });
    server?.close();
    const message = { message: { content: "Hi" }, finish_reason: reason };
    expect((await run(whole({ choices: [message] }))).last).toMatchObject({ type: "end", finishReason });
  });

  it.each([
    ["insufficient_system_resource", "inference/worker-busy"],
    ["error", "inference/engine-failed"],
    ["ERROR", "inference/engine-failed"],
    ["abort", "inference/engine-failed"],
    ["aborted", "inference/engine-failed"],
    ["cancelled", "inference/engine-failed"],
    ["canceled", "inference/engine-failed"],
    ["USER_CANCEL", "inference/engine-failed"],
    ["TIMEOUT", "inference/engine-failed"],
    ["time_limit", "inference/engine-failed"],
    ["network_error", "inference/engine-failed"],
    ["MALFORMED_FUNCTION_CALL", "inference/engine-failed"],
    ["function_call_filter: MALFORMED_FUNCTION_CALL", "inference/engine-failed"],
  ])("%j is a failure that another worker may retry", async (reason, code) => {
    const { last } = await run(sse(textEvent("half"), endEvent(reason), DONE));
    expect(last).toMatchObject({ type: "failed", code, retryable: true });
    server?.close();
    const message = { message: { content: "half" }, finish_reason: reason };
    expect((await run(whole({ choices: [message] }))).last).toMatchObject({ type: "failed", code, retryable: true });
  });

  it.each<[what: string, script: (response: ServerResponse) => unknown, code: string, message: RegExp]>([
    ["without a reason and without [DONE]", sse(textEvent("half")), "inference/engine-failed", /in the middle/],
    ["with [DONE] and nothing else", sse(DONE), "inference/engine-failed", /in the middle/],
    ["with [DONE] after only a role", sse(textEvent(""), DONE), "inference/engine-failed", /in the middle/],
    [
      "with an error inside a chunk, as OpenRouter's (damianvtran/local-operator#223)",
      sse(textEvent("half"), {
        error: { code: 502, message: "Provider disconnected" },
        choices: [{ index: 0, delta: { content: "" }, finish_reason: "error" }],
      }),
      "inference/engine-failed",
      /failed \(502\)/,
    ],
    [
      "with an error without choices, as OpenRouter's (diegosouzapw/OmniRoute#8210)",
      sse({ choices: [], error: { code: 429, message: "limit reached (33/32)" } }),
      "inference/worker-busy",
      /limits its requests/,
    ],
    ["with the reason error", sse(textEvent("half"), endEvent("error"), DONE), "inference/engine-failed", /failed/],
    [
      "with an error inside a choice",
      sse({ choices: [{ index: 0, delta: {}, error: { code: 503, message: "no" } }] }),
      "inference/worker-busy",
      /not available/,
    ],
    [
      "with vLLM's error",
      sse({ object: "error", message: "too long", type: "BadRequestError", code: 400 }),
      "inference/upstream-refused",
      /does not accept this request/,
    ],
    [
      "with a named error event (BerriAI/litellm#4562)",
      raw('event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'),
      "inference/worker-busy",
      /not available/,
    ],
    [
      "with a named error event that is not JSON",
      raw("event: error\ndata: upstream connect error\n\n"),
      "inference/engine-failed",
      /failed/,
    ],
    [
      "with Gemini's error",
      sse({ error: { code: 429, status: "RESOURCE_EXHAUSTED", message: "quota" } }),
      "inference/worker-busy",
      /limits/,
    ],
    [
      "with an error under 200 in one piece",
      whole({ error: { code: "rate_limit_exceeded", message: "slow down" } }),
      "inference/worker-busy",
      /limits/,
    ],
  ])("%s is a failure", async (_what, script, code, message) => {
    const { last } = await run(script);
    expect(last).toMatchObject({ type: "failed", code, message: expect.stringMatching(message) });
  });

  it("with a finish reason and without [DONE] the answer is complete", async () => {
    expect((await run(sse(textEvent("Hi"), endEvent()))).last).toMatchObject({ type: "end", finishReason: "stop" });
  });

  it("with a finish reason and without text the answer is empty", async () => {
    expect((await run(sse(endEvent(), DONE))).last).toMatchObject({ type: "end", finishReason: "stop" });
  });
});

const TOOLS = [{ name: "look" }, { name: "stop" }];

describe("tool calls", () => {
  it.each<[what: string, script: (response: ServerResponse) => unknown, args: string[]]>([
    [
      "as an object (ggml-org/llama.cpp#20198)",
      whole({
        choices: [
          {
            message: { tool_calls: [{ id: "x", function: { name: "look", arguments: { at: [1, { a: null }] } } }] },
            finish_reason: "tool_calls",
          },
        ],
      }),
      ['{"at":[1,{"a":null}]}'],
    ],
    [
      "as an object in a stream",
      sse(callEvent({ id: "x", function: { name: "look", arguments: { at: 1 } } }), endEvent("tool_calls"), DONE),
      ['{"at":1}'],
    ],
    [
      "as null, and none at all",
      sse(
        callEvent({ index: 0, id: "x", function: { name: "look", arguments: null } }),
        callEvent({ index: 1, id: "y", function: { name: "stop" } }),
        endEvent("tool_calls"),
        DONE,
      ),
      ["{}", "{}"],
    ],
    [
      "in a function_call before tool_calls",
      sse(
        { choices: [{ delta: { function_call: { name: "look", arguments: "" } } }] },
        { choices: [{ delta: { function_call: { arguments: '{"at":1}' } } }] },
        endEvent("function_call"),
        DONE,
      ),
      ['{"at":1}'],
    ],
    [
      "all with index 0, distinguished by their ids",
      sse(
        callEvent({ index: 0, id: "x", function: { name: "look", arguments: '{"a' } }),
        callEvent({ index: 0, id: "y", function: { name: "stop", arguments: '{"b' } }),
        callEvent({ index: 0, id: "x", function: { arguments: '":1}' } }),
        callEvent({ index: 0, id: "y", function: { arguments: '":2}' } }),
        // Gemini ends calls so: open-webui/computer#224
        endEvent("stop"),
        DONE,
      ),
      ['{"a":1}', '{"b":2}'],
    ],
    [
      "without a reason for the end",
      sse(callEvent({ id: "x", function: { name: "look", arguments: "{}" } }), DONE),
      ["{}"],
    ],
  ])("have arguments %s", async (_what, script, args) => {
    const { calls, last } = await run(script, { tools: TOOLS });
    expect(calls.map((call) => call.arguments)).toEqual(args);
    expect(last).toMatchObject({ type: "end", finishReason: "tool_calls" });
  });

  it("are a failure if their arguments are not a JSON object, unless the answer was cut", async () => {
    for (const given of ["{'at': 1}", '{"at":', "[1]", '"{}"', '{"a":1}{"b":2}']) {
      const broken = callEvent({ index: 0, id: "x", function: { name: "look", arguments: given } });
      const { last } = await run(sse(broken, endEvent("tool_calls"), DONE), { tools: TOOLS });
      expect(last).toMatchObject(fails("inference/upstream-disobeyed"));
      server?.close();
      const cut = await run(sse(broken, endEvent("length"), DONE), { tools: TOOLS });
      expect(cut.last).toMatchObject({ type: "end", finishReason: "length" });
      server?.close();
    }
  });
});

describe("a server that ignores a part of the request", () => {
  const schema = { type: "object", properties: { sure: { type: "boolean" } }, required: ["sure"] };
  const json = { type: "json_schema", schema } as const;
  const two = [0, 1].map((index) => ({ index, id: `c${index}`, function: { name: "look", arguments: "{}" } }));

  it.each<[what: string, request: Request, script: (response: ServerResponse) => unknown, says: RegExp]>([
    [
      "tool_choice: required",
      { tools: TOOLS, toolChoice: "required" },
      sse(textEvent("No."), endEvent(), DONE),
      /tool_choice/,
    ],
    [
      "a named tool",
      { tools: TOOLS, toolChoice: { name: "look" } },
      sse(textEvent("No."), endEvent(), DONE),
      /tool_choice/,
    ],
    [
      "which tool is named",
      { tools: TOOLS, toolChoice: { name: "stop" } },
      sse(callEvent(two[0] ?? {}), endEvent("tool_calls"), DONE),
      /a tool other than/,
    ],
    [
      "parallel_tool_calls: false",
      { tools: TOOLS, parallelToolCalls: false },
      sse(callEvent(...two), endEvent("tool_calls"), DONE),
      /parallel_tool_calls/,
    ],
    ["json_object", { responseFormat: { type: "json_object" } }, sse(textEvent("Sure!"), endEvent(), DONE), /not JSON/],
    [
      "json_object, answered with a list",
      { responseFormat: { type: "json_object" } },
      sse(textEvent("[]"), endEvent(), DONE),
      /object/,
    ],
    ["json_schema", { responseFormat: json }, sse(textEvent("Yes, I am sure."), endEvent(), DONE), /not JSON/],
    [
      "json_schema, answered without a required member",
      { responseFormat: json },
      sse(textEvent("{}"), endEvent(), DONE),
      /validate/,
    ],
    [
      "json_schema, answered with another type",
      { responseFormat: json },
      sse(textEvent('{"sure":"yes"}'), endEvent(), DONE),
      /validate/,
    ],
    [
      "a strict tool",
      { tools: [{ name: "look", parameters: schema, strict: true }] },
      sse(callEvent(two[0] ?? {}), endEvent("tool_calls"), DONE),
      /strict schema/,
    ],
    [
      "json_schema, answered in a code fence",
      { responseFormat: json },
      sse(textEvent("```json\n{}\n```"), endEvent(), DONE),
      /not JSON/,
    ],
  ])("%s, is distinguished from a server that fails", async (_what, request, script, says) => {
    const { last } = await run(script, request);
    expect(last).toMatchObject({ ...fails("inference/upstream-disobeyed"), message: expect.stringMatching(says) });
    expect(warnings).toEqual([expect.stringMatching(says)]);
  });

  it("sends no text in place of a required call, so that another worker can retry", async () => {
    const request: Request = { tools: TOOLS, toolChoice: "required" };
    expect((await run(sse(textEvent("I would rather talk."), endEvent(), DONE), request)).events).toMatchObject([
      { type: "accepted" },
      { type: "failed" },
    ]);
    server?.close();
    const call = callEvent({ index: 0, id: "x", function: { name: "look", arguments: "{}" } });
    const { events } = await run(
      sse(textEvent("Let me"), textEvent(" look."), call, endEvent("tool_calls"), DONE),
      request,
    );
    expect(events.map(({ type }) => type)).toEqual(["accepted", "text", "text", "tool-call", "tool-arguments", "end"]);
  });

  it.each<[what: string, request: Request, script: (response: ServerResponse) => unknown]>([
    ["a call beside a format", { tools: TOOLS, responseFormat: json }, sse(callEvent(two[0] ?? {}), endEvent(), DONE)],
    ["an answer cut by its length", { responseFormat: json }, sse(textEvent('{"su'), endEvent("length"), DONE)],
    ["an answer cut by a filter", { responseFormat: json }, sse(textEvent('{"su'), endEvent("content_filter"), DONE)],
    [
      "JSON with white space around it",
      { responseFormat: json },
      sse(textEvent(' {"sure":'), textEvent("true}\n"), endEvent(), DONE),
    ],
    [
      "an invalid call of a tool that is not strict",
      { tools: [{ name: "look", parameters: schema }] },
      sse(callEvent(two[0] ?? {}), endEvent("tool_calls"), DONE),
    ],
    ["text where tools may be called", { tools: TOOLS }, sse(textEvent("No."), endEvent(), DONE)],
  ])("is not blamed for %s", async (_what, request, script) => {
    expect((await run(script, request)).last).toMatchObject({ type: "end" });
  });

  it("stop: the answer is cut there, also across pieces, and the connection is closed", async () => {
    let closed: Promise<unknown> | undefined;
    const { text, last } = await run(
      (response) => {
        closed = new Promise((resolve) => response.on("close", resolve));
        response.writeHead(200, { "content-type": "text/event-stream" });
        for (const piece of ["one, ", "two E", "ND three"])
          response.write(`data: ${JSON.stringify(textEvent(piece))}\n\n`);
      },
      { stop: ["END"] },
    );
    expect([text, last]).toMatchObject(["one, two ", { type: "end", finishReason: "stop", stopSequence: "END" }]);
    await closed;
  });

  it("stop: text that only begins like a stop sequence is sent", async () => {
    const { text } = await run(sse(textEvent("the EN"), endEvent(), DONE), { stop: ["END"] });
    expect(text).toBe("the EN");
  });

  it("max_tokens: an endless answer is cut, and the connection is closed", async () => {
    let closed: Promise<unknown> | undefined;
    const { text, last } = await run(
      (response) => {
        closed = new Promise((resolve) => response.on("close", resolve));
        response.writeHead(200, { "content-type": "text/event-stream" });
        const piece = `data: ${JSON.stringify(textEvent("y".repeat(100)))}\n\n`;
        const more = () => {
          while (!response.destroyed && response.write(piece));
        };
        response.on("drain", more);
        more();
      },
      { maxTokens: 20 },
    );
    expect(last).toMatchObject({ type: "end", finishReason: "length", usage: { completionTokens: 20 } });
    expect(text.length).toBeLessThanOrEqual(20 * LIMITS.tokenBytes);
    await closed;
  });
});

describe("the client's schemas and tools are passed on unchanged:", () => {
  const ok = sse(textEvent('{"a":1}'), endEvent(), DONE);
  it.each<[what: string, format: object, sent: object]>([
    ["no strict", {}, {}],
    ["strict", { strict: true }, { strict: true }],
    ["strict set to false", { strict: false }, { strict: false }],
    [
      "a name and a description",
      { name: "weather", description: "Of today." },
      { name: "weather", description: "Of today." },
    ],
  ])("a schema with %s", async (_what, format, sent) => {
    const responseFormat = { type: "json_schema", schema: { type: "object" }, ...format } as const;
    const { asked } = await run(ok, { responseFormat });
    expect(asked?.response_format).toEqual({
      type: "json_schema",
      json_schema: { name: "answer", schema: { type: "object" }, ...sent },
    });
  });

  it("tools with strict, without it, and with strict set to false", async () => {
    const tools = [{ name: "look", strict: true }, { name: "stop", strict: false }, { name: "go" }];
    const { asked } = await run(ok, { tools });
    expect(asked?.tools).toEqual(tools.map((tool) => ({ type: "function", function: tool })));
  });
});

describe("usage", () => {
  it.each<[what: string, usage: unknown, completionTokens: number]>([
    ["nulls", { prompt_tokens: null, completion_tokens: null, total_tokens: null }, 2],
    ["a number that is not an integer", { prompt_tokens: 3.5, completion_tokens: 1.5 }, 2],
    ["text", { prompt_tokens: "3", completion_tokens: "1" }, 2],
    ["negative numbers", { prompt_tokens: -1, completion_tokens: -1 }, 2],
    ["text in place of an object", "many", 2],
    ["no prompt tokens", { completion_tokens: 1 }, 1],
    ["nothing of the completion", { prompt_tokens: 7 }, 2],
    ["details that are null", { prompt_tokens: 7, completion_tokens: 1, completion_tokens_details: null }, 1],
    [
      "broken details",
      { prompt_tokens: 7, completion_tokens: 1, completion_tokens_details: { reasoning_tokens: "x" } },
      1,
    ],
  ])("with %s does not lose the answer", async (_what, usage, completionTokens) => {
    for (const choices of [[], null, undefined]) {
      const { text, last } = await run(sse(textEvent("Hell"), textEvent("o."), endEvent(), { choices, usage }, DONE));
      expect([text, last]).toMatchObject(["Hello.", { type: "end", usage: { completionTokens } }]);
      server?.close();
    }
  });

  it("of several events is the last reported number (jeremychone/rust-genai#242)", async () => {
    const usage = { prompt_tokens: 5, completion_tokens: 3 };
    const later = { choices: [], usage: { prompt_tokens: 0, completion_tokens: null } };
    const { last } = await run(sse({ ...textEvent("Hi!"), usage }, endEvent(), later, DONE));
    expect(last).toMatchObject({ usage: { promptTokens: 0, completionTokens: 3 } });
  });

  const reasoned = (completion_tokens: number, reasoning_tokens: number) => ({
    choices: [],
    usage: { prompt_tokens: 5, completion_tokens, completion_tokens_details: { reasoning_tokens } },
  });
  it.each<[what: string, usage: object, maxTokens: number | undefined, want: object]>([
    // TokenRhythm/opensquilla#1171, deepseek-ai/DeepSeek-V3#1610
    ["beyond the bytes of the answer", reasoned(203, 200), undefined, { completionTokens: 203, reasoningTokens: 200 }],
    ["above max_tokens", reasoned(203, 200), 64, { completionTokens: 64, reasoningTokens: 64 }],
    [
      "beside the completion, as xAI does",
      reasoned(3, 200),
      undefined,
      { completionTokens: 203, reasoningTokens: 200 },
    ],
    ["beyond any context", reasoned(2 ** 30, 2 ** 30), undefined, { completionTokens: 8_192, reasoningTokens: 8_192 }],
    ["none", reasoned(3, 0), undefined, { completionTokens: 3 }],
  ])("counts reasoning: %s", async (_what, usage, maxTokens, want) => {
    const { last } = await run(
      sse(textEvent("Yes."), endEvent(), usage, DONE),
      maxTokens === undefined ? {} : { maxTokens },
    );
    expect(last).toMatchObject({ type: "end", usage: { promptTokens: 5, ...want } });
    expect(counters.values.tokensGenerated).toBe((want as { completionTokens: number }).completionTokens);
  });
});

describe("a refusal says what happened and reveals nothing confidential", () => {
  // open-webui/open-webui#3273
  const page = "<html>\r\n<head><title>413 Request Entity Too Large</title></head><body>nginx/1.26.1</body></html>";
  it.each<[status: number, body: unknown, code: string, message: RegExp, owner: RegExp | null]>([
    [413, page, "inference/context-length-exceeded", /answered 413: the request is too large/, /client_max_body_size/],
    [413, "", "inference/context-length-exceeded", /too large for it/, /client_max_body_size/],
    [414, page, "inference/context-length-exceeded", /answered 414/, /proxy/],
    [400, page, "inference/upstream-refused", /does not accept this request/, null],
    [422, page, "inference/upstream-refused", /does not accept this request/, null],
    [400, { error: { message: page } }, "inference/upstream-refused", /does not accept this request/, null],
    [401, page, "inference/engine-failed", /refuses this worker \(401\)/, /LIGAND_UPSTREAM_KEY/],
    [403, page, "inference/engine-failed", /refuses this worker \(403\)/, /LIGAND_UPSTREAM_KEY/],
    [404, page, "inference/model-not-found", /does not have this model/, /--upstream-url/],
    [405, page, "inference/engine-failed", /failed \(405\)/, /405/],
    [429, page, "inference/worker-busy", /limits its requests/, /429/],
    [500, page, "inference/engine-failed", /failed \(500\)/, /500/],
    [502, page, "inference/engine-failed", /failed \(502\)/, /502/],
    [503, page, "inference/worker-busy", /not available/, /503/],
    [529, page, "inference/worker-busy", /not available/, /529/],
    [200, page, "inference/engine-failed", /could not be read/, /OpenAI-compatible/],
  ])("%i %j", async (status, body, code, message, owner) => {
    const { last } = await run(whole(body, status, { "content-type": "text/html" }));
    expect(last).toMatchObject({ type: "failed", code, message: expect.stringMatching(message) });
    for (const line of [JSON.stringify(last), ...warnings]) expect(line).not.toMatch(/[<>]|nginx\/|title/i);
    expect(warnings).toEqual(owner === null ? [] : [expect.stringMatching(owner)]);
  });

  it.each([
    `wrong key ${KEY}`,
    "see https://user:pass@inside.example/v1?key=abc for more",
    "header was Bearer abc.def",
  ])("%j is shown without confidential parts", async (message) => {
    const { last } = await run(whole({ error: { message } }, 400));
    expect(last).toMatchObject({ code: "inference/upstream-refused", quoted: expect.any(String) });
    for (const line of [JSON.stringify(last), ...warnings]) expect(line).not.toMatch(/sk-up|user:pass|abc/);
  });

  it("names the parameter if the server does", async () => {
    const { last } = await run(whole({ error: { message: "top_p is odd", param: "top_p" } }, 400));
    expect(last).toMatchObject({ code: "http/unsupported-parameter", param: "top_p", quoted: "top_p is odd" });
  });

  it("fits into a frame", async () => {
    const { last } = await run(whole({ error: { message: "x".repeat(10_000) } }, 400));
    if (last?.type !== "failed") throw new Error("not refused");
    expect(`${last.message}: ${last.quoted}`.length).toBeLessThan(500);
  });
});

describe("log probabilities", () => {
  const tokenLogprob = (token: string) => ({
    token,
    logprob: -0.5,
    bytes: null,
    top_logprobs: [{ token: "x", logprob: -1 }],
  });
  const chunk = (content: string, tokens: string[]) => ({
    choices: [{ index: 0, delta: { content }, logprobs: { content: tokens.map(tokenLogprob) } }],
  });
  const textWithTokens = (events: readonly GenerationEvent[]) =>
    events.flatMap((event) => (event.type === "text" ? [[event.text, event.logprobs?.map(({ token }) => token)]] : []));

  it("are requested and sent with their text", async () => {
    const script = sse(chunk("Hel", ["Hel"]), chunk("lo!", ["lo", "!"]), "[DONE]");
    const { events, asked } = await run(script, { topLogprobs: 1 });
    expect(asked).toMatchObject({ logprobs: true, top_logprobs: 1 });
    expect(textWithTokens(events)).toEqual([
      ["Hel", ["Hel"]],
      ["lo!", ["lo", "!"]],
    ]);
    const [first] = events.flatMap((event) => (event.type === "text" ? (event.logprobs ?? []) : []));
    expect(first).toEqual({ token: "Hel", logprob: -0.5, top: [{ token: "x", logprob: -1 }] });
  });

  it("are at most as many as requested, and none belongs to text that a stop sequence cut", async () => {
    const script = sse(chunk("Hello END more", ["Hello", " END", " more"]), "[DONE]");
    const { events } = await run(script, { topLogprobs: 0, stop: [" END"] });
    expect(textWithTokens(events)).toEqual([["Hello", ["Hello"]]]);
    for (const event of events) if (event.type === "text") expect(event.logprobs?.[0]?.top).toEqual([]);
  });

  it("are a failure by name if the server sends none, and are not sent without a request", async () => {
    const { last } = await run(sse(textEvent("Hello"), "[DONE]"), { topLogprobs: 1 });
    expect(last).toMatchObject({ type: "failed", code: "inference/upstream-disobeyed" });
    server?.close();
    const { events } = await run(sse(chunk("Hello", ["Hello"]), "[DONE]"));
    expect(textWithTokens(events)).toEqual([["Hello", undefined]]);
  });

  it("of a completion are read from lists", async () => {
    const logprobs = { tokens: ["Hel", "lo"], token_logprobs: [-0.5, null], top_logprobs: [{ x: -2, y: -1 }, null] };
    const script = sse({ choices: [{ index: 0, text: "Hello", logprobs }] }, "[DONE]");
    const { events, asked } = await run(script, {}, completion("Hello", { topLogprobs: 2 }));
    expect(asked).toMatchObject({ logprobs: 2 });
    const [text] = events.flatMap((event) => (event.type === "text" ? [event] : []));
    expect(text?.logprobs).toEqual([
      {
        token: "Hel",
        logprob: -0.5,
        top: [
          { token: "y", logprob: -1 },
          { token: "x", logprob: -2 },
        ],
      },
      { token: "lo", logprob: 0, top: [] },
    ]);
  });
});
