import { once } from "node:events";
import type { ServerResponse } from "node:http";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { EmbeddingEvent, GenerationEvent, GenerationJob } from "../../worker-agent/engine/engine.ts";
import { upstreamBase } from "../../worker-agent/engine/upstream/base-url.ts";
import { failureOf, sanitizedText } from "../../worker-agent/engine/upstream/failure-rules.ts";
import { surrogateJoiner } from "../../worker-agent/engine/upstream/surrogate-joiner.ts";
import {
  openUpstream,
  type UpstreamEngine,
  type UpstreamOptions,
} from "../../worker-agent/engine/upstream/upstream-engine.ts";
import { Counters } from "../../worker-agent/session/counters.ts";
import { type LlamaServer, type ReceivedRequest, ScriptedServer, startLlamaServer } from "./http-servers.ts";
import { SERVER_CONTEXT, SERVER_MODEL } from "./llama-http-names.ts";
import { answer, chat, completion } from "./loaded-model.ts";

const KEY = "sk-upstream-secret";

let warnings: string[];
let counters: Counters;
beforeEach(() => {
  warnings = [];
  counters = new Counters();
});

const open = (url: string, options: Partial<UpstreamOptions> = {}) =>
  openUpstream({
    base: url,
    key: KEY,
    models: [],
    meter: counters,
    onWarning: (message) => warnings.push(message),
    ...options,
  });

async function engineAt(url: string, options: Partial<UpstreamOptions> = {}): Promise<UpstreamEngine> {
  const opened = await open(url, options);
  if (!opened.ok) throw new Error(opened.message);
  return opened.engine;
}

const of = (job: GenerationJob, model = SERVER_MODEL): GenerationJob => ({ ...job, model });

async function embedded(engine: UpstreamEngine, input: string[], dimensions?: number) {
  const vectors: Float32Array[] = [];
  let last: EmbeddingEvent | undefined;
  const request = { input, stream: false as const, ...(dimensions === undefined ? {} : { dimensions }) };
  const model = engine.models()[0]?.name ?? "";
  for await (const event of engine.embed({ model, request }, new AbortController().signal)) {
    if (event.type === "vector") vectors.push(event.vector);
    last = event;
  }
  return { vectors, last };
}

