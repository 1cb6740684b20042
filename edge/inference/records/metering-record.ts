/** After a job: its row in the record, and whether what its worker signed holds. */
import { createHash, type Hash } from "node:crypto";
import { canonicalBytes } from "../../../schema/crypto/canonical.ts";
import type { VerifyingKey } from "../../../schema/crypto/ed25519.ts";
import { verifyMetering } from "../../../schema/crypto/worker-proof.ts";
import type { MeteringRow } from "../../../schema/db/metering.ts";
import type { Job, JobEnd } from "../jobs/lane-state.ts";
import { requestFor } from "../jobs/worker-capability-rules.ts";
import { recordMatches } from "./metering-rules.ts";

type Done = Extract<JobEnd, { outcome: "done" }>;

/** The record's reasons for doubt, none when it holds. */
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
  const said = { id, pool, workerId, model, usage, finishReason, requestSha256, responseSha256 };
  const holds = key !== null && (await verifyMetering(end.metering, signed, end.signature, key));
  return [...(recordMatches(end.metering, said) ? [] : ["mismatch"]), ...(holds ? [] : ["bad-signature"])];
}

/** Node's own: one call, where WebCrypto's digest is a promise for every few bytes. */
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes);

/** What `response_sha256` is over, of a whole answer. Its vectors are freed once they have been read. */
export function wholeHash(job: Job, { text = "", toolCalls = [] }: Done): Hash {
  const hash = createHash("sha256");
  for (const vector of job.said.vectors) hash.update(vector);
  hash.update(text);
  for (const call of toolCalls) hash.update(call.name).update(call.arguments);
  return hash;
}

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
