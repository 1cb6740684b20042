import { describe, expect, it } from "vitest";
import type { AnswerFormat } from "../../../edge/inference/formats/answer-format.ts";
import { messagesFormat, tokenCountFormat } from "../../../edge/inference/formats/messages-format.ts";
import { messagesAnswer, messagesEvent } from "../../../schema/wire/messages-answers.ts";
import type { FinishReason } from "../../../schema/wire/worker-frames.ts";
import { eventsIn, HEAD } from "./format-events.ts";

const head = { ...HEAD, format: "messages" as const };
const usage = { promptTokens: 3, completionTokens: 4 };

function streamed(write: (format: AnswerFormat) => string, reason: FinishReason, stopSequence?: string) {
  const format = messagesFormat(head);
  return eventsIn(write(format) + format.finish(0, reason, stopSequence) + format.end(usage));
}
const call = (format: AnswerFormat, index: number, name: string, ...pieces: string[]) =>
  format.toolCall(0, { index, id: `call_${index}`, name }, "") +
  pieces.map((piece) => format.toolCall(0, { index }, piece)).join("");
const BLOCK = ["content_block_start", "content_block_delta", "content_block_stop"];
const END = ["message_delta", "message_stop"];

describe("the events of a message", () => {
  it.each<[what: string, write: (format: AnswerFormat) => string, want: string[]]>([
    ["text", (format) => format.text(0, "Hi"), BLOCK],
    ["nothing", () => "", []],
    ["a call", (format) => call(format, 0, "f", "{}"), BLOCK],
    ["a call without input", (format) => call(format, 0, "f"), ["content_block_start", "content_block_stop"]],
    [
      "text and two calls",
      (format) => format.text(0, "Well.") + call(format, 0, "f", "{}") + call(format, 1, "g", "{}"),
      [...BLOCK, ...BLOCK, ...BLOCK],
    ],
  ])("of %s come in order", (_what, write, want) => {
    const events = streamed(write, "stop");
    expect(events.map(({ event }) => event)).toEqual(["message_start", ...want, ...END]);
    for (const { event, data } of events) expect(messagesEvent.parse(data).type).toBe(event);
    const indexes = (type: string) => events.flatMap(({ event, data }) => (event === type ? [data.index] : []));
    expect(indexes("content_block_start")).toEqual(indexes("content_block_stop"));
    expect(indexes("content_block_start")).toEqual(indexes("content_block_start").map((_, at) => at));
  });

  it("carry text, calls and their input", () => {
    const events = streamed(
      (format) => format.text(0, "A") + format.text(0, "B") + call(format, 0, "f", '{"a"', ":1}"),
      "tool_calls",
    );
    const of = (type: string) => events.filter(({ event }) => event === type).map(({ data }) => data);
    expect(of("content_block_start").map((data) => data.content_block)).toEqual([
      { type: "text", text: "", citations: null },
      { type: "tool_use", id: "call_0", name: "f", input: {}, caller: { type: "direct" } },
    ]);
    expect(of("content_block_delta").map(({ index, delta }) => [index, delta])).toEqual([
      [0, { type: "text_delta", text: "A" }],
      [0, { type: "text_delta", text: "B" }],
      [1, { type: "input_json_delta", partial_json: '{"a"' }],
      [1, { type: "input_json_delta", partial_json: ":1}" }],
    ]);
    expect(of("message_start")[0]?.message).toMatchObject({
      id: "msg_j",
      role: "assistant",
      content: [],
      stop_reason: null,
    });
    expect(of("message_delta")[0]).toMatchObject({
      delta: { stop_reason: "tool_use", stop_sequence: null },
      usage: { input_tokens: 3, output_tokens: 4 },
    });
  });

  it.each<[reason: FinishReason, sequence: string | undefined, stop_reason: string]>([
    ["stop", undefined, "end_turn"],
    ["stop", "END", "stop_sequence"],
    ["length", undefined, "max_tokens"],
    ["tool_calls", undefined, "tool_use"],
    ["content_filter", undefined, "refusal"],
  ])("end by %s and %s with %s, whole and streamed", (finishReason, stopSequence, stop_reason) => {
    const want = { stop_reason, stop_sequence: stopSequence ?? null };
    const delta = streamed((format) => format.text(0, "Hi"), finishReason, stopSequence).at(-2)?.data.delta;
    expect(delta).toMatchObject(want);
    const whole = messagesFormat(head).whole([{ text: "Hi", toolCalls: [], finishReason, stopSequence }], usage);
    expect(messagesAnswer.parse(JSON.parse(whole))).toMatchObject(want);
  });

  it("report an error in the API's own shape", () => {
    expect(eventsIn(messagesFormat(head).error("inference/worker-lost"))).toMatchObject([
      { event: "error", data: { type: "error", error: { type: "api_error" }, request_id: "r" } },
    ]);
  });

  it("show by a comment that the stream is alive, and by pings after the message has begun", () => {
    const format = messagesFormat(head);
    expect(format.keepAlive()).toMatch(/^: .*\n$/);
    format.text(0, "Hi");
    expect(eventsIn(format.keepAlive())).toEqual([{ event: "ping", data: { type: "ping" } }]);
  });
});

describe("a whole message", () => {
  it("holds text and calls", () => {
    const toolCalls = [{ id: "call_a", name: "f", arguments: '{"a":1}' }];
    const whole = messagesFormat(head).whole([{ text: "Hi", toolCalls, finishReason: "tool_calls" }], usage);
    expect(JSON.parse(whole)).toMatchObject({
      id: "msg_j",
      type: "message",
      role: "assistant",
      model: "m",
      content: [
        { type: "text", text: "Hi" },
        { type: "tool_use", id: "call_a", name: "f", input: { a: 1 } },
      ],
      usage: { input_tokens: 3, output_tokens: 4 },
    });
  });

  it.each<[finishReason: FinishReason, stop_reason: string]>([
    ["length", "max_tokens"],
    ["content_filter", "refusal"],
  ])("cut by %s ends with the same block as its stream, with empty input", (finishReason, stop_reason) => {
    const toolCalls = [
      { id: "call_0", name: "f", arguments: '{"a":1}' },
      { id: "call_1", name: "f", arguments: '{"a":' },
    ];
    const whole = JSON.parse(messagesFormat(head).whole([{ text: "", toolCalls, finishReason }], usage));
    expect(whole).toMatchObject({ content: [{ input: { a: 1 } }, { input: {} }], stop_reason });
    const started = streamed(
      (format) => call(format, 0, "f", '{"a":1}') + call(format, 1, "f", '{"a":'),
      finishReason,
    ).flatMap(({ event, data }) => (event === "content_block_start" ? [data.content_block] : []));
    expect(started).toMatchObject(toolCalls.map(({ id, name }) => ({ type: "tool_use", id, name })));
    expect(whole.content[1]).toEqual(started[1]);
  });
});

it("the count is the number of the prompt's tokens", () => {
  const counted = tokenCountFormat(head).whole([{ text: "", toolCalls: [], finishReason: "stop" }], usage);
  expect(JSON.parse(counted)).toEqual({ input_tokens: 3 });
});