describe("a real OpenAI-compatible server", () => {
  let server: LlamaServer;
  let engine: UpstreamEngine;
  beforeAll(async () => {
    server = await startLlamaServer(KEY);
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    engine = await engineAt(server.url);
  });

  it("lists its models", () => {
    expect(engine.models()).toEqual([
      { name: SERVER_MODEL, sha256: null, slots: 4, contextTokens: SERVER_CONTEXT, kinds: ["chat", "completion"] },
    ]);
  });

  it.each([
    ["streamed", true],
    ["in one piece", false],
  ])("chats %s, and the server's token count is used", async (_what, stream) => {
    const { text, pieces, last } = await answer(engine, of(chat("What is Ligand?", { stream, temperature: 0 })));
    expect(text).toMatch(/^[A-Z].+\.$/s);
    expect(pieces).toBeGreaterThan(5);
    if (last?.type !== "end") throw new Error(JSON.stringify(last));
    expect(last.finishReason).toBe("stop");
    expect(last.usage.completionTokens).toBeGreaterThan(5);
    expect(last.usage.completionTokens).toBeLessThanOrEqual(Buffer.byteLength(text));
    expect(last.usage.promptTokens).toBeGreaterThan(5);
    expect(counters.values).toMatchObject({ activeGenerations: 0, promptTokensEvaluated: last.usage.promptTokens });
    expect(warnings).toEqual([]);
  });

  it("completes a prompt up to max_tokens", async () => {
    const { text, last } = await answer(engine, of(completion("A pool is", { maxTokens: 6, temperature: 0 })));
    expect(text).not.toBe("");
    expect(last).toMatchObject({ type: "end", finishReason: "length", usage: { completionTokens: 6 } });
  });

  it("receives seed, sampling and stop sequences as requested", async () => {
    const asked = { seed: 11, temperature: 0.9, topP: 0.9, maxTokens: 20 };
    const { text } = await answer(engine, of(completion("Ligand is", asked)));
    expect((await answer(engine, of(completion("Ligand is", asked)))).text).toBe(text);
    const stop = text.slice(4, 9);
    const stopped = await answer(engine, of(completion("Ligand is", { ...asked, stop: [stop] })));
    expect(stopped.text).toBe(text.slice(0, text.indexOf(stop)));
  });

  it("refuses a prompt that is too long and a parameter that it does not support, by name", async () => {
    const { last } = await answer(engine, of(completion("pool ".repeat(400))));
    expect(last).toMatchObject({ code: "inference/context-length-exceeded", retryable: false });
    const hot = await answer(engine, of(chat("Hello", { temperature: 2 })));
    expect(hot.last).toMatchObject({ code: "http/unsupported-parameter", retryable: false });
    expect(hot.last).toHaveProperty("quoted", expect.stringContaining("temperature is too high for this model"));
  });

  it("answers with JSON of the requested schema", async () => {
    const schema = { type: "object", properties: { sure: { type: "boolean" } }, required: ["sure"] };
    const responseFormat = { type: "json_schema", schema } as const;
    const { text } = await answer(engine, of(chat("Are you sure?", { responseFormat, maxTokens: 40 })));
    expect(JSON.parse(text)).toEqual({ sure: expect.any(Boolean) });
  });

  it("makes one embedding of length 1 for each input, in order", async () => {
    const embedder = await engineAt(server.url, { kinds: ["embedding"] });
    expect(embedder.models()[0]?.kinds).toEqual(["embedding"]);
    const { vectors, last } = await embedded(embedder, ["a pool", "a worker", "a pool"]);
    expect(vectors).toHaveLength(3);
    expect(vectors[0]).toEqual(vectors[2]);
    expect(vectors[0]).not.toEqual(vectors[1]);
    for (const vector of vectors) expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    expect(last).toEqual({ type: "end", promptTokens: expect.any(Number) });
    const wrong = await embedded(embedder, ["a pool"], 7);
    expect(wrong.last).toMatchObject({ code: "http/unsupported-parameter", param: "dimensions" });
  });

  it("stops generating when the job is cancelled", async () => {
    const abort = new AbortController();
    const job = of(completion("Ligand", { temperature: 1.5, topP: 1, seed: 3 }));
    const { last } = await answer(engine, job, abort.signal, () => abort.abort());
    expect(last?.type).toBe("text");
    expect(counters.values.activeGenerations).toBe(0);
    while ((await server.active()) > 0) await new Promise(setImmediate);
  });

  it("stops generating when the consumer leaves and when the engine is closed", async () => {
    const job = of(completion("Ligand", { temperature: 1.5, topP: 1, seed: 3 }));
    for await (const event of engine.generate(job, new AbortController().signal)) if (event.type === "text") break;
    while ((await server.active()) > 0) await new Promise(setImmediate);
    const { last } = await answer(engine, job, new AbortController().signal, () => void engine.dispose());
    expect(last?.type).toBe("text");
    while ((await server.active()) > 0) await new Promise(setImmediate);
  });

  it("runs four jobs at once", async () => {
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => answer(engine, of(chat("What is a pool?", { temperature: 0 })))),
    );
    expect(answers.every(({ last }) => last?.type === "end")).toBe(true);
    expect(counters.values.activeGenerations).toBe(0);
  });

  it("that refuses the key: only the owner learns what to do, and no message contains the key", async () => {
    expect(await open(server.url, { key: "sk-wrong" })).toMatchObject({
      ok: false,
      message: /401.*LIGAND_UPSTREAM_KEY/s,
    });
    const refused = await engineAt(server.url, { key: "sk-wrong", models: [SERVER_MODEL] });
    const { last } = await answer(refused, of(chat("Hello")));
    expect(last).toEqual({
      type: "failed",
      code: "inference/engine-failed",
      message: "The upstream server refuses this worker (401).",
      retryable: true,
    });
    expect(warnings.join()).toContain("Set LIGAND_UPSTREAM_KEY");
    expect(warnings.join()).not.toContain("sk-wrong");
  });
});

describe("a server that dies", () => {
  it("in the middle of an answer fails that job and the next one", async () => {
    const server = await startLlamaServer("", { SERVER_DIES: "1" });
    const engine = await engineAt(server.url);
    const job = of(completion("Ligand", { temperature: 1.5, topP: 1, seed: 3 }));
    const { last } = await answer(engine, job);
    expect(last).toMatchObject({ type: "failed", code: "inference/engine-failed", retryable: true });
    if (server.process.signalCode === null) await once(server.process, "exit");
    const after = await answer(engine, job);
    expect(after.last).toMatchObject({
      type: "failed",
      message: "The upstream server cannot be reached.",
      retryable: true,
    });
    expect(warnings.at(-1)).toMatch(/nothing listens there.*Is it running at/);
    expect(await open(server.url)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/nothing listens.*--upstream-model/s),
    });
  });
});

