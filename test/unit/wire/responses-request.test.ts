import { describe, expect, it } from "vitest";
import { parseClientBody } from "../../../schema/wire/client-api.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { responsesApi } from "../../../schema/wire/responses-api.ts";
import { responsesEcho, responsesProblem, toResponsesRequest } from "../../../schema/wire/responses-request.ts";
import { chatRequest } from "../../../schema/wire/worker-frames.ts";

/** The request that a worker gets, or the refusal of the body. */
function read(body: object): unknown {
  const parsed = parseClientBody(responsesApi, { model: "m", ...body });
  if (!parsed.ok) return { refused: parsed.code, param: parsed.param, remedy: parsed.remedy };
  const problem = responsesProblem(parsed.body);
  if (problem) return { refused: problem.code, param: problem.param };
  const request = toResponsesRequest(parsed.body);
  expect(chatRequest.parse(request)).toEqual(request);
  return request;
}
const hi = { role: "user", content: "hi" };
const call = (id: string) => ({
  type: "function_call",
  id: `fc_${id}`,
  call_id: id,
  name: "f",
  arguments: "{}",
  status: "completed",
});
const output = (id: string, output: unknown = "1") => ({ type: "function_call_output", call_id: id, output: output });
const f = { type: "function", name: "f", parameters: { type: "object", properties: {} }, strict: true };

