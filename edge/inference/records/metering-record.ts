/** The metering row of a job, and the check of the record that its worker signed (docs/spec/workers.md#metering). */
import { createHash, type Hash } from "node:crypto";
import { canonicalBytes } from "../../../schema/crypto/canonical.ts";
import type { VerifyingKey } from "../../../schema/crypto/ed25519.ts";
import { verifyMetering } from "../../../schema/crypto/worker-proof.ts";
import type { MeteringRow } from "../../../schema/db/metering.ts";
import type { Job, JobEnd } from "../jobs/lane-state.ts";
import { requestFor } from "../jobs/worker-capability-rules.ts";
import { recordMatches } from "./metering-rules.ts";

type Done = Extract<JobEnd, { outcome: "done" }>;

/**
 * The flags for a record that differs from what the pool measured (`mismatch`), or that the worker has not signed
 * (`bad-signature`). Empty if the record is correct.
 */
export async function doubtsOf(
  job: Job,
  end: Done,
  {
    pool,
    key,
    signed,
    responseSha256,
  }: { pool: string; key: VerifyingKey | null; signed: Uint8Array; responseSha256: string },
): Promise<string[]> {
  const requestSha256 = sha256(canonicalBytes(requestFor(job.minor, job.request))).digest("hex");
  const { usage, finishReason } = end;
  const { id, workerId, model } = job;
  const measured = { id, pool, workerId, model, usage, finishReason, requestSha256, responseSha256 };
  const holds = key !== null && (await verifyMetering(end.metering, signed, end.signature, key));
  return [...(recordMatches(end.metering, measured) ? [] : ["mismatch"]), ...(holds ? [] : ["bad-signature"])];
}

/** Use Node's hash, which is synchronous; WebCrypto would need a promise for each job. */
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes);

/** The hash of a whole answer, for `response_sha256`. Call it before the vectors of the answer are freed. */
export function wholeHash(job: Job, { text = "", toolCalls = [] }: Done): Hash {
  const hash = createHash("sha256");
  for (const vector of job.output.vectors) hash.update(vector);
  hash.update(text);
  for (const call of toolCalls) hash.update(call.name).update(call.arguments);
  return hash;
}

/** The columns of a metering row that every outcome shares. */
export function meteringBase(
  job: Job,
  endedAtMs: number,
): Omit<MeteringRow, "outcome" | "promptTokens" | "completionTokens" | "flags"> {
  return {
    jobId: job.id,
    keyId: job.keyId,
    workerId: job.workerId,
    model: job.model,
    kind: job.kind,
    code: null,
    claimedPromptTokens: null,
    claimedCompletionTokens: null,
    attempts: job.attempts,
    queuedMs: job.queuedMs,
    acceptedAtMs: job.acceptedMs,
    endedAtMs,
    record: null,
    signature: null,
  };
}
