import { describe, expect, it } from "vitest";
import { answerFormat } from "../../../edge/inference/formats/answer-formats.ts";
import type { TokenLogprob } from "../../../schema/wire/worker-frames.ts";
import { HEAD } from "./format-events.ts";

const logprobs: TokenLogprob[] = [
  {
    token: "Hé",
    logprob: -0.5,
    top: [
      { token: "Hé", logprob: -0.5 },
      { token: "Yo", logprob: -1 },
    ],
  },
  { token: "\uFFFD", logprob: -2, top: [{ token: "!", logprob: -1 }] },
];
const usage = { promptTokens: 1, completionTokens: 2 };
const choice = { text: "Hé!", toolCalls: [], finishReason: "stop" as const };
const chunk = (event: string) => JSON.parse(event.replace(/^data: /, "")).choices[0].logprobs;
const chat = () => answerFormat({ ...HEAD, format: "chat" });
const completion = () => answerFormat({ ...HEAD, format: "completion" });

describe("log probabilities of a chat", () => {
  const content = [
    {
      token: "Hé",
      logprob: -0.5,
      bytes: [72, 195, 169],
      top_logprobs: [
        { token: "Hé", logprob: -0.5, bytes: [72, 195, 169] },
        { token: "Yo", logprob: -1, bytes: [89, 111] },
      ],
    },
    // A part of a character, whose bytes are unknown.
    { token: "\uFFFD", logprob: -2, bytes: null, top_logprobs: [{ token: "!", logprob: -1, bytes: [33] }] },
  ];
  it("have OpenAI's form, whole and streamed", () => {
    expect(JSON.parse(chat().whole([{ ...choice, logprobs }], usage)).choices[0].logprobs).toEqual({
      content,
      refusal: null,
    });
    const events = chat().text(0, "Hé!", logprobs).split("\n\n");
    expect(events.slice(0, 2).map(chunk)).toEqual([null, { content, refusal: null }]);
  });
});

describe("log probabilities of a completion", () => {
  const lists = (offset: number) => ({
    tokens: ["Hé", "\uFFFD"],
    token_logprobs: [-0.5, -2],
    top_logprobs: [
      { Hé: -0.5, Yo: -1 },
      { "!": -1, "\uFFFD": -2 },
    ],
    text_offset: [offset, offset + 2],
  });
  it("are OpenAI's lists, whole and streamed, with the offsets of each choice's text", () => {
    expect(JSON.parse(completion().whole([{ ...choice, logprobs }], usage)).choices[0].logprobs).toEqual(lists(0));
    const format = completion();
    const chunks = [format.text(0, "Hé!", logprobs), format.text(1, "Hé!", logprobs), format.text(0, "Hé!", logprobs)];
    expect(chunks.map(chunk)).toEqual([lists(0), lists(0), lists(3)]);
  });

  it("have no alternatives when none were requested", () => {
    const alone = logprobs.map((one) => ({ ...one, top: [] }));
    expect(JSON.parse(completion().whole([{ ...choice, logprobs: alone }], usage)).choices[0].logprobs).toMatchObject({
      token_logprobs: [-0.5, -2],
      top_logprobs: null,
    });
  });
});

it.each(["chat", "completion"] as const)("without log probabilities a %s has null, as before", (format) => {
  const written = answerFormat({ ...HEAD, format });
  expect(JSON.parse(written.whole([choice], usage)).choices[0].logprobs).toBeNull();
  expect(written.text(0, "x")).toContain('"logprobs":null');
});
