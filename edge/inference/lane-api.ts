/** What the stateless Worker says to a lane, and what a lane answers about itself. Shapes only. */
import type { JobKind, JobRequest } from "../../schema/wire/worker-frames.ts";
import type { ModelLoad } from "./lane-machine.ts";

export const LANE_JOBS_URL = "https://lane/jobs";

/** POST to `LANE_JOBS_URL`: an authenticated, admitted, validated job. The response is the client's. */
export interface LaneJob {
  id: string;
  keyId: string;
  kind: JobKind;
  model: string;
  request: JobRequest;
  includeUsage: boolean;
  /** Of embeddings. */
  encodingFormat?: "float" | "base64";
}

/** How a job stands or ended, as its own client may know it. */
export type JobState = "queued" | "leased" | "streaming" | "done" | "failed" | "cancelled" | "expired";

export interface LaneOverview {
  workers: number;
  models: ModelLoad[];
}
