import { expect, it } from "vitest";
import { mostAnswerBytes } from "../../../edge/inference/answers/answer-size-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const SLACK = LIMITS.answerSlackBytes;

it.each<[what: string, maxTokens: number | undefined, contextTokens: number, want: number]>([
  ["the client's max_tokens", 14, 4_096, 14 * LIMITS.tokenBytes + SLACK],
  ["the context, without max_tokens", undefined, 4_096, 4_096 * LIMITS.tokenBytes + SLACK],
  ["a limit, whatever context the worker declares", undefined, 2 ** 31, LIMITS.answerBytes],
  ["a limit, whatever max_tokens the client sets", 2 ** 31, 4_096, LIMITS.answerBytes],
])("an answer is bounded by %s", (_what, maxTokens, contextTokens, want) => {
  const request = { prompt: "hi", stream: true, ...(maxTokens !== undefined && { maxTokens }) };
  expect(mostAnswerBytes(request, contextTokens)).toBe(want);
});
