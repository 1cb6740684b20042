/** A job as its worker gets it. Pure. */
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { Job } from "./lane-state.ts";
import { requestFor } from "./worker-capability-rules.ts";

type Sent = Pick<Job, "id" | "lease" | "model" | "kind" | "deadlineMs" | "minor" | "request">;

/** The frame, and the bytes of the request in it: the worker may claim no more prompt tokens, whatever else is held. */
export function jobFrame(job: Sent): { frame: string; requestBytes: number } {
  const { id: jobId, lease, model, kind, deadlineMs } = job;
  const about = { type: "job", jobId, lease, model, kind, deadlineMs };
  const frame = JSON.stringify({ ...about, request: requestFor(job.minor, job.request) });
  const aboutBytes = utf8Bytes(JSON.stringify({ ...about, request: 0 })) - 1;
  return { frame, requestBytes: utf8Bytes(frame) - aboutBytes };
}
