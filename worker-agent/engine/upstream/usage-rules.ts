import * as z from "zod";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Usage } from "../../../schema/wire/worker-frames.ts";

/** The usage that a server reports. A number is null if the server does not report it in a usable form. */
export interface ClaimedUsage {
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  /** Part of `completionTokens`: generated but not shown. */
  readonly reasoningTokens: number;
}

const tokens = z
  .int()
  .nonnegative()
  .max(2 ** 31)
  .nullish()
  .catch(null);
const usage = z.object({
  prompt_tokens: tokens,
  completion_tokens: tokens,
  completion_tokens_details: z.object({ reasoning_tokens: tokens }).nullish().catch(null),
});

/** Returns null if no number is usable. An answer never fails because of a bad usage. */
export function claimedUsage(value: unknown): ClaimedUsage | null {
  const parsed = usage.safeParse(value).data;
  const promptTokens = parsed?.prompt_tokens ?? null;
  const completionTokens = parsed?.completion_tokens ?? null;
  if (promptTokens === null && completionTokens === null) return null;
  const reasoningTokens = parsed?.completion_tokens_details?.reasoning_tokens ?? 0;
  if (completionTokens === null || reasoningTokens <= completionTokens) {
    return { promptTokens, completionTokens, reasoningTokens };
  }
  // xAI does not include reasoning in its completion tokens.
  return { promptTokens, completionTokens: completionTokens + reasoningTokens, reasoningTokens };
}

/** Servers repeat their usage, some with nulls at the end. The last number that a server reports counts. */
export function mergeUsage(before: ClaimedUsage | null, later: ClaimedUsage | null): ClaimedUsage | null {
  if (before === null || later === null) return later ?? before;
  return {
    promptTokens: later.promptTokens ?? before.promptTokens,
    completionTokens: later.completionTokens ?? before.completionTokens,
    reasoningTokens: later.completionTokens === null ? before.reasoningTokens : later.reasoningTokens,
  };
}

/** What the worker itself observed of a request and its answer. */
export interface ObservedAnswer {
  /** UTF-8 bytes that were sent to the client, and the number of events in which they arrived. */
  readonly bytes: number;
  readonly pieces: number;
  /** Of the request as JSON. */
  readonly requestBytes: number;
  readonly maxTokens: number | undefined;
  readonly contextTokens: number;
}

/**
 * Bounds the server's counts by what the pool can verify. Each completion token needs at least one byte of the answer, or
 * is a reported reasoning token. All completion tokens together are at most `maxTokens`, or the model's context. If the
 * server reports nothing, an event counts as one token, and four bytes of the request as one prompt token.
 */
export function boundedUsage(claimed: ClaimedUsage | null, observed: ObservedAnswer): Usage {
  const { bytes, pieces, maxTokens, contextTokens } = observed;
  const limit = maxTokens ?? contextTokens;
  const reasoningTokens = Math.min(claimed?.reasoningTokens ?? 0, limit, maxTokens ?? LIMITS.reasoningTokens);
  const completionTokens = Math.min(claimed?.completionTokens ?? pieces, bytes + reasoningTokens, limit);
  const promptTokens = boundedPromptTokens(claimed?.promptTokens ?? null, observed.requestBytes);
  return { promptTokens, completionTokens, ...(reasoningTokens > 0 && { reasoningTokens }) };
}

/** The slack is for the text that a chat template adds to the request. */
export function boundedPromptTokens(claimed: number | null, requestBytes: number): number {
  return Math.min(claimed ?? Math.ceil(requestBytes / 4), requestBytes + LIMITS.promptTokenSlack);
}
