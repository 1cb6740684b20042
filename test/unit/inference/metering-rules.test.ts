import { expect, it } from "vitest";
import { boundUsage } from "../../../edge/inference/records/metering-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const MOST = LIMITS.reasoningTokens;
const SHOWN = 10 + LIMITS.hiddenTokens;

it.each<[what: string, claimed: [completion: number, reasoning?: number], maxTokens: number | undefined, want: object]>(
  [
    ["as many tokens as bytes", [10], undefined, { completionTokens: 10 }],
    ["a few tokens that are not shown", [SHOWN], undefined, { completionTokens: SHOWN }],
    ["no more hidden tokens than the limit", [SHOWN + 1], undefined, { completionTokens: SHOWN }],
    [
      "reasoning tokens in addition",
      [SHOWN + 200, 200],
      undefined,
      { completionTokens: SHOWN + 200, reasoningTokens: 200 },
    ],
    [
      "no more than all of these",
      [SHOWN + 201, 200],
      undefined,
      { completionTokens: SHOWN + 200, reasoningTokens: 200 },
    ],
    ["reasoning above max_tokens", [210, 200], 64, { completionTokens: 64, reasoningTokens: 64 }],
    ["reasoning above the completion", [5, 200], undefined, { completionTokens: 5, reasoningTokens: 5 }],
    ["endless reasoning", [2 ** 31, 2 ** 31], undefined, { completionTokens: SHOWN + MOST, reasoningTokens: MOST }],
    ["no reasoning", [5, 0], undefined, { completionTokens: 5 }],
  ],
)("a worker that relayed 10 bytes may claim %s", (_what, [completionTokens, reasoningTokens], maxTokens, want) => {
  const request = { messages: [], stream: false, ...(maxTokens !== undefined && { maxTokens }) };
  const claimed = { promptTokens: 3, completionTokens, ...(reasoningTokens !== undefined && { reasoningTokens }) };
  const { usage, clamped } = boundUsage(claimed, {
    request,
    requestBytes: 100,
    relayedBytes: 10,
    contextTokens: 1_000_000,
  });
  expect(usage).toEqual({ promptTokens: 3, ...want });
  expect(clamped).toBe(usage.completionTokens !== completionTokens);
});

const tools = [{ name: "f" }];
it.each<[what: string, request: object, most: number]>([
  ["text", {}, LIMITS.hiddenTokens],
  ["a stop sequence", { stop: ["ä", "漢字"] }, LIMITS.hiddenTokens + 6],
  ["the markers of calls", { tools }, LIMITS.toolHiddenTokens],
  ["the markers of calls, up to max_tokens", { tools, maxTokens: 14 }, 14],
])("an empty answer counts its tokens: %s", (_what, more, most) => {
  const request = { messages: [], stream: false, ...more };
  const job = { request, requestBytes: 100, relayedBytes: 0, contextTokens: 1_000_000 };
  expect(boundUsage({ promptTokens: 3, completionTokens: 9_999 }, job).usage.completionTokens).toBe(most);
});

it("embeddings have no completion tokens", () => {
  const request = { input: ["a"], stream: false as const };
  const { usage } = boundUsage(
    { promptTokens: 3, completionTokens: 9 },
    { request, requestBytes: 100, relayedBytes: 0, contextTokens: 1_000_000 },
  );
  expect(usage.completionTokens).toBe(0);
});

it("without max_tokens the context of the model bounds the tokens, beside the bytes", () => {
  const request = { messages: [], stream: true };
  const claimed = { promptTokens: 1, completionTokens: 5_000 };
  const job = { request, requestBytes: 100, relayedBytes: 4_000, contextTokens: 1_000 };
  expect(boundUsage(claimed, job)).toEqual({ usage: { promptTokens: 1, completionTokens: 1_000 }, clamped: true });
});