describe("a server with its own behaviour", () => {
  let server: ScriptedServer;
  afterEach(() => server.close());

  const listen = async (script: (response: ServerResponse, asked: ReceivedRequest, nth: number) => unknown) => {
    server = await ScriptedServer.listen((response, asked, nth) =>
      asked.path === "/v1/models" ? reply(response, 200, { data: [{ id: "m" }] }) : script(response, asked, nth - 1),
    );
    return engineAt(`${server.url}/v1`, { silenceMs: 200 });
  };
  const reply = (response: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof value === "string" ? value : JSON.stringify(value));
  };
  const stream = (response: ServerResponse, ...events: (object | string)[]) => {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    for (const event of events)
      response.write(`data: ${typeof event === "string" ? event : JSON.stringify(event)}\n\n`);
    return response;
  };
  const text = (content: string) => ({ choices: [{ index: 0, delta: { content } }] });
  const stop = { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
  const ask = (engine: UpstreamEngine, request: Parameters<typeof chat>[1] = {}) =>
    answer(engine, of(chat("Hello there", request), "m"));

  it("receives the key and the request, and nothing else", async () => {
    const engine = await listen((response) => stream(response, text("ok"), stop, "[DONE]").end());
    await ask(engine, { maxTokens: 5, temperature: 0.5, topP: 0.25, seed: 7, stop: ["x"], stream: false });
    const [, { path, headers, body } = { path: "", headers: {}, body: {} }] = server.requests;
    expect(path).toBe("/v1/chat/completions");
    expect(headers.authorization).toBe(`Bearer ${KEY}`);
    expect(body).toEqual({
      model: "m",
      messages: [{ role: "user", content: "Hello there" }],
      max_tokens: 5,
      temperature: 0.5,
      top_p: 0.25,
      seed: 7,
      stop: ["x"],
      stream: true,
      stream_options: { include_usage: true },
    });
    await ask(engine);
    expect(Object.keys(server.requests.at(-1)?.body ?? {})).toEqual(["model", "messages", "stream", "stream_options"]);
  });

  it("receives tools, formats and earlier calls in the form of the API", async () => {
    const engine = await listen((response) => stream(response, text("ok"), stop, "[DONE]").end());
    const call = { id: "c1", name: "look", arguments: '{"at":1}' };
    await ask(engine, {
      messages: [
        { role: "user", content: "?" },
        { role: "assistant", content: "", toolCalls: [call] },
        { role: "tool", content: "42", toolCallId: "c1" },
      ],
      tools: [{ name: "look", description: "Looks.", parameters: { type: "object" } }],
      toolChoice: { name: "look" },
      parallelToolCalls: false,
      responseFormat: { type: "json_schema", schema: { type: "object" } },
    });
    expect(server.requests.at(-1)?.body).toMatchObject({
      messages: [
        { role: "user", content: "?" },
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "c1", type: "function", function: { name: "look", arguments: '{"at":1}' } }],
        },
        { role: "tool", content: "42", tool_call_id: "c1" },
      ],
      tools: [{ type: "function", function: { name: "look", description: "Looks.", parameters: { type: "object" } } }],
      tool_choice: { type: "function", function: { name: "look" } },
      parallel_tool_calls: false,
      response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" } } },
    });
    await ask(engine, { tools: [{ name: "look" }], toolChoice: "required", responseFormat: { type: "json_object" } });
    expect(server.requests.at(-1)?.body).toMatchObject({
      tool_choice: "required",
      response_format: { type: "json_object" },
    });
  });

  const eventsOf = async (engine: UpstreamEngine, request: Parameters<typeof chat>[1] = {}) => {
    const events: GenerationEvent[] = [];
    const job = chat("Hello", { tools: [{ name: "look" }, { name: "stop" }], ...request });
    for await (const event of engine.generate(of(job, "m"), new AbortController().signal)) events.push(event);
    return events;
  };
  const calls = (...tool_calls: object[]) => ({ choices: [{ index: 0, delta: { tool_calls } }] });
  const called = { choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] };

  it("that calls tools: each call is followed by its arguments", async () => {
    const engine = await listen((response) =>
      stream(
        response,
        text("Let me look."),
        calls({ index: 0, id: "c1", function: { name: "look", arguments: "" } }),
        calls({ index: 0, id: "", function: { arguments: '{"at":' } }),
        calls({ index: 0, function: { arguments: "1}" } }),
        calls({ index: 1, function: { name: "stop", arguments: "{}" } }),
        text("never shown"),
        called,
        "[DONE]",
      ).end(),
    );
    expect(await eventsOf(engine)).toMatchObject([
      { type: "accepted" },
      { type: "text", text: "Let me look." },
      { type: "tool-call", id: "c1", name: "look" },
      { type: "tool-arguments", text: '{"at":' },
      { type: "tool-arguments", text: "1}" },
      { type: "tool-call", id: expect.stringMatching(/^call_/), name: "stop" },
      { type: "tool-arguments", text: "{}" },
      { type: "end", finishReason: "tool_calls", usage: { completionTokens: 6 } },
    ]);
  });

  it("that sends calls in one piece with the finish reason stop", async () => {
    const tool_calls = [{ id: "c1", type: "function", function: { name: "look", arguments: "{}" } }];
    const engine = await listen((response) =>
      reply(response, 200, { choices: [{ message: { content: null, tool_calls }, finish_reason: "stop" }] }),
    );
    expect((await eventsOf(engine)).slice(1)).toMatchObject([
      { type: "tool-call", id: "c1", name: "look" },
      { type: "tool-arguments", text: "{}" },
      { type: "end", finishReason: "tool_calls" },
    ]);
  });

  it.each<[what: string, parts: object[]]>([
    ["without a name", [calls({ index: 0, id: "c", function: { arguments: "{}" } })]],
    ["with an invalid name", [calls({ index: 0, id: "c", function: { name: "rm -rf", arguments: "{}" } })]],
    [
      "and continues one that is complete",
      [
        calls({ index: 0, id: "c", function: { name: "look", arguments: "{}" } }),
        calls({ index: 1, id: "d", function: { name: "look", arguments: "{}" } }),
        calls({ index: 0, function: { arguments: "{}" } }),
      ],
    ],
  ])("that calls a tool %s is not understood", async (_what, parts) => {
    const engine = await listen((response) => stream(response, ...parts, called).end());
    expect((await eventsOf(engine)).at(-1)).toMatchObject({ type: "failed", code: "inference/engine-failed" });
  });

  it.each<[what: string, request: Parameters<typeof chat>[1], names: string[], message: RegExp]>([
    ["a tool that the request does not have", {}, ["look", "invented"], /not offered/],
    ["a tool although the request has none", { tools: [] }, ["look"], /not offered/],
  ])("that calls %s fails the job without a retry, streamed or not", async (_what, request, names, message) => {
    const parts = names.map((name, index) => ({ index, id: `c${index}`, function: { name, arguments: "{}" } }));
    const failure = { type: "failed", code: "inference/engine-failed", retryable: false };
    for (const streams of [true, false]) {
      const engine = await listen((response) =>
        streams
          ? stream(response, ...parts.map((part) => calls(part)), called).end()
          : reply(response, 200, { choices: [{ message: { tool_calls: parts }, finish_reason: "tool_calls" }] }),
      );
      const last = (await eventsOf(engine, { ...request, stream: streams })).at(-1);
      expect(last).toMatchObject({ ...failure, message: expect.stringMatching(message) });
      expect(warnings).toEqual([]);
    }
  });

  it("that makes longer vectors than a pool accepts fails the job and informs the owner", async () => {
    const embedding = Array.from({ length: LIMITS.embeddingDimensions + 1 }, () => 1);
    const engine = await listen((response) => reply(response, 200, { data: [{ embedding }] }));
    const { vectors, last } = await embedded(engine, ["a"]);
    expect(vectors).toEqual([]);
    expect(last).toMatchObject({ type: "failed", code: "inference/engine-failed", retryable: false });
    expect(warnings).toEqual([expect.stringContaining("8193 dimensions")]);
  });

  it.each<[what: string, script: (response: ServerResponse) => unknown, code: string]>([
    ["too few vectors", (response) => reply(response, 200, { data: [{ embedding: [1] }] }), "inference/engine-failed"],
    [
      "vectors of several lengths",
      (response) => reply(response, 200, { data: [{ embedding: [1] }, { embedding: [1, 2] }] }),
      "inference/engine-failed",
    ],
    ["a refusal", (response) => reply(response, 400, { error: { param: "input" } }), "http/unsupported-parameter"],
    ["a closed connection", (response) => response.destroy(), "inference/engine-failed"],
  ])("that answers embeddings with %s", async (_what, script, code) => {
    const engine = await listen(script);
    const { vectors, last } = await embedded(engine, ["a", "b"]);
    expect(vectors).toEqual([]);
    expect(last).toMatchObject({ type: "failed", code });
  });

  it("that reports no usage: events are counted", async () => {
    const engine = await listen((response) => stream(response, text("a"), text("b"), text("c"), stop, "[DONE]").end());
    const { last } = await ask(engine);
    expect(last).toMatchObject({ type: "end", finishReason: "stop", usage: { completionTokens: 3 } });
  });

  it("that counts hidden reasoning: the claim stays within what the pool can verify", async () => {
    const usage = { prompt_tokens: 1e9, completion_tokens: 5_000 };
    const engine = await listen((response) =>
      stream(response, text("yes"), stop, { choices: [], usage }, "[DONE]").end(),
    );
    const { last } = await ask(engine);
    if (last?.type !== "end") throw new Error("no end");
    expect(last.usage.completionTokens).toBe(3);
    expect(last.usage.promptTokens).toBeLessThan(1_000);
    expect((await ask(engine, { maxTokens: 2 })).last).toMatchObject({ usage: { completionTokens: 2 } });
  });

  it.each<[what: string, pieces: number, usage: object | null, tokens: number]>([
    ["that sends many tokens in a piece", 2, { prompt_tokens: 4, completion_tokens: 33 }, 33],
    ["that sends a token in many pieces", 9, { prompt_tokens: 4, completion_tokens: 5 }, 5],
    ["that claims more than there are bytes", 2, { prompt_tokens: 4, completion_tokens: 5_000 }, 2 * 20],
    ["that does not count", 3, null, 3],
  ])("%s: the owner's counter equals the pool's record for each job", async (_what, pieces, usage, tokens) => {
    const textEvents = Array.from({ length: pieces }, () => text("x".repeat(20)));
    const engine = await listen((response) =>
      stream(response, ...textEvents, stop, ...(usage ? [{ choices: [], usage }] : []), "[DONE]").end(),
    );
    for (const jobs of [1, 2]) {
      expect((await ask(engine)).last).toMatchObject({ usage: { completionTokens: tokens } });
      expect(counters.values.tokensGenerated).toBe(jobs * tokens);
    }
  });

  it("that does not stream: its only chunk is the answer", async () => {
    const whole = { choices: [{ message: { content: "whole" }, finish_reason: "length" }] };
    const engine = await listen((response) =>
      reply(response, 200, { ...whole, usage: { prompt_tokens: 4, completion_tokens: 2 } }),
    );
    const usage = { promptTokens: 4, completionTokens: 2 };
    expect(await ask(engine)).toMatchObject({ text: "whole", last: { type: "end", finishReason: "length", usage } });
  });

  it("that refuses max_tokens and stream_options: the request is repeated without them, and the next one omits them", async () => {
    const engine = await listen((response, { body }) => {
      for (const param of ["max_tokens", "stream_options"]) {
        if (param in body)
          return reply(response, 400, { error: { message: `Unsupported parameter: '${param}'`, param } });
      }
      stream(response, text("ok"), stop, "[DONE]").end();
    });
    expect(await ask(engine, { maxTokens: 9 })).toMatchObject({ text: "ok", last: { type: "end" } });
    expect(server.requests.at(-1)?.body).toMatchObject({ max_completion_tokens: 9 });
    const before = server.requests.length;
    await ask(engine, { maxTokens: 9 });
    expect(server.requests.length).toBe(before + 1);
  });

  it("that splits characters: the halves are joined", async () => {
    const engine = await listen((response) => {
      const halves = ["\\ud83d", "\\ude00!", "\\ud83d"].map((half) => `{"choices":[{"delta":{"content":"${half}"}}]}`);
      stream(response, ...halves, stop, "[DONE]").end();
    });
    expect((await ask(engine)).text).toBe("😀!\uFFFD");
  });

  it("that is silent before or during an answer: another worker may retry the job", async () => {
    const engine = await listen((response, _asked, nth) => {
      if (nth === 1) stream(response, text("begun"));
    });
    const silent = { type: "failed", message: "The upstream server sent nothing for 0.2 s.", retryable: true };
    expect((await ask(engine)).last).toMatchObject(silent);
    expect(await ask(engine)).toMatchObject({ text: "begun", last: silent });
  });

  it("that is slow but not silent is not given up", async () => {
    const engine = await listen((response) => {
      const words = ["slow", "ly", " but", " sure", "ly"];
      stream(response);
      const timer = setInterval(() => {
        const word = words.shift();
        if (word !== undefined) response.write(`data: ${JSON.stringify(text(word))}\n\n`);
        else {
          clearInterval(timer);
          response.end(`data: ${JSON.stringify(stop)}\n\n`);
        }
      }, 80);
    });
    expect(await ask(engine)).toMatchObject({ text: "slowly but surely", last: { type: "end" } });
  });

  it.each<[what: string, script: (response: ServerResponse) => unknown, message: RegExp]>([
    ["garbage instead of JSON", (response) => reply(response, 200, "<html>It works!</html>"), /could not be read/],
    ["garbage instead of events", (response) => stream(response, "{]").end(), /could not be read/],
    ["an event of another shape", (response) => stream(response, { choices: "none" }).end(), /could not be read/],
    ["an end without a reason", (response) => stream(response, text("half")).end(), /ended its answer in the middle/],
    ["an empty stream", (response) => stream(response).end(), /ended its answer in the middle/],
    [
      "a cut connection",
      (response) =>
        stream(response, text("half"))
          .on("drain", () => {})
          .destroy(),
      /reached/,
    ],
    ["a connection that is cut before the answer", (response) => response.destroy(), /cannot be reached/],
    [
      "an error event",
      (response) => stream(response, text("a"), { error: { message: "CUDA out of memory" } }).end(),
      /failed/,
    ],
    ["an error", (response) => reply(response, 500, { error: { message: "boom" } }), /failed/],
    ["an error without a message", (response) => reply(response, 502, ""), /failed/],
    ["a redirect", (response) => reply(response, 307, "", { location: "http://127.0.0.1:1/" }), /redirects/],
    ["an endless event", (response) => stream(response).write(`data: ${"x".repeat(2_000_000)}`), /reached|too large/],
  ])("that answers with %s", async (_what, script, message) => {
    const engine = await listen(script);
    const { last } = await ask(engine);
    expect(last).toMatchObject({ type: "failed", code: "inference/engine-failed" });
    expect(last).toHaveProperty("message", expect.stringMatching(message));
    expect(counters.values.activeGenerations).toBe(0);
  });

  it("that never ends an answer: the worker stops reading at the largest possible answer", async () => {
    const big = `data: ${JSON.stringify(text("y".repeat(500_000)))}\n\n`;
    const engine = await listen((response) => {
      stream(response);
      const more = () => {
        while (!response.destroyed && response.write(big));
      };
      response.on("drain", more);
      more();
    });
    const { last, text: said } = await ask(engine);
    expect(last).toMatchObject({ type: "end", finishReason: "length" });
    expect(said.length).toBeLessThanOrEqual(8_192 * LIMITS.tokenBytes);
  });

  it.each<[status: number, headers: Record<string, string>, retryAfterSeconds: number, words: RegExp]>([
    [429, { "retry-after": "7" }, 7, /limits its requests/],
    [429, {}, LIMITS.retryAfterSeconds, /limits its requests/],
    [503, { "retry-after": "3600" }, LIMITS.workerPauseSeconds, /not available/],
  ])("that answers %i %j: the pool learns when to retry", async (status, headers, retryAfterSeconds, words) => {
    const engine = await listen((response) => reply(response, status, { error: { message: "slow" } }, headers));
    const busy = { type: "failed", code: "inference/worker-busy", retryable: true, retryAfterSeconds };
    expect((await ask(engine)).last).toEqual({ ...busy, message: expect.stringMatching(words) });
    expect(warnings).toEqual([expect.stringMatching(words)]);
  });

  it("that asks for a pause: jobs are refused until it is over", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    let limited = true;
    const engine = await listen((response) => {
      if (limited) reply(response, 429, { error: { message: "slow down" } }, { "retry-after": "9" });
      else stream(response, text("ok"), stop, "[DONE]").end();
    });
    await ask(engine);
    limited = false;
    vi.advanceTimersByTime(2_500);
    const asked = server.requests.length;
    expect((await ask(engine)).last).toMatchObject({ code: "inference/worker-busy", retryAfterSeconds: 7 });
    expect((await embedded(engine, ["a"])).last).toMatchObject({ retryAfterSeconds: 7 });
    expect([server.requests.length, warnings.length, counters.values.activeGenerations]).toEqual([asked, 1, 0]);
    vi.advanceTimersByTime(6_500);
    expect(await ask(engine)).toMatchObject({ text: "ok", last: { type: "end" } });
  });

  it("is reported to the owner once, until it works again", async () => {
    let well = false;
    const engine = await listen((response) => {
      if (well) stream(response, text("ok"), stop, "[DONE]").end();
      else reply(response, 500, "");
    });
    for (well of [false, false, true, false]) await ask(engine);
    expect(warnings).toEqual(Array(2).fill("The upstream server failed (500)."));
  });
});

