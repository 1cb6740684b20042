import { describe, expect, it } from "vitest";
import { chatProblem } from "../../../schema/wire/chat-problem.ts";
import { chatApi, parseClientBody } from "../../../schema/wire/client-api.ts";
import { toChatRequest } from "../../../schema/wire/client-request.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const body = (extra: object) => {
  const parsed = parseClientBody(chatApi, {
    model: "m",
    messages: [{ role: "user", content: "hi" }],
    ...extra,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed));
  return parsed.body;
};
const tool = (name: string, parameters?: object) => ({
  type: "function",
  function: { name, ...(parameters && { parameters }) },
});
const strictTool = (name: string, parameters: object) => ({
  type: "function",
  function: { name, parameters, strict: true },
});
const format = (schema: object, strict?: boolean) => ({
  response_format: { type: "json_schema", json_schema: { name: "x", schema, ...(strict !== undefined && { strict }) } },
});
const calls = (...ids: string[]) => ({
  role: "assistant",
  content: null,
  tool_calls: ids.map((id) => ({ id, type: "function", function: { name: "f", arguments: "{}" } })),
});
const answered = (tool_call_id: string) => ({ role: "tool", tool_call_id, content: "1" });
const user = { role: "user", content: "hi" };

const nested = (levels: number): object => (levels === 0 ? {} : { type: "array", items: nested(levels - 1) });
const FORMAT = "response_format.json_schema.schema";

describe("a chat whose parts contradict each other is refused:", () => {
  it.each<[what: string, extra: object, code: string, param: string]>([
    ["two tools of one name", { tools: [tool("f"), tool("f")] }, "http/invalid-body", "tools.1.function.name"],
    [
      "a tool_choice that names no tool",
      { tools: [tool("f")], tool_choice: { type: "function", function: { name: "g" } } },
      "http/invalid-body",
      "tool_choice",
    ],
    ["a tool_choice without tools", { tool_choice: "required" }, "http/invalid-body", "tool_choice"],
    [
      "a keyword in a strict tool",
      { tools: [strictTool("f", { type: "object", properties: { a: { type: "array", uniqueItems: true } } })] },
      "http/unsupported-parameter",
      "tools.0.function.parameters.properties.a.uniqueItems",
    ],
    [
      "a keyword in a strict format",
      format({ type: "object", properties: { a: { type: "number", multipleOf: 2 } } }, true),
      "http/unsupported-parameter",
      "response_format.json_schema.schema.properties.a.multipleOf",
    ],
    ["no type", format({ type: "text" }), "http/invalid-body", "response_format.json_schema.schema.type"],
    ...[
      { type: "string" },
      { type: "array" },
      { enum: [1, "a"] },
      { const: null },
      { anyOf: [{ type: "boolean" }] },
    ].map((schema): [string, object, string, string] => [
      `parameters that are ${JSON.stringify(schema)}`,
      { tools: [tool("f"), tool("g", schema)], tool_choice: "required" },
      "http/invalid-body",
      "tools.1.function.parameters",
    ]),
    [
      "a tool's schema that is too large, although the tool may not be called",
      { tools: [tool("f", { description: "x".repeat(LIMITS.schemaBytes) })], tool_choice: "none" },
      "http/invalid-body",
      "tools.0.function.parameters",
    ],
    ["a schema that is too deep", format(nested(LIMITS.schemaDepth)), "http/invalid-body", FORMAT],
    ["a schema with a lone surrogate", format({ const: "\ud800" }), "http/invalid-body", FORMAT],
    ["a schema with a number that parses as infinite", format({ const: Infinity }), "http/invalid-body", FORMAT],
    ["a format beside a stop sequence", { ...format({}), stop: "x" }, "http/unsupported-parameter", "stop"],
    [
      "a tool result without a call",
      { messages: [user, answered("a")] },
      "http/invalid-body",
      "messages.1.tool_call_id",
    ],
    [
      "two results of one call",
      { messages: [calls("a"), answered("a"), answered("a")] },
      "http/invalid-body",
      "messages.2.tool_call_id",
    ],
    [
      "a call without a result",
      { messages: [calls("a", "b"), answered("a"), user] },
      "http/invalid-body",
      "messages.2",
    ],
    ["a call at the end", { messages: [user, calls("a")] }, "http/invalid-body", "messages.1"],
    [
      "two calls of one id",
      { messages: [calls("a", "a"), answered("a")] },
      "http/invalid-body",
      "messages.0.tool_calls",
    ],
    [
      "an assistant message without content",
      { messages: [{ role: "assistant" }] },
      "http/invalid-body",
      "messages.0.content",
    ],
    [
      "too many large tools",
      {
        tools: Array.from({ length: 65 }, (_, i) => ({
          type: "function",
          function: { name: `f${i}`, description: "x".repeat(4_096) },
        })),
      },
      "http/invalid-body",
      "tools",
    ],
  ])("%s", (_what, extra, code, param) => {
    expect(chatProblem(body(extra))).toMatchObject({ code, param, message: expect.any(String) });
  });
});

