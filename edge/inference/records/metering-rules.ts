/**
 * Limits what a worker may claim for a job (docs/spec/workers.md#metering). The pool has no tokenizer, so it bounds
 * tokens by bytes.
 */

import { LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { JobRequest, Metering, Usage } from "../../../schema/wire/worker-frames.ts";

/** The count of prompt tokens, at most what the request can contain. */
export function boundCount(counted: number, { requestBytes }: { requestBytes: number }): number {
  return Math.min(counted, requestBytes + LIMITS.toolPromptTokenSlack);
}

/**
 * Bounds the usage that a worker claims. Every token is at least one byte of the request or of the answer, with three
 * exceptions: tokens of the chat template, a few generated tokens that no text shows, and tokens of reasoning, which no
 * client sees. Reasoning is bounded by the client's `max_tokens`, or by a fixed limit if the client sets none.
 */
export function boundUsage(
  claimed: Usage,
  job: { request: JobRequest; requestBytes: number; relayedBytes: number; contextTokens: number },
): { usage: Usage; clamped: boolean } {
  const { request } = job;
  // If a model has no template for tools, the agent explains them in the prompt.
  const slack = "tools" in request ? LIMITS.toolPromptTokenSlack : LIMITS.promptTokenSlack;
  const maxTokens = "maxTokens" in request ? request.maxTokens : undefined;
  const reasoningTokens = Math.min(claimed.reasoningTokens ?? 0, maxTokens ?? LIMITS.reasoningTokens);
  const completionTokens = Math.min(
    claimed.completionTokens,
    job.relayedBytes + hiddenTokens(request) + reasoningTokens,
    maxTokens ?? job.contextTokens + reasoningTokens,
  );
  const usage = {
    promptTokens: Math.min(claimed.promptTokens, job.requestBytes + slack),
    completionTokens,
    ...(reasoningTokens > 0 && { reasoningTokens: Math.min(reasoningTokens, completionTokens) }),
  };
  const clamped = usage.promptTokens !== claimed.promptTokens || usage.completionTokens !== claimed.completionTokens;
  return { usage, clamped };
}

/** The most tokens that no byte of the answer shows: marks of tool calls, a stop sequence, half a character at the end. */
function hiddenTokens(request: JobRequest): number {
  if ("input" in request) return 0;
  const stop = (request.stop ?? []).reduce((longest, text) => Math.max(longest, utf8Bytes(text)), 0);
  return ("tools" in request ? LIMITS.toolHiddenTokens : LIMITS.hiddenTokens) + stop;
}

/** Whether the signed record is about this job and equals what the pool measured. */
export function recordMatches(
  record: Metering,
  job: {
    id: string;
    pool: string;
    workerId: string | null;
    model: string;
    usage: Usage;
    finishReason: string;
    requestSha256: string;
    responseSha256: string;
  },
): boolean {
  return (
    record.job_id === job.id &&
    record.pool === job.pool &&
    record.worker === job.workerId &&
    record.model === job.model &&
    record.prompt_tokens === job.usage.promptTokens &&
    record.completion_tokens === job.usage.completionTokens &&
    record.finish_reason === job.finishReason &&
    record.request_sha256 === job.requestSha256 &&
    record.response_sha256 === job.responseSha256
  );
}