describe("its models", () => {
  let server: ScriptedServer;
  afterEach(() => server.close());
  const listing = async (data: object[], options: Partial<UpstreamOptions> = {}) => {
    server = await ScriptedServer.listen((response) => void response.end(JSON.stringify({ data })));
    return open(server.url, options);
  };
  const names = (opened: Awaited<ReturnType<typeof open>>) =>
    opened.ok ? opened.engine.models().map(({ name, contextTokens }) => [name, contextTokens]) : opened.message;

  it("are those that it lists, with the context that it reports", async () => {
    const listed = [
      { id: "a", max_model_len: 4_096 },
      { id: "b", context_length: 1_000, max_model_len: null },
      { id: "c", meta: { n_ctx_train: 2_048 } },
      { id: "/home/me/models/d.Q4.gguf" },
    ];
    expect(names(await listing(listed))).toEqual([
      ["a", 4_096],
      ["b", 1_000],
      ["c", 2_048],
      ["d.Q4", 8_192],
    ]);
  });

  it("are those that the owner selects, with the owner's names", async () => {
    const models = ["mine=a", "z"];
    expect(names(await listing([{ id: "a" }], { models, contextTokens: 512, slots: 2 }))).toEqual([
      ["mine", 512],
      ["z", 512],
    ]);
    expect(warnings).toEqual(["The upstream server does not list z; it lists a."]);
  });

  it.each<[what: string, data: object[], models: string[], message: RegExp]>([
    ["none", [], [], /lists no model/],
    [
      "too many",
      Array.from({ length: 33 }, (_, i) => ({ id: `m${i}` })),
      [],
      /33 models \(m0, m1, m2, …\).*--upstream-model/,
    ],
    ["two of one name", [{ id: "/a/x.gguf" }, { id: "/b/x.gguf" }], [], /Two models have the name x/],
    ["a name that is too long", [{ id: "a" }], ["x".repeat(201)], /1 to 200 characters/],
  ])("cannot be %s", async (_what, data, models, message) => {
    expect(await listing(data, { models })).toMatchObject({ ok: false, message: expect.stringMatching(message) });
  });

  it("require a server that speaks the API", async () => {
    server = await ScriptedServer.listen((response) => void response.end("<html>"));
    expect(await open(server.url)).toMatchObject({ ok: false, message: expect.stringMatching(/OpenAI-compatible/) });
  });
});

