import { describe, expect, it } from "vitest";
import { chatProblem } from "../../../schema/wire/chat-problem.ts";
import { chatApi, parseClientBody } from "../../../schema/wire/client-api.ts";
import { toChatRequest } from "../../../schema/wire/client-request.ts";
import { readJsonSchema } from "../../../schema/wire/json-schema.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { ENDLESS_CHOICES } from "../../../scripts/fuzz/schemas.ts";

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
const format = (schema: object) => ({ response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
const calls = (...ids: string[]) => ({
  role: "assistant",
  content: null,
  tool_calls: ids.map((id) => ({ id, type: "function", function: { name: "f", arguments: "{}" } })),
});
const answered = (tool_call_id: string) => ({ role: "tool", tool_call_id, content: "1" });
const user = { role: "user", content: "hi" };

describe("a chat whose parts do not go together", () => {
  it.each<[what: string, extra: object, code: string, param: string]>([
    ["two tools of one name", { tools: [tool("f"), tool("f")] }, "http/invalid-body", "tools.1.function.name"],
    [
      "a choice that is no tool",
      { tools: [tool("f")], tool_choice: { type: "function", function: { name: "g" } } },
      "http/invalid-body",
      "tool_choice",
    ],
    ["a choice among none", { tool_choice: "required" }, "http/invalid-body", "tool_choice"],
    [
      "a keyword in a tool",
      { tools: [tool("f", { type: "string", pattern: "x" })] },
      "http/unsupported-parameter",
      "tools.0.function.parameters.pattern",
    ],
    [
      "a keyword in a format",
      format({ type: "object", properties: { a: { type: "number", multipleOf: 2 } } }),
      "http/unsupported-parameter",
      "response_format.json_schema.schema.properties.a.multipleOf",
    ],
    ["no type", format({ type: "text" }), "http/invalid-body", "response_format.json_schema.schema.type"],
    [
      "a format beside tools to choose from",
      { ...format({}), tools: [tool("f")] },
      "http/unsupported-parameter",
      "response_format",
    ],
    ["a format beside a stop sequence", { ...format({}), stop: "x" }, "http/unsupported-parameter", "stop"],
    ["an answer to no call", { messages: [user, answered("a")] }, "http/invalid-body", "messages.1.tool_call_id"],
    [
      "an answer given twice",
      { messages: [calls("a"), answered("a"), answered("a")] },
      "http/invalid-body",
      "messages.2.tool_call_id",
    ],
    [
      "a call without an answer",
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
    ["an assistant who says nothing", { messages: [{ role: "assistant" }] }, "http/invalid-body", "messages.0.content"],
    [
      "tools beyond measure",
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
      tools: [tool("f", { type: "object" }), tool("g")],
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
      tools: [{ name: "f", parameters: { type: "object" } }, { name: "g" }],
      toolChoice: { name: "g" },
      parallelToolCalls: false,
    });
  });

  it("that are not to be used do not travel", () => {
    expect(toChatRequest(body({ tools: [tool("f")], tool_choice: "none" }))).not.toHaveProperty("tools");
    expect(toChatRequest(body({ response_format: { type: "text" } }))).not.toHaveProperty("responseFormat");
  });
});

it.each(Object.entries(ENDLESS_CHOICES))("a format or a tool with %s is refused", (_what, schema) => {
  expect(chatProblem(body(format(schema)))).toMatchObject({
    code: "http/invalid-body",
    param: "response_format.json_schema.schema",
  });
  const tooled = body({ tools: [tool("f", schema)] });
  expect(chatProblem(tooled)).toMatchObject({ code: "http/invalid-body", param: "tools.0.function.parameters" });
});

describe("a JSON schema", () => {
  const nested = (levels: number): object => (levels === 0 ? {} : { type: "array", items: nested(levels - 1) });
  const chain = (length: number) => ({
    $ref: "#/$defs/d0",
    $defs: Object.fromEntries(
      Array.from({ length }, (_, i) => {
        const next = i + 1 < length ? { $ref: `#/$defs/d${i + 1}` } : { type: "null" };
        return [`d${i}`, { type: "object", properties: { a: next, b: next }, required: ["a", "b"] }];
      }),
    ),
  });
  it.each<[what: string, schema: unknown, unsupported: boolean, path: string]>([
    ["no object", [], false, ""],
    ["too deep", nested(LIMITS.schemaDepth), false, ""],
    ["too large", { description: "x".repeat(LIMITS.schemaBytes) }, false, ""],
    ["too many parts", { anyOf: Array.from({ length: LIMITS.schemaNodes }, () => ({})) }, false, "anyOf.999"],
    ["too many values", { enum: Array.from({ length: LIMITS.schemaEnumValues + 1 }, (_, i) => i) }, false, "enum"],
    ["half a character", { const: "\ud800" }, false, ""],
    ["a definition that is not there", { $ref: "#/$defs/x" }, false, "$ref"],
    ["a reference elsewhere", { $ref: "https://example.com/x" }, true, "$ref"],
    ["a value without an end", { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, false, ""],
    ["a name that means itself", { anyOf: [{ $ref: "#" }, { type: "null" }] }, false, ""],
    ["a number's bound that is not whole", { type: "number", maximum: 0.5 }, true, "maximum"],
    ["a number's bound beyond what is written", { type: "number", minimum: 1e15 }, true, "minimum"],
    ["integers that are not written", { type: "integer", minimum: 1e15 }, true, "minimum"],
    [
      "integers that are not written either",
      { type: "integer", exclusiveMaximum: -(10 ** 15) },
      true,
      "exclusiveMaximum",
    ],
    ["a bound that is no number", { type: "integer", maximum: "5" }, false, "maximum"],
    ["bounds that cross", { type: "integer", minimum: 2, maximum: 1 }, false, "maximum"],
    ["bounds with no integer between", { type: "integer", exclusiveMinimum: 1, maximum: 1.5 }, false, "maximum"],
    ["bounds with no number between", { type: "number", minimum: 1, exclusiveMaximum: 1 }, false, "exclusiveMaximum"],
    ["a multiple", { type: "integer", multipleOf: 2 }, true, "multipleOf"],
    ["oneOf", { oneOf: [{}] }, true, "oneOf"],
    ["a keyword of another type", { type: "boolean", minLength: 1 }, true, "minLength"],
    ["false", { type: "object", properties: { a: false } }, true, "properties.a"],
    ["an enum of another type", { type: "string", enum: [1] }, false, "enum"],
    ["a required name without a schema", { type: "object", required: ["a"] }, true, "required"],
    ["lengths that cross", { type: "string", minLength: 3, maxLength: 2 }, false, "maxLength"],
    ["an unknown keyword", { type: "string", constructor: 1 }, true, "constructor"],
  ])("of %s is refused by name", (_what, schema, unsupported, path) => {
    expect(readJsonSchema(schema)).toMatchObject({
      ok: false,
      path,
      remedy: unsupported ? expect.stringMatching(/^[A-Z].*\.$/) : null,
    });
  });

  it.each<[what: string, schema: unknown]>([
    ["nothing", {}],
    ["annotations", { title: "t", description: "d", default: 1, examples: [2], $schema: "x", type: "integer" }],
    [
      "the bounds that zod writes for an integer",
      { type: "integer", minimum: -9007199254740991, maximum: 9007199254740991 },
    ],
    ["the bounds that zod writes for a float", { type: "number", minimum: -3.4e38, maximum: 3.4e38 }],
    ["a range of integers", { type: "integer", minimum: 1, maximum: 5 }],
    ["bounds of integers that are not whole", { type: "integer", minimum: 0.5, exclusiveMaximum: 5.5 }],
    ["a range of numbers", { type: "number", exclusiveMinimum: 0, maximum: 1 }],
    ["definitions that branch at every step", chain(200)],
    ["a single allOf", { allOf: [{ type: "null" }] }],
  ])("of %s is understood", (_what, schema) => {
    expect(readJsonSchema(schema)).toMatchObject({ ok: true });
  });
});