describe("tools and formats", () => {
  it("reach the worker in its own form", () => {
    const given = body({
      tools: [tool("f", { type: "object", properties: { a: {} } }), tool("g")],
      tool_choice: { type: "function", function: { name: "g" } },
      parallel_tool_calls: false,
      messages: [user, calls("a"), answered("a")],
    });
    expect(chatProblem(given)).toBeNull();
    expect(toChatRequest(given)).toEqual({
      stream: false,
      messages: [
        user,
        { role: "assistant", content: "", toolCalls: [{ id: "a", name: "f", arguments: "{}" }] },
        { role: "tool", toolCallId: "a", content: "1" },
      ],
      tools: [
        { name: "f", parameters: { type: "object", properties: { a: {} } } },
        { name: "g", parameters: { type: "object", properties: {}, additionalProperties: false } },
      ],
      toolChoice: { name: "g" },
      parallelToolCalls: false,
    });
  });

  it("that may not be used are not sent", () => {
    expect(toChatRequest(body({ tools: [tool("f")], tool_choice: "none" }))).not.toHaveProperty("tools");
    expect(toChatRequest(body({ response_format: { type: "text" } }))).not.toHaveProperty("responseFormat");
  });
});

describe("a chat passes", () => {
  const odd = { type: "object", properties: { a: { type: "string", format: "phone" }, b: { not: { type: "null" } } } };
  it.each<[what: string, extra: object]>([
    ["with a tool whose keyword is not enforced", { tools: [tool("f", odd)] }],
    ["with a format whose keyword is not enforced", format(odd)],
    ["with a format that is not strict", format(odd, false)],
    ["with a format beside tools that may be called", { ...format({}), tools: [tool("f")] }],
    ["with a strict tool that may not be called", { tools: [strictTool("f", odd)], tool_choice: "none" }],
    [
      "with parameters that are not an object, of a tool that may not be called",
      { tools: [tool("f", { type: "string" })], tool_choice: "none" },
    ],
  ])("%s", (_what, extra) => expect(chatProblem(body(extra))).toBeNull());
});

describe("a function without parameters", () => {
  it.each<[schema: object | undefined]>([
    [undefined],
    [{}],
    [{ type: "object" }],
    [{ type: "object", properties: {} }],
    [{ $schema: "http://json-schema.org/draft-07/schema#", type: "object", properties: {}, description: "none" }],
  ])("reaches a worker as an object without members: %j", (schema) => {
    expect(toChatRequest(body({ tools: [tool("f", schema)] })).tools).toEqual([
      { name: "f", parameters: { type: "object", properties: {}, additionalProperties: false } },
    ]);
  });

  it.each<[schema: object]>([
    [{ type: "object", additionalProperties: true }],
    [{ type: "object", patternProperties: {} }],
  ])("is different from one whose members may have any name: %j", (parameters) =>
    expect(toChatRequest(body({ tools: [tool("f", parameters)] })).tools).toEqual([{ name: "f", parameters }]),
  );
});

describe("all schemas of a request together", () => {
  const properties = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`p${i}`, { type: "integer" }]));
  const large = { type: "object", properties, required: Object.keys(properties) };
  const many = (count: number) => Array.from({ length: count }, (_, i) => tool(`f${i}`, large));

  it("take a bounded number of steps, and the refusal names all tools", () => {
    expect(chatProblem(body({ tools: many(20) }))).toBeNull();
    expect(chatProblem(body({ tools: many(128) }))).toMatchObject({
      code: "http/invalid-body",
      param: "tools",
      message: expect.stringMatching(/Send smaller schemas/),
    });
  });

  it("name the format if the steps end there", () => {
    const tools = many(90);
    expect(chatProblem(body({ tools }))).toBeNull();
    const anyOf = Array.from({ length: 16 }, () => ({ ...large, required: [] }));
    const schema = { type: "object", properties: { a: { anyOf } } };
    expect(chatProblem(body({ tools, ...format(schema) }))).toMatchObject({ param: "response_format" });
  });

  it("are not checked if a size is wrong", () => {
    const tools = [...many(127), tool("last", { description: "x".repeat(LIMITS.schemaBytes) })];
    expect(chatProblem(body({ tools }))).toMatchObject({ param: "tools.127.function.parameters" });
  });
});
