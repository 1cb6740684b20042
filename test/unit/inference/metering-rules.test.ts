import { expect, it } from "vitest";
import { boundUsage } from "../../../edge/inference/metering-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const MOST = LIMITS.reasoningTokens;

it.each<[what: string, claimed: [completion: number, reasoning?: number], maxTokens: number | undefined, want: object]>(
  [
    ["as many as bytes", [10], undefined, { completionTokens: 10 }],
    ["more than bytes", [11], undefined, { completionTokens: 10 }],
    ["reasoning beside the bytes", [210, 200], undefined, { completionTokens: 210, reasoningTokens: 200 }],
    ["more than bytes and reasoning", [211, 200], undefined, { completionTokens: 210, reasoningTokens: 200 }],
    ["reasoning above max_tokens", [210, 200], 64, { completionTokens: 64, reasoningTokens: 64 }],
    ["reasoning above the completion", [5, 200], undefined, { completionTokens: 5, reasoningTokens: 5 }],
    ["endless reasoning", [2 ** 31, 2 ** 31], undefined, { completionTokens: 10 + MOST, reasoningTokens: MOST }],
    ["no reasoning", [5, 0], undefined, { completionTokens: 5 }],
  ],
)("a worker that relayed 10 bytes may claim %s", (_what, [completionTokens, reasoningTokens], maxTokens, want) => {
  const request = { messages: [], stream: false, ...(maxTokens !== undefined && { maxTokens }) };
  const claimed = { promptTokens: 3, completionTokens, ...(reasoningTokens !== undefined && { reasoningTokens }) };
  const { usage, clamped } = boundUsage(claimed, { request, requestBytes: 100, relayedBytes: 10 });
  expect(usage).toEqual({ promptTokens: 3, ...want });
  expect(clamped).toBe(usage.completionTokens !== completionTokens);
});
