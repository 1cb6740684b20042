import { expect, it } from "vitest";
import { responsesApi } from "../../../schema/wire/responses-api.ts";
import { RESPONSES_PARAMETERS } from "../../../schema/wire/responses-parameters.ts";
import { responsesEcho, toResponsesRequest } from "../../../schema/wire/responses-request.ts";
import { tableCases } from "./parameter-table-cases.ts";
import { publishedParameters } from "./published-parameters.ts";

/** The compiler reads all types of the package. */
const TYPES_MS = 60_000;
const f = { type: "function", name: "f" };
const call = { type: "function_call", call_id: "c", name: "f", arguments: "{}" };
const output = { type: "function_call_output", call_id: "c", output: "1" };
const format = { type: "json_schema", name: "n", schema: {} };

tableCases("the table of /v1/responses", {
  api: responsesApi,
  body: { model: "m", input: "hi", tools: [f] },
  shapes: {
    "input[message]": { type: "message", role: "user", content: "hi" },
    "input[message].content[input_text]": { type: "input_text", text: "t" },
    "input[message].content[output_text]": { type: "output_text", text: "t" },
    "input[message].content[refusal]": { type: "refusal", refusal: "r" },
    "input[function_call]": call,
    "input[function_call_output]": output,
    "input[function_call_output].output[input_text]": { type: "input_text", text: "t" },
    "text.format[json_schema]": format,
    "tools[function]": f,
    "tool_choice[function]": f,
  },
  used: {
    model: ["m", "other"],
    input: ["a", [{ role: "user", content: "b" }]],
    "input[message].content": ["a", [{ type: "input_text", text: "b" }]],
    "input[message].content[input_text].text": ["a", "b"],
    "input[message].content[output_text].text": ["a", "b"],
    "input[message].content[refusal].refusal": ["a", "b"],
    "input[function_call].call_id": ["a", "b"],
    "input[function_call].name": ["f", "g"],
    "input[function_call].arguments": ["{}", '{"a":1}'],
    "input[function_call_output].call_id": ["a", "b"],
    "input[function_call_output].output": ["a", [{ type: "input_text", text: "b" }]],
    "input[function_call_output].output[input_text].text": ["a", "b"],
    instructions: ["a", "b"],
    max_output_tokens: [1, 2],
    temperature: [0, 1],
    top_p: [0, 1],
    stream: [false, true],
    stream_options: [null, {}],
    text: [{}, { format: { type: "json_object" } }],
    "text.format": [{ type: "text" }, { type: "json_object" }],
    "text.format[json_schema].name": ["a", "b"],
    "text.format[json_schema].description": ["a", "b"],
    "text.format[json_schema].schema": [{}, { type: "null" }],
    "text.format[json_schema].strict": [false, true],
    tools: [[], [f]],
    "tools[function].name": ["f", "g"],
    "tools[function].description": ["a", "b"],
    "tools[function].parameters": [{}, { type: "object" }],
    "tools[function].strict": [false, true],
    tool_choice: ["auto", "required"],
    "tool_choice[function].name": ["f", "g"],
    parallel_tool_calls: [true, false],
    include: [[], ["reasoning.encrypted_content"]],
  },
  checkedOnly: ["stream_options", "include"],
  read: (body) => [body.model, toResponsesRequest(body), responsesEcho(body)],
});

it(
  "has a row for each parameter that the official SDK publishes",
  () => {
    const types = ["ResponseCreateParamsNonStreaming", "ResponseCreateParamsStreaming"];
    const published = publishedParameters("openai/resources/responses/responses", types, () => true);
    const rows = Object.entries(RESPONSES_PARAMETERS.members);
    expect(rows.flatMap(([name, { isUnpublished }]) => (isUnpublished ? [] : [name])).sort()).toEqual(
      [...published].sort(),
    );
  },
  TYPES_MS,
);