describe("a body of /v1/responses", () => {
  it.each<[what: string, body: object, messages: object[]]>([
    ["text", { input: "hi" }, [hi]],
    ["instructions", { input: "hi", instructions: "Be brief." }, [{ role: "system", content: "Be brief." }, hi]],
    [
      "messages, with and without their type",
      {
        input: [
          hi,
          {
            type: "message",
            role: "developer",
            content: [
              { type: "input_text", text: "a" },
              { type: "input_text", text: "b" },
            ],
          },
        ],
      },
      [hi, { role: "system", content: "ab" }],
    ],
    [
      "an earlier answer as the SDK sends it back",
      {
        input: [
          hi,
          { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "x" },
          {
            type: "message",
            id: "msg_1",
            status: "completed",
            role: "assistant",
            content: [{ type: "output_text", text: "Yes.", annotations: [], logprobs: [], parsed: null }],
          },
          { role: "user", content: "why" },
        ],
      },
      [hi, { role: "assistant", content: "Yes." }, { role: "user", content: "why" }],
    ],
    [
      "calls and their outputs",
      {
        input: [
          hi,
          { role: "assistant", content: "Well." },
          call("a"),
          call("b"),
          output("a"),
          output("b", [{ type: "input_text", text: "2" }]),
        ],
      },
      [
        hi,
        {
          role: "assistant",
          content: "Well.",
          toolCalls: [
            { id: "a", name: "f", arguments: "{}" },
            { id: "b", name: "f", arguments: "{}" },
          ],
        },
        { role: "tool", toolCallId: "a", content: "1" },
        { role: "tool", toolCallId: "b", content: "2" },
      ],
    ],
    [
      "a message between a call and its output, of the assistant or of others",
      {
        input: [
          hi,
          call("a"),
          { role: "assistant", content: "Well." },
          output("a"),
          call("b"),
          { role: "developer", content: "Hurry." },
          hi,
          output("b"),
          hi,
        ],
      },
      [
        hi,
        { role: "assistant", content: "Well.", toolCalls: [{ id: "a", name: "f", arguments: "{}" }] },
        { role: "tool", toolCallId: "a", content: "1" },
        { role: "assistant", content: "", toolCalls: [{ id: "b", name: "f", arguments: "{}" }] },
        { role: "tool", toolCallId: "b", content: "1" },
        { role: "system", content: "Hurry." },
        { role: "user", content: "hi\n\nhi" },
      ],
    ],
    [
      "instructions and items of the developer and the system, as one system message",
      {
        instructions: "a",
        input: [{ role: "developer", content: "b" }, { role: "system", content: "c" }, hi],
      },
      [{ role: "system", content: "a\n\nb\n\nc" }, hi],
    ],
    [
      "instructions and an item of the developer only",
      { instructions: "a", input: [{ role: "developer", content: "b" }] },
      [{ role: "system", content: "a\n\nb" }],
    ],
    [
      "a call after the output of another",
      { input: [hi, call("a"), output("a"), call("b"), output("b")] },
      [
        hi,
        { role: "assistant", content: "", toolCalls: [{ id: "a", name: "f", arguments: "{}" }] },
        { role: "tool", toolCallId: "a", content: "1" },
        { role: "assistant", content: "", toolCalls: [{ id: "b", name: "f", arguments: "{}" }] },
        { role: "tool", toolCallId: "b", content: "1" },
      ],
    ],
  ])("with %s is accepted", (_what, body, messages) => {
    expect(read(body)).toEqual({ messages, stream: false });
  });

  it.each<[what: string, body: object, want: object]>([
    [
      "numbers",
      { max_output_tokens: 9, temperature: 0, top_p: 0.5, stream: true },
      { maxTokens: 9, temperature: 0, topP: 0.5, stream: true },
    ],
    ["a format", { text: { format: { type: "json_object" } } }, { responseFormat: { type: "json_object" } }],
    [
      "a schema",
      {
        text: { format: { type: "json_schema", name: "n", schema: { type: "object", properties: {} }, strict: true } },
      },
      { responseFormat: { type: "json_schema", schema: { type: "object", properties: {} } } },
    ],
    ["tools", { tools: [f], tool_choice: "required" }, { tools: [{ name: "f" }], toolChoice: "required" }],
    ["a named tool", { tools: [f], tool_choice: { type: "function", name: "f" } }, { toolChoice: { name: "f" } }],
    ["one call at a time", { tools: [f], parallel_tool_calls: false }, { parallelToolCalls: false }],
  ])("passes on %s", (_what, body, want) => {
    expect(read({ input: "hi", ...body })).toMatchObject(want);
  });

  it.each<[what: string, body: object]>([
    [
      "defaults that SDKs write",
      { store: false, truncation: "disabled", background: false, service_tier: "auto", previous_response_id: null },
    ],
    [
      "hints",
      { reasoning: { effort: "low" }, metadata: { a: "b" }, user: "u", prompt_cache_key: "k", safety_identifier: "s" },
    ],
    ["reasoning that a stateless client asks for", { include: ["reasoning.encrypted_content"] }],
  ])("may state %s", (_what, body) => {
    expect(read({ input: "hi", ...body })).toEqual({ messages: [hi], stream: false });
  });

  it.each<[body: object, param: string, remedy?: string]>([
    [{ store: true }, "store"],
    [{ previous_response_id: "resp_1" }, "previous_response_id"],
    [{ conversation: "conv_1" }, "conversation"],
    [{ background: true }, "background"],
    [{ prompt: { id: "p" } }, "prompt"],
    [{ top_logprobs: 3 }, "top_logprobs"],
    [{ include: ["message.output_text.logprobs"] }, "include"],
    [
      { input: [{ type: "item_reference", id: "msg_1" }] },
      "input.0.type",
      "Set store: false, so that your SDK sends the items themselves.",
    ],
    [{ input: [{ type: "computer_call_output", call_id: "c" }] }, "input.0.type"],
    [{ input: [{ role: "user", content: [{ type: "input_image", image_url: "x" }] }] }, "input.0.content.0.type"],
    [{ tools: [{ type: "web_search" }] }, "tools.0.type"],
    [{ tool_choice: { type: "allowed_tools", tools: [] } }, "tool_choice.type"],
    [{ text: { verbosity: "low" } }, "text.verbosity"],
  ])("is refused by the parameter's name: %j", (body, param, remedy) => {
    expect(read({ input: "hi", ...body })).toMatchObject({
      refused: "http/unsupported-parameter",
      param,
      ...(remedy && { remedy }),
    });
  });

  it.each<[what: string, body: object, param: string]>([
    ["no input", {}, "input"],
    ["an empty input", { input: [] }, "input"],
    ["an input that has only reasoning", { input: [{ type: "reasoning", id: "r", summary: [] }] }, "input"],
    ["a call without its output", { input: [hi, call("a")] }, "input.1"],
    ["an output without its call", { input: [hi, output("a")] }, "input.1"],
    ["two tools of one name", { input: "hi", tools: [f, f] }, "tools.1.name"],
    ["an invalid schema", { input: "hi", tools: [{ ...f, parameters: { type: "no" } }] }, "tools.0.parameters.type"],
    [
      "an invalid format",
      { input: "hi", text: { format: { type: "json_schema", name: "n", schema: { type: "no" } } } },
      "text.format.schema.type",
    ],
    [
      "too many calls in one answer",
      { input: [hi, ...Array.from({ length: LIMITS.toolCallsPerMessage + 1 }, (_, i) => call(`c${i}`))] },
      "input.1",
    ],
  ])("with %s is invalid", (_what, body, param) => {
    expect(read(body)).toMatchObject({
      refused: expect.stringMatching(/^http\/(invalid-body|unsupported-parameter)$/),
      param,
    });
  });
});

it("an answer repeats its request, without long instructions and tools", () => {
  const echo = (body: object) => {
    const parsed = parseClientBody(responsesApi, { model: "m", input: "hi", ...body });
    return parsed.ok ? responsesEcho(parsed.body) : expect.fail(parsed.message ?? parsed.code);
  };
  expect(echo({ instructions: "Be brief.", tools: [f], temperature: 0.1, tool_choice: "required" })).toEqual({
    instructions: "Be brief.",
    max_output_tokens: null,
    parallel_tool_calls: true,
    temperature: 0.1,
    text: { format: { type: "text" } },
    tool_choice: "required",
    tools: [{ description: null, ...f }],
    top_p: null,
  });
  const long = echo({ instructions: "x".repeat(LIMITS.echoedRequestChars), tools: [f] });
  expect(long).toMatchObject({ instructions: null, tools: [] });
});
