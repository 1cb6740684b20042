import { describe, expect, it } from "vitest";
import type { AnswerFormat } from "../../../edge/inference/formats/answer-format.ts";
import { responsesFormat } from "../../../edge/inference/formats/responses-format.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { responsesAnswer, responsesEvent } from "../../../schema/wire/responses-answers.ts";
import type { FinishReason } from "../../../schema/wire/worker-frames.ts";
import { eventsIn, HEAD } from "./format-events.ts";

const ECHO = {
  instructions: null,
  max_output_tokens: null,
  parallel_tool_calls: true,
  text: { format: { type: "text" } },
  tool_choice: "auto",
  tools: [],
  top_p: null,
};
const head = { ...HEAD, format: "responses" as const, echo: { ...ECHO, temperature: 0.5 } };
const usage = { promptTokens: 3, completionTokens: 4 };

function streamed(write: (format: AnswerFormat) => string, reason: FinishReason) {
  const format = responsesFormat(head);
  return eventsIn(write(format) + format.finish(0, reason) + format.end(usage));
}
const text =
  (...pieces: string[]) =>
  (format: AnswerFormat) =>
    pieces.map((piece) => format.text(0, piece)).join("");
const call = (format: AnswerFormat, index: number, name: string, ...pieces: string[]) =>
  format.toolCall(0, { index, id: `call_${index}`, name }, "") +
  pieces.map((piece) => format.toolCall(0, { index }, piece)).join("");

const MESSAGE = [
  "response.output_item.added",
  "response.content_part.added",
  "response.output_text.delta",
  "response.output_text.done",
  "response.content_part.done",
  "response.output_item.done",
];
const CALL = [
  "response.output_item.added",
  "response.function_call_arguments.delta",
  "response.function_call_arguments.done",
  "response.output_item.done",
];

describe("the events of a response", () => {
  it.each<[what: string, write: (format: AnswerFormat) => string, reason: FinishReason, want: string[]]>([
    ["text", text("Hi"), "stop", [...MESSAGE, "response.completed"]],
    ["text that was cut", text("Hi"), "length", [...MESSAGE, "response.incomplete"]],
    [
      "nothing",
      text(""),
      "stop",
      [...MESSAGE.filter((type) => type !== "response.output_text.delta"), "response.completed"],
    ],
    ["a call", (format) => call(format, 0, "f", "{}"), "tool_calls", [...CALL, "response.completed"]],
    [
      "text and two calls",
      (format) => text("Well.")(format) + call(format, 0, "f", "{}") + call(format, 1, "g", "{}"),
      "tool_calls",
      [...MESSAGE, ...CALL, ...CALL, "response.completed"],
    ],
  ])("of %s come in the published order", (_what, write, reason, want) => {
    const events = streamed(write, reason);
    expect(events.map(({ event }) => event)).toEqual(["response.created", "response.in_progress", ...want]);
    for (const [at, { event, data }] of events.entries()) {
      responsesEvent.parse(data);
      expect(data).toMatchObject({ type: event, sequence_number: at });
    }
  });

  it("repeat the streamed output at the end", () => {
    const events = streamed((format) => text("He", "llo")(format) + call(format, 0, "f", '{"a"', ":1}"), "tool_calls");
    const output = [
      {
        id: "msg_j_0",
        type: "message",
        status: "completed",
        role: "assistant",
        content: [{ type: "output_text", text: "Hello", annotations: [], logprobs: [] }],
      },
      { id: "fc_j_1", type: "function_call", status: "completed", call_id: "call_0", name: "f", arguments: '{"a":1}' },
    ];
    const of = (type: string) => events.filter(({ event }) => event === type).map(({ data }) => data);
    expect(of("response.output_item.done").map(({ item }) => item)).toEqual(output);
    expect(of("response.output_text.done")).toMatchObject([{ item_id: "msg_j_0", output_index: 0, text: "Hello" }]);
    expect(of("response.function_call_arguments.done")).toMatchObject([
      { item_id: "fc_j_1", output_index: 1, name: "f", arguments: '{"a":1}' },
    ]);
    expect(of("response.output_text.delta").map(({ delta }) => delta)).toEqual(["He", "llo"]);
    expect(of("response.created")[0]).toMatchObject({ response: { status: "in_progress", output: [], usage: null } });
    expect(of("response.completed")[0]?.response).toMatchObject({
      id: "resp_j",
      object: "response",
      created_at: 7,
      model: "m",
      temperature: 0.5,
      output,
      error: null,
      usage: { input_tokens: 3, output_tokens: 4, total_tokens: 7 },
    });
  });

  it.each<[reason: FinishReason, details: unknown]>([
    ["stop", null],
    ["tool_calls", null],
    ["length", { reason: "max_output_tokens" }],
    ["content_filter", { reason: "content_filter" }],
  ])("end a response by %s with the details %j, whole and streamed", (reason, details) => {
    const last = streamed(text("Hi"), reason).at(-1)?.data.response;
    const choice = { text: "Hi", toolCalls: [], finishReason: reason };
    const whole = JSON.parse(responsesFormat(head).whole([choice], usage));
    expect(responsesAnswer.parse(whole)).toEqual(last);
    expect(whole).toMatchObject({ incomplete_details: details, status: details === null ? "completed" : "incomplete" });
  });

  it("report an error by a failed response, also before the first text", () => {
    for (const begun of [true, false]) {
      const format = responsesFormat(head);
      const events = eventsIn((begun ? format.text(0, "Hi") : "") + format.error("inference/worker-lost"));
      expect(events[0]?.event).toBe("response.created");
      expect(events.at(-1)).toMatchObject({
        event: "response.failed",
        data: { response: { status: "failed", error: { code: "worker_lost", message: expect.any(String) } } },
      });
    }
  });

  it("detect when they cannot repeat all of the output", () => {
    const format = responsesFormat(head);
    format.text(0, "x".repeat(LIMITS.repeatedAnswerChars));
    expect(format.isTooLong).toBe(false);
    format.text(0, "x");
    expect(format.isTooLong).toBe(true);
  });
});

it("only the item at which an answer was cut is incomplete, whole and streamed", () => {
  const toolCalls = ["{}", '{"a":'].map((given, i) => ({ id: `call_${i}`, name: "f", arguments: given }));
  const calls = (format: AnswerFormat) =>
    format.text(0, "Hi") +
    toolCalls.map(({ id, name, arguments: given }, index) => format.toolCall(0, { index, id, name }, given)).join("");
  const { output } = JSON.parse(
    responsesFormat(head).whole([{ text: "Hi", toolCalls, finishReason: "length" }], usage),
  );
  expect(output.map(({ status }: { status: string }) => status)).toEqual(["completed", "completed", "incomplete"]);
  expect(streamed(calls, "length").at(-1)?.data.response).toMatchObject({ output });
});

it("a whole answer that has only calls has no message", () => {
  const toolCalls = [{ id: "call_a", name: "f", arguments: "{}" }];
  const { output } = JSON.parse(
    responsesFormat(head).whole([{ text: "", toolCalls, finishReason: "tool_calls" }], usage),
  );
  expect(output).toMatchObject([{ type: "function_call", call_id: "call_a", name: "f", arguments: "{}" }]);
});
