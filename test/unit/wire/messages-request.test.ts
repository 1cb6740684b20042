import { describe, expect, it } from "vitest";
import { parseClientBody } from "../../../schema/wire/client-api.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { countTokensApi, messagesApi } from "../../../schema/wire/messages-api.ts";
import {
  countProblem,
  messagesProblem,
  toCountRequest,
  toMessagesRequest,
} from "../../../schema/wire/messages-request.ts";
import { chatRequest } from "../../../schema/wire/worker-frames.ts";

const hi = { role: "user", content: "hi" };

/** The request that a worker gets, or the refusal of the body. */
function read(body: object): unknown {
  const parsed = parseClientBody(messagesApi, { model: "m", max_tokens: 9, messages: [hi], ...body });
  if (!parsed.ok) return { refused: parsed.code, param: parsed.param };
  const problem = messagesProblem(parsed.body);
  if (problem) return { refused: problem.code, param: problem.param };
  const request = toMessagesRequest(parsed.body);
  expect(chatRequest.parse(request)).toEqual(request);
  return request;
}
const use = (id: string) => ({ type: "tool_use", id, name: "f", input: { a: 1 } });
const result = (id: string, more: object = { content: "1" }) => ({ type: "tool_result", tool_use_id: id, ...more });
const text = (content: string) => ({ type: "text", text: content, cache_control: { type: "ephemeral" } });
const f = { name: "f", input_schema: { type: "object", properties: { a: { type: "integer" } } } };
const called = { role: "assistant", content: [use("a")] };

