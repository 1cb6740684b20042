/** The `job` frame, as a worker of this protocol version gets it. */
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { Job } from "./lane-state.ts";
import { requestFor } from "./worker-capability-rules.ts";

type SentJob = Pick<Job, "id" | "lease" | "model" | "kind" | "deadlineMs" | "minor" | "request">;

/**
 * The frame as text, and the UTF-8 bytes of the request in it. Those bytes bound the prompt tokens that the worker may
 * claim.
 */
export function jobFrame(job: SentJob): { frame: string; requestBytes: number } {
  const { id: jobId, lease, model, kind, deadlineMs } = job;
  const head = { type: "job", jobId, lease, model, kind, deadlineMs };
  const frame = JSON.stringify({ ...head, request: requestFor(job.minor, job.request) });
  const headBytes = utf8Bytes(JSON.stringify({ ...head, request: 0 })) - 1;
  return { frame, requestBytes: utf8Bytes(frame) - headBytes };
}