describe("the upstream URL", () => {
  it.each<[given: string, insecure: boolean, want: string | RegExp]>([
    ["http://127.0.0.1:8080", false, "http://127.0.0.1:8080/v1"],
    ["http://localhost:11434/", false, "http://localhost:11434/v1"],
    ["http://[::1]:8080/v1/", false, "http://[::1]:8080/v1"],
    ["https://api.example/openai/v1", false, "https://api.example/openai/v1"],
    ["http://192.168.0.2:8000/v1", false, /--upstream-insecure/],
    ["http://127.0.0.1.example/v1", false, /--upstream-insecure/],
    ["http://192.168.0.2:8000/v1", true, "http://192.168.0.2:8000/v1"],
    ["https://user:secret@api.example/v1", false, /LIGAND_UPSTREAM_KEY/],
    ["https://api.example/v1?key=secret", false, /remove everything after/],
    ["api.example", false, /--upstream-url/],
    ["file:///etc/passwd", true, /--upstream-url/],
  ])("%j, insecure %s", (given, insecure, want) => {
    const base = upstreamBase(given, insecure);
    if (typeof want === "string") expect(base).toEqual({ ok: true, base: want });
    else expect(base).toEqual({ ok: false, message: expect.stringMatching(want) });
    if (!base.ok) expect(base.message).not.toContain("secret@");
  });
});