describe("a body of /v1/messages", () => {
  it.each<[what: string, body: object, messages: object[]]>([
    ["text", {}, [hi]],
    ["a system text", { system: "Be brief." }, [{ role: "system", content: "Be brief." }, hi]],
    [
      "system blocks, as coding agents send them",
      { system: [text("You are an agent."), text("Be brief.")] },
      [{ role: "system", content: "You are an agent.\n\nBe brief." }, hi],
    ],
    [
      "blocks of text",
      { messages: [{ role: "user", content: [text("a"), text("b")] }] },
      [{ role: "user", content: "a\n\nb" }],
    ],
    [
      "an earlier answer with reasoning",
      {
        messages: [
          hi,
          {
            role: "assistant",
            content: [
              { type: "thinking", thinking: "hm", signature: "s" },
              { type: "redacted_thinking", data: "d" },
              { type: "text", text: "Yes.", citations: null },
            ],
          },
          { role: "user", content: "why" },
        ],
      },
      [hi, { role: "assistant", content: "Yes." }, { role: "user", content: "why" }],
    ],
    [
      "calls and results, and further text of the user",
      {
        messages: [
          hi,
          { role: "assistant", content: [text("Well."), { ...use("a"), caller: { type: "direct" } }, use("b")] },
          {
            role: "user",
            content: [
              result("a", { content: [text("1"), text("2")] }),
              result("b", { content: "no", is_error: true }),
              text("go on"),
            ],
          },
        ],
      },
      [
        hi,
        {
          role: "assistant",
          content: "Well.",
          toolCalls: [
            { id: "a", name: "f", arguments: '{"a":1}' },
            { id: "b", name: "f", arguments: '{"a":1}' },
          ],
        },
        { role: "tool", toolCallId: "a", content: "1\n\n2" },
        { role: "tool", toolCallId: "b", content: "Error: no" },
        { role: "user", content: "go on" },
      ],
    ],
    [
      "an empty result",
      { messages: [hi, called, { role: "user", content: [result("a", {})] }] },
      [
        hi,
        { role: "assistant", content: "", toolCalls: [{ id: "a", name: "f", arguments: '{"a":1}' }] },
        { role: "tool", toolCallId: "a", content: "" },
      ],
    ],
    [
      "calls in several turns, and their results after another turn",
      {
        messages: [
          hi,
          { role: "assistant", content: "Well." },
          { role: "assistant", content: [text("I look."), use("a")] },
          { role: "assistant", content: [use("b")] },
          { role: "user", content: [result("b"), text("go on")] },
          { role: "user", content: [result("a"), text("please")] },
        ],
      },
      [
        hi,
        {
          role: "assistant",
          content: "Well.\n\nI look.",
          toolCalls: [
            { id: "a", name: "f", arguments: '{"a":1}' },
            { id: "b", name: "f", arguments: '{"a":1}' },
          ],
        },
        { role: "tool", toolCallId: "b", content: "1" },
        { role: "tool", toolCallId: "a", content: "1" },
        { role: "user", content: "go on\n\nplease" },
      ],
    ],
    [
      "the same id of a call in two answers",
      {
        messages: [
          hi,
          called,
          { role: "user", content: [result("a")] },
          called,
          { role: "user", content: [result("a", { content: "2" })] },
        ],
      },
      [
        hi,
        { role: "assistant", content: "", toolCalls: [{ id: "a", name: "f", arguments: '{"a":1}' }] },
        { role: "tool", toolCallId: "a", content: "1" },
        { role: "assistant", content: "", toolCalls: [{ id: "a", name: "f", arguments: '{"a":1}' }] },
        { role: "tool", toolCallId: "a", content: "2" },
      ],
    ],
    ["several turns of the user", { messages: [hi, hi, hi] }, [{ role: "user", content: "hi\n\nhi\n\nhi" }]],
    [
      "a system text and a system message first",
      { system: "a", messages: [{ role: "system", content: "b" }, hi] },
      [{ role: "system", content: "a\n\nb" }, hi],
    ],
    [
      "an answer that the client began",
      { messages: [hi, { role: "assistant", content: "{ " }] },
      [hi, { role: "assistant", content: "{ " }],
    ],
    [
      "a system message in the middle",
      { messages: [hi, { role: "system", content: "s" }] },
      [hi, { role: "system", content: "s" }],
    ],
  ])("with %s is accepted", (_what, body, messages) => {
    expect(read(body)).toEqual({ messages, stream: false, maxTokens: 9 });
  });

  it.each<[what: string, body: object, want: object]>([
    [
      "numbers",
      { temperature: 1, top_p: 0.5, top_k: 5, stream: true },
      { temperature: 1, topP: 0.5, topK: 5, stream: true },
    ],
    ["stop sequences", { stop_sequences: ["a", "b"] }, { stop: ["a", "b"] }],
    ["tools", { tools: [f] }, { tools: [{ name: "f", parameters: f.input_schema }] }],
    ["any tool", { tools: [f], tool_choice: { type: "any" } }, { toolChoice: "required" }],
    ["a named tool", { tools: [f], tool_choice: { type: "tool", name: "f" } }, { toolChoice: { name: "f" } }],
    [
      "one call at a time",
      { tools: [f], tool_choice: { type: "auto", disable_parallel_tool_use: true } },
      { parallelToolCalls: false },
    ],
    [
      "a format",
      { output_config: { format: { type: "json_schema", schema: f.input_schema } } },
      { responseFormat: { type: "json_schema", schema: f.input_schema } },
    ],
    [
      "a long description",
      { tools: [{ ...f, description: "d".repeat(20_000) }] },
      { tools: [{ description: "d".repeat(20_000) }] },
    ],
  ])("passes on %s", (_what, body, want) => {
    expect(read(body)).toMatchObject(want);
  });

  it("passes on no tool if none may be used", () => {
    expect(read({ tools: [f], tool_choice: { type: "none" } })).not.toHaveProperty("tools");
  });

  it.each<[what: string, body: object]>([
    ["hints of coding agents", { metadata: { user_id: "u" }, thinking: { type: "enabled", budget_tokens: 1024 } }],
    ["that reasoning is off", { thinking: { type: "disabled" } }],
    ["neutral values", { service_tier: "auto", container: null, speed: "standard", mcp_servers: [] }],
    ["the reasoning effort", { output_config: { effort: "high" } }],
    ["what to cache and clear", { cache_control: { type: "ephemeral" }, context_management: { edits: [] } }],
  ])("may state %s", (_what, body) => {
    expect(read(body)).toEqual({ messages: [hi], stream: false, maxTokens: 9 });
  });

  it.each<[body: object, param: string]>([
    [{ container: "c" }, "container"],
    [{ inference_geo: "eu" }, "inference_geo"],
    [{ mcp_servers: [{ type: "url", url: "https://x", name: "x" }] }, "mcp_servers"],
    [{ tools: [{ type: "web_search_20250305", name: "web_search" }] }, "tools.0.type"],
    [{ messages: [{ role: "user", content: [{ type: "image", source: {} }] }] }, "messages.0.content.0.type"],
    [
      { messages: [hi, called, { role: "user", content: [result("a", { content: [{ type: "image" }] })] }] },
      "messages.2.content.0.content.0.type",
    ],
    [
      {
        messages: [hi, { role: "assistant", content: "{" }],
        output_config: { format: { type: "json_schema", schema: {} } },
      },
      "messages.1",
    ],
  ])("is refused by the parameter's name: %j", (body, param) => {
    expect(read(body)).toEqual({ refused: "http/unsupported-parameter", param });
  });

  it.each<[what: string, body: object, param: string]>([
    ["no max_tokens", { max_tokens: undefined }, "max_tokens"],
    ["a temperature of 1.5", { temperature: 1.5 }, "temperature"],
    ["no messages", { messages: [] }, "messages"],
    ["a call without its result", { messages: [hi, called, hi] }, "messages.2"],
    ["a call without its result at the end", { messages: [hi, called] }, "messages.1"],
    [
      "two results of one call",
      { messages: [hi, called, { role: "user", content: [result("a"), result("a")] }] },
      "messages.2",
    ],
    ["a result without its call", { messages: [{ role: "user", content: [result("a")] }] }, "messages.0"],
    ["a call of the user", { messages: [{ role: "user", content: [use("a")] }] }, "messages.0.content.0"],
    [
      "a result of the assistant",
      { messages: [{ role: "assistant", content: [result("a")] }, hi] },
      "messages.0.content.0",
    ],
    ["two tools of one name", { tools: [f, f] }, "tools.1.name"],
    ["an invalid schema", { tools: [{ ...f, input_schema: { type: "no" } }] }, "tools.0.input_schema.type"],
    [
      "too many messages",
      {
        messages: [
          ...Array.from({ length: 33 }, (_, i) => [
            { role: "assistant", content: Array.from({ length: 128 }, (_, j) => use(`${i}-${j}`)) },
            { role: "user", content: Array.from({ length: 128 }, (_, j) => result(`${i}-${j}`)) },
          ]).flat(),
        ],
      },
      "messages",
    ],
    [
      "too many calls in one answer",
      {
        messages: [
          { role: "assistant", content: Array.from({ length: LIMITS.toolCallsPerMessage + 1 }, (_, i) => use(`${i}`)) },
          hi,
        ],
      },
      "messages.0",
    ],
  ])("with %s is invalid", (_what, body, param) => {
    expect(read(body)).toEqual({ refused: "http/invalid-body", param });
  });
});

