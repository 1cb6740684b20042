import { describe, expect, it } from "vitest";
import { API_PARAMETERS } from "../../../schema/wire/api-parameters.ts";
import { chatApi, completionApi, embeddingApi } from "../../../schema/wire/client-api.ts";
import { toChatRequest, toCompletionRequest, toEmbeddingRequest } from "../../../schema/wire/client-request.ts";
import { completionProblem } from "../../../schema/wire/completion-problem.ts";
import { rowsOf } from "../../../schema/wire/parameter-table.ts";
import { apiParametersPage } from "./api-parameters-page.ts";
import { tableCases } from "./parameter-table-cases.ts";
import { publishedParameters } from "./published-parameters.ts";

const generation = {
  model: ["m", "other"],
  temperature: [0, 1],
  top_p: [0, 1],
  seed: [1, 2],
  stop: ["a", ["b"]],
  stream: [false, true],
  stream_options: [{}, { include_usage: true }],
  "stream_options.include_usage": [null, true],
  max_tokens: [1, 2],
  n: [1, 2],
} as const;
const user = { role: "user", content: "hi" };
const called = { name: "f", arguments: "{}" };

tableCases("the table of /v1/chat/completions", {
  api: chatApi,
  body: { model: "m", messages: [user], tools: [{ type: "function", function: { name: "f" } }], logprobs: true },
  shapes: {
    "messages[system]": { role: "system", content: "s" },
    "messages[developer]": { role: "developer", content: "s" },
    "messages[user]": user,
    "messages[assistant]": { role: "assistant", content: null },
    "messages[tool]": { role: "tool", content: "t", tool_call_id: "c" },
    ...Object.fromEntries(
      ["system", "developer", "user", "assistant", "tool"].map((role) => [
        `messages[${role}].content[text]`,
        { type: "text", text: "t" },
      ]),
    ),
    "messages[assistant].content[output_text]": { type: "output_text", text: "t" },
    "messages[assistant].content[refusal]": { type: "refusal", refusal: "r" },
    "messages[assistant].tool_calls[function]": { id: "c", type: "function", function: called },
    "response_format[json_schema]": { type: "json_schema", json_schema: { name: "n", schema: {} } },
    "tools[function]": { type: "function", function: { name: "f" } },
    "tool_choice[function]": { type: "function", function: { name: "f" } },
  },
  used: {
    ...generation,
    max_completion_tokens: [1, 2],
    messages: [[user], [user, user]],
    ...Object.fromEntries(
      ["system", "developer", "user", "assistant", "tool"].flatMap((role) => [
        [`messages[${role}].content`, ["a", [{ type: "text", text: "b" }]]],
        [`messages[${role}].content[text].text`, ["a", "b"]],
      ]),
    ),
    "messages[assistant].content[output_text].text": ["a", "b"],
    "messages[assistant].content[refusal].refusal": ["a", "b"],
    "messages[assistant].refusal": [null, "No."],
    "messages[assistant].tool_calls": [[], [{ id: "c", function: called }]],
    "messages[assistant].tool_calls[function].id": ["a", "b"],
    "messages[assistant].tool_calls[function].function": [called, { ...called, name: "g" }],
    "messages[assistant].tool_calls[function].function.name": ["f", "g"],
    "messages[assistant].tool_calls[function].function.arguments": ["{}", '{"a":1}'],
    "messages[tool].tool_call_id": ["a", "b"],
    response_format: [{ type: "text" }, { type: "json_object" }],
    "response_format[json_schema].json_schema": [
      { name: "n", schema: {} },
      { name: "n", schema: { type: "null" } },
    ],
    "response_format[json_schema].json_schema.name": ["a", "b"],
    "response_format[json_schema].json_schema.description": ["a", "b"],
    "response_format[json_schema].json_schema.schema": [{}, { type: "null" }],
    "response_format[json_schema].json_schema.strict": [false, true],
    tools: [[], [{ type: "function", function: { name: "f" } }]],
    "tools[function].function": [{ name: "f" }, { name: "g" }],
    "tools[function].function.name": ["f", "g"],
    "tools[function].function.description": ["a", "b"],
    "tools[function].function.parameters": [{}, { type: "object", properties: { a: {} } }],
    "tools[function].function.strict": [false, true],
    tool_choice: ["auto", "required"],
    "tool_choice[function].function": [{ name: "f" }, { name: "g" }],
    "tool_choice[function].function.name": ["f", "g"],
    parallel_tool_calls: [true, false],
    logprobs: [false, true],
    top_logprobs: [1, 2],
  },
  read: (body) => [body.model, body.n ?? 1, body.stream_options?.include_usage ?? false, toChatRequest(body)],
});

tableCases("the table of /v1/completions", {
  api: completionApi,
  body: { model: "m", prompt: "p" },
  shapes: {},
  used: { ...generation, prompt: ["a", ["b", "c"]], best_of: [1, 2], logprobs: [0, 5] },
  read: (body) => [
    body.model,
    body.n ?? 1,
    completionProblem(body),
    body.stream_options?.include_usage ?? false,
    toCompletionRequest(body),
  ],
});

tableCases("the table of /v1/embeddings", {
  api: embeddingApi,
  body: { model: "m", input: "i" },
  shapes: {},
  used: { model: ["a", "b"], input: ["a", ["a", "b"]], encoding_format: ["float", "base64"], dimensions: [1, 2] },
  read: (body) => [body.model, body.encoding_format ?? "float", toEmbeddingRequest(body)],
});

describe("what the official SDK publishes", () => {
  const chat = "openai/resources/chat/completions/completions";
  it.each([
    ["/v1/chat/completions", chat, ["ChatCompletionCreateParamsNonStreaming", "ChatCompletionCreateParamsStreaming"]],
    ["/v1/completions", "openai/resources/completions", ["CompletionCreateParamsNonStreaming"]],
    ["/v1/embeddings", "openai/resources/embeddings", ["EmbeddingCreateParams"]],
  ] as const)("is the table of %s", (path, module, types) => {
    const rows = rowsOf(API_PARAMETERS[path]);
    // Below what is refused or without effect as a whole, the table has no rows.
    const whole = new Set(rows.flatMap(({ name, treatment }) => (treatment === "used" ? [] : [name])));
    // A schema is what its writer makes of it.
    const isOpaque = (name: string) => whole.has(name) || name.endsWith(".schema") || name.endsWith(".parameters");
    const published = publishedParameters(module, types, isOpaque);
    expect([...published].sort()).toEqual(
      rows.flatMap(({ name, isUnpublished }) => (isUnpublished ? [] : [name])).sort(),
    );
  });
});

it("docs/api-parameters.md shows the tables; vitest -u writes it", async () => {
  await expect(apiParametersPage(API_PARAMETERS)).toMatchFileSnapshot("../../../docs/api-parameters.md");
});
