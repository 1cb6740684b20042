/** What the stateless Worker says to a lane, and what a lane answers about itself. Shapes only. */
import type { JobKind, JobRequest } from "../../schema/wire/worker-frames.ts";
import type { AnswerDialect } from "./formats/answer-format.ts";
import type { ModelLoad } from "./served-models.ts";

export const LANE_JOBS_URL = "https://lane/jobs";

/** POST to `LANE_JOBS_URL`: an authenticated, admitted, validated job. The response is the client's. */
export interface LaneJob {
  /** Of the request, and of its first job. */
  id: string;
  /** Of its further choices, each of which is a job: their stream slots are held by these. */
  moreIds?: string[];
  /** Choices for each prompt; 1 by default. */
  n?: number;
  /** Of a completion with several prompts: all of them. The prompt in `request` is then empty. */
  prompts?: string[];
  keyId: string;
  /** What the client called it, or the pool for it: `x-request-id`. */
  requestId: string;
  kind: JobKind;
  /** The API whose answer the client gets; absent: the one that is called as the kind is. */
  format?: AnswerDialect;
  model: string;
  request: JobRequest;
  includeUsage: boolean;
  /** Said with whatever answers it: an answer that is passed on as the lane made it is copied nowhere. */
  headers?: Record<string, string>;
  /** What the answer repeats of its request. */
  echo?: Record<string, unknown>;
  /** Of embeddings. */
  encodingFormat?: "float" | "base64";
}

/** What a client cancels by: a job's own id, or else what its request was called, which several may have been. */
export interface JobName {
  jobId: string | null;
  requestId: string;
}

export interface FoundJob {
  id: string;
  state: JobState;
}

/** How a job stands or ended, as its own client may know it. */
export type JobState = "queued" | "leased" | "streaming" | "done" | "failed" | "cancelled" | "expired";

export interface LaneOverview {
  workers: number;
  models: ModelLoad[];
}