it("a count uses the same prompt, and generates no answer", () => {
  const parsed = parseClientBody(countTokensApi, { model: "m", messages: [hi], system: "s", tools: [f] });
  if (!parsed.ok) return expect.fail(parsed.message ?? parsed.code);
  expect(countProblem(parsed.body)).toBeNull();
  expect(toCountRequest(parsed.body)).toEqual({
    messages: [{ role: "system", content: "s" }, hi],
    tools: [{ name: "f", parameters: f.input_schema }],
    stream: false,
    countTokens: true,
  });
});

it.each<[what: string, last: object, counted: object[]]>([
  ["an answer", { role: "assistant", content: "Yes." }, [{ role: "assistant", content: "Yes." }]],
  [
    "calls without results",
    { role: "assistant", content: [use("a"), use("b")] },
    [
      {
        role: "assistant",
        content: "",
        toolCalls: [
          { id: "a", name: "f", arguments: '{"a":1}' },
          { id: "b", name: "f", arguments: '{"a":1}' },
        ],
      },
      { role: "tool", toolCallId: "a", content: "" },
      { role: "tool", toolCallId: "b", content: "" },
    ],
  ],
])("a count accepts a conversation that ends with %s", (_what, last, counted) => {
  const parsed = parseClientBody(countTokensApi, { model: "m", messages: [hi, last] });
  if (!parsed.ok) return expect.fail(parsed.message ?? parsed.code);
  expect(countProblem(parsed.body)).toBeNull();
  expect(chatRequest.parse(toCountRequest(parsed.body)).messages).toEqual([hi, ...counted]);
});

it.each([["max_tokens"], ["stream"], ["temperature"]])("a count refuses %s", (name) => {
  expect(parseClientBody(countTokensApi, { model: "m", messages: [hi], [name]: 1 })).toMatchObject({
    ok: false,
    code: "http/unknown-parameter",
    param: name,
  });
});
