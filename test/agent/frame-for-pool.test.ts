import { expect, it } from "vitest";
import type { AgentFrame } from "../../schema/wire/worker-frames.ts";
import { endForPool, frameForPool } from "../../worker-agent/session/frame-for-pool.ts";

type Failed = Extract<AgentFrame, { type: "failed" }>;

it.each<[code: Failed["code"], byMinor: [v0: Failed["code"], v1: Failed["code"], v2: Failed["code"]]]>([
  ["inference/worker-busy", ["inference/engine-failed", "inference/worker-busy", "inference/worker-busy"]],
  [
    "inference/upstream-refused",
    ["http/unsupported-parameter", "http/unsupported-parameter", "inference/upstream-refused"],
  ],
  [
    "inference/prompt-refused",
    ["http/unsupported-parameter", "http/unsupported-parameter", "inference/prompt-refused"],
  ],
  [
    "inference/upstream-disobeyed",
    ["inference/engine-failed", "inference/engine-failed", "inference/upstream-disobeyed"],
  ],
  [
    "inference/model-not-found",
    ["inference/model-not-found", "inference/model-not-found", "inference/model-not-found"],
  ],
])("%s is the nearest failure that an older pool knows", (code, byMinor) => {
  const frame: Failed = { type: "failed", jobId: "j", lease: 1, code, message: "Why.", retryable: true };
  expect([0, 1, 2].map((minor) => frameForPool(minor, frame))).toEqual(byMinor.map((it) => ({ ...frame, code: it })));
});

const usage = { promptTokens: 3, completionTokens: 203, reasoningTokens: 200 };
it.each<[minor: number, calls: number, finishReason: string, usage: object]>([
  [0, 0, "stop", { promptTokens: 3, completionTokens: 5 }],
  [1, 0, "stop", { promptTokens: 3, completionTokens: 5 }],
  // A pool closes the socket of a worker that stops after a call.
  [1, 2, "length", { promptTokens: 3, completionTokens: 5 }],
  [2, 2, "content_filter", usage],
])(
  "a pool of v1.%i hears of a filtered answer with %i calls that it ended by %s",
  (minor, calls, finishReason, sentReason) => {
    const generated = { bytes: 5, calls };
    expect(endForPool(minor, { finishReason: "content_filter", usage }, generated)).toEqual({
      finishReason,
      usage: sentReason,
    });
  },
);