describe("a refusal", () => {
  const nowMs = Date.parse("2026-01-01T00:00:00Z");
  it.each<[status: number, body: object | string, retryAfter: string | null, want: object]>([
    [429, "", "2", { code: "inference/worker-busy", retryable: true, pauseMs: 2_000 }],
    [429, "", "Thu, 01 Jan 2026 00:00:05 GMT", { retryable: true, pauseMs: 5_000 }],
    [503, "", "999999", { retryable: true, pauseMs: 60_000 }],
    [503, "", "soon", { code: "inference/worker-busy", retryable: true, pauseMs: 0 }],
    [401, "", null, { code: "inference/engine-failed", retryable: true, ownerMessage: /LIGAND_UPSTREAM_KEY/ }],
    [402, "", null, { retryable: true, ownerMessage: /account/ }],
    [403, "", null, { retryable: true, ownerMessage: /LIGAND_UPSTREAM_KEY/ }],
    [404, { error: { message: "no such model" } }, null, { code: "inference/model-not-found", retryable: true }],
    [400, { error: { code: "context_length_exceeded" } }, null, { code: "inference/context-length-exceeded" }],
    [400, { error: { type: "exceed_context_size_error" } }, null, { code: "inference/context-length-exceeded" }],
    [
      400,
      { error: { message: "This model's maximum context length is 4096 tokens." } },
      null,
      { code: "inference/context-length-exceeded", retryable: false },
    ],
    [
      400,
      { error: { message: "top_p is out of range" } },
      null,
      { code: "inference/upstream-refused", retryable: false },
    ],
    [
      400,
      { error: { message: "top_p is out of range", param: "top_p" } },
      null,
      { code: "http/unsupported-parameter", param: "top_p" },
    ],
    [
      422,
      { detail: [{ loc: ["body", "seed"], msg: "Input should be an integer", type: "int" }, { msg: "Too long" }] },
      null,
      { code: "inference/upstream-refused", quoted: "Input should be an integer; Too long" },
    ],
    [422, { detail: "seed: not an integer" }, null, { code: "inference/upstream-refused", quoted: /seed: not/ }],
    [400, { error: "plain words" }, null, { quoted: /plain words/ }],
    [400, "<html>", null, { code: "inference/upstream-refused", quoted: "" }],
    [500, "", null, { code: "inference/engine-failed", retryable: true }],
    [504, "", null, { code: "inference/engine-failed", retryable: true }],
  ])("%i %j, Retry-After %j", (status, body, retryAfter, want) => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const failure = failureOf({ status, body: text, retryAfter }, [], nowMs);
    for (const [field, value] of Object.entries(want)) {
      const wanted = value instanceof RegExp ? expect.stringMatching(value) : value;
      expect(failure).toHaveProperty(field, wanted);
    }
  });

  it("never repeats a secret, never controls a terminal and is never long, whatever the server sends", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 100, max: 599 }),
        fc.string({ unit: "binary" }),
        fc.nat(600),
        (status, words, at) => {
          const message = `${words.slice(0, at)}${KEY}${words.repeat(20)}`;
          const failure = failureOf(
            { status, body: JSON.stringify({ error: { message } }), retryAfter: null },
            [KEY],
            0,
          );
          const toClient = failure.message + (failure.quoted ?? "");
          expect(toClient.length).toBeLessThan(500);
          for (const line of [toClient, failure.ownerMessage ?? ""]) {
            expect(line).not.toContain(KEY);
            expect(line).not.toMatch(/\p{Cc}/u);
            expect(line.isWellFormed()).toBe(true);
          }
        },
      ),
    );
  });

  it("separates our message from the server's text, which may quote a prompt", () => {
    const body = JSON.stringify({ error: { message: "cannot parse xylophone quartz" } });
    for (let status = 300; status < 600; status++) {
      const { message, quoted } = failureOf({ status, body, retryAfter: null }, [], nowMs);
      expect(message).toMatch(/^The (upstream|prompt) .*\.$/);
      expect(message).not.toContain("quartz");
      if (status === 400) expect(quoted).toBe("cannot parse xylophone quartz");
    }
  });

  it("contains no line breaks and no colours", () => {
    expect(sanitizedText("a\n\n\u001b[31mb\u202e  c", [])).toBe("a [31mb c");
  });
});

it("characters are joined wherever a server splits them, and none is lost", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.array(fc.nat(20)), (text, cuts) => {
      const characters = surrogateJoiner();
      let rest = text;
      const out: string[] = [];
      for (const cut of cuts) {
        out.push(characters.push(rest.slice(0, cut)));
        rest = rest.slice(cut);
      }
      out.push(characters.push(rest), characters.flush());
      expect(out.join("")).toBe(text.toWellFormed());
      for (const piece of out) expect(piece.isWellFormed()).toBe(true);
    }),
  );
});
