import type { FinishReason, JobFrame, Metering, Usage } from "../../schema/wire/worker-frames.ts";

/** Builds the record of a finished job (docs/spec/workers.md#metering). The session signs it. */
export function buildMeteringRecord(facts: {
  readonly job: JobFrame;
  readonly pool: string;
  readonly worker: string;
  readonly modelSha256: string | null;
  readonly usage: Usage;
  readonly finishReason: FinishReason;
  /** SHA-256 of the JCS bytes of `job.request`, lowercase hex. */
  readonly requestSha256: string;
  /** SHA-256 of the answer, lowercase hex; `worker-frames.ts` defines the order of its parts. */
  readonly responseSha256: string;
  readonly startedMs: number;
  readonly endedMs: number;
}): Metering {
  const { job, usage } = facts;
  return {
    v: 1,
    type: "metering",
    job_id: job.jobId,
    pool: facts.pool,
    worker: facts.worker,
    model: job.model,
    model_sha256: facts.modelSha256,
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    started_ms: facts.startedMs,
    ended_ms: facts.endedMs,
    finish_reason: facts.finishReason,
    request_sha256: facts.requestSha256,
    response_sha256: facts.responseSha256,
  };
}
