import { expect, it } from "vitest";
import { countTokensApi, messagesApi } from "../../../schema/wire/messages-api.ts";
import { COUNT_TOKENS_PARAMETERS, MESSAGES_PARAMETERS } from "../../../schema/wire/messages-parameters.ts";
import { toCountRequest, toMessagesRequest } from "../../../schema/wire/messages-request.ts";
import { tableCases } from "./parameter-table-cases.ts";
import { publishedParameters } from "./published-parameters.ts";

/** The compiler reads all types of the package. */
const TYPES_MS = 60_000;
const hi = { role: "user", content: "hi" };
const f = { name: "f", input_schema: { type: "object" } };
const use = { type: "tool_use", id: "c", name: "f", input: {} };
const result = { type: "tool_result", tool_use_id: "c", content: "1" };
const text = { type: "text", text: "t" };

const turns = Object.fromEntries(
  ["user", "assistant", "system"].map((role) => [`messages[${role}]`, { role, content: "hi" }]),
);
const shapes = {
  ...turns,
  ...Object.fromEntries(Object.keys(turns).map((turn) => [`${turn}.content[text]`, text])),
  ...Object.fromEntries(
    ["user", "assistant"].flatMap((role) => [
      [`messages[${role}].content[tool_use]`, use],
      [`messages[${role}].content[tool_result]`, result],
      [`messages[${role}].content[tool_result].content[text]`, text],
    ]),
  ),
  "system[text]": text,
  "tools[custom]": f,
  "tool_choice[auto]": { type: "auto" },
  "tool_choice[any]": { type: "any" },
  "tool_choice[tool]": { type: "tool", name: "f" },
  "output_config.format[json_schema]": { type: "json_schema", schema: {} },
};
const counted = {
  model: ["m", "other"],
  messages: [[hi], [hi, hi]],
  "messages[system].content": ["a", [text]],
  "messages[system].content[text].text": ["a", "b"],
  ...Object.fromEntries(
    ["user", "assistant"].flatMap((role) => [
      [`messages[${role}].content`, ["a", [text]]],
      [`messages[${role}].content[text].text`, ["a", "b"]],
      [`messages[${role}].content[tool_use].id`, ["a", "b"]],
      [`messages[${role}].content[tool_use].name`, ["f", "g"]],
      [`messages[${role}].content[tool_use].input`, [{}, { a: 1 }]],
      [`messages[${role}].content[tool_result].tool_use_id`, ["a", "b"]],
      [`messages[${role}].content[tool_result].content`, ["a", [text]]],
      [`messages[${role}].content[tool_result].content[text].text`, ["a", "b"]],
      [`messages[${role}].content[tool_result].is_error`, [false, true]],
    ]),
  ),
  system: ["a", [text]],
  "system[text].text": ["a", "b"],
  tools: [[], [f]],
  "tools[custom].name": ["f", "g"],
  "tools[custom].description": ["a", "b"],
  "tools[custom].input_schema": [{ type: "object" }, { type: "object", properties: { a: { type: "integer" } } }],
  "tools[custom].strict": [false, true],
  tool_choice: [{ type: "auto" }, { type: "any" }],
  "tool_choice[auto].disable_parallel_tool_use": [false, true],
  "tool_choice[any].disable_parallel_tool_use": [false, true],
  "tool_choice[tool].disable_parallel_tool_use": [false, true],
  "tool_choice[tool].name": ["f", "g"],
  output_config: [{}, { format: { type: "json_schema", schema: {} } }],
  "output_config.format": [
    { type: "json_schema", schema: {} },
    { type: "json_schema", schema: { type: "null" } },
  ],
  "output_config.format[json_schema].schema": [{}, { type: "null" }],
} as Readonly<Record<string, readonly [unknown, unknown]>>;
/** Blocks that `messagesProblem` refuses in a message of that role. */
const misplaced = Object.keys(counted).filter(
  (name) =>
    name.startsWith("messages[user].content[tool_use]") || name.startsWith("messages[assistant].content[tool_result]"),
);

tableCases("the table of /v1/messages", {
  api: messagesApi,
  body: { model: "m", max_tokens: 9, messages: [hi], tools: [f] },
  shapes,
  used: {
    ...counted,
    max_tokens: [1, 2],
    stop_sequences: [["a"], ["b"]],
    stream: [false, true],
    temperature: [0, 1],
    top_p: [0, 1],
    top_k: [1, 2],
  },
  checkedOnly: misplaced,
  read: (body) => [body.model, toMessagesRequest(body)],
});

tableCases("the table of /v1/messages/count_tokens", {
  api: countTokensApi,
  body: { model: "m", messages: [hi], tools: [f] },
  shapes,
  used: counted,
  checkedOnly: misplaced,
  read: (body) => [body.model, toCountRequest(body)],
});

it.each([
  [MESSAGES_PARAMETERS, ["MessageCreateParamsNonStreaming", "MessageCreateParamsStreaming"]],
  [COUNT_TOKENS_PARAMETERS, ["MessageCountTokensParams"]],
])(
  "has a row for each parameter that the official SDK publishes: %#",
  ({ members }, types) => {
    const published = publishedParameters("@anthropic-ai/sdk/resources/messages/messages", types, () => true);
    const rows = Object.entries(members).flatMap(([name, { isUnpublished }]) => (isUnpublished ? [] : [name]));
    expect(rows.sort()).toEqual([...published].sort());
  },
  TYPES_MS,
);
