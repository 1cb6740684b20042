import * as z from "zod";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Usage } from "../../../schema/wire/worker-frames.ts";

/** What a server says that an answer took; null for what it does not say, or says in no usable way. */
export interface ClaimedUsage {
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  /** Part of `completionTokens`: generated, and not shown. */
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

/** Pure: null where no number of it can be used. A bad usage never costs the answer. */
export function claimedUsage(value: unknown): ClaimedUsage | null {
  const parsed = usage.safeParse(value).data;
  const promptTokens = parsed?.prompt_tokens ?? null;
  const completionTokens = parsed?.completion_tokens ?? null;
  if (promptTokens === null && completionTokens === null) return null;
  const reasoningTokens = parsed?.completion_tokens_details?.reasoning_tokens ?? 0;
  if (completionTokens === null || reasoningTokens <= completionTokens) {
    return { promptTokens, completionTokens, reasoningTokens };
  }
  // xAI counts reasoning beside the completion and not in it.
  return { promptTokens, completionTokens: completionTokens + reasoningTokens, reasoningTokens };
}

/** Pure: servers repeat their usage, some with nulls at the end: each number is the last one that was said. */
export function laterUsage(before: ClaimedUsage | null, later: ClaimedUsage | null): ClaimedUsage | null {
  if (before === null || later === null) return later ?? before;
  return {
    promptTokens: later.promptTokens ?? before.promptTokens,
    completionTokens: later.completionTokens ?? before.completionTokens,
    reasoningTokens: later.completionTokens === null ? before.reasoningTokens : later.reasoningTokens,
  };
}

export interface Measured {
  /** Of what was said to the client, in UTF-8; and in how many events it came. */
  readonly bytes: number;
  readonly pieces: number;
  /** Of the request as JSON. */
  readonly requestBytes: number;
  readonly maxTokens: number | undefined;
  readonly contextTokens: number;
}

/**
 * Pure: the server's count within what the pool can believe. A token is at least one byte that was said, or one that the
 * server says went into reasoning; all of them together are at most what the client allowed, or what the model can hold.
 * Where the server does not count, an event is a token, and four bytes of the prompt are.
 */
export function boundedUsage(claimed: ClaimedUsage | null, measured: Measured): Usage {
  const { bytes, pieces, maxTokens, contextTokens } = measured;
  const most = maxTokens ?? contextTokens;
  const reasoningTokens = Math.min(claimed?.reasoningTokens ?? 0, most, maxTokens ?? LIMITS.reasoningTokens);
  const completionTokens = Math.min(claimed?.completionTokens ?? pieces, bytes + reasoningTokens, most);
  const promptTokens = boundedPromptTokens(claimed?.promptTokens ?? null, measured.requestBytes);
  return { promptTokens, completionTokens, ...(reasoningTokens > 0 && { reasoningTokens }) };
}

/** Pure: a template adds to a prompt what no client sent. */
export function boundedPromptTokens(claimed: number | null, requestBytes: number): number {
  return Math.min(claimed ?? Math.ceil(requestBytes / 4), requestBytes + LIMITS.promptTokenSlack);
}
