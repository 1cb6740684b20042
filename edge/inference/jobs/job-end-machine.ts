/** Ends jobs. A job ends exactly once, with one of four outcomes: done, failed, cancelled or expired. */
import { discardOutput } from "./held-output-rules.ts";
import { removeBytes } from "./lane-memory-rules.ts";
import type { Effect, Failure, Job, JobEnd, LaneState } from "./lane-state.ts";
import { revokeLease } from "./lease-machine.ts";
import { removeFromQueue } from "./queue-machine.ts";

/** Forgets the job. The output of a job that is done stays in the lane's memory for the client's answer. */
export function endJob(state: LaneState, job: Job, end: JobEnd): Effect {
  if (job.connection) state.workers.get(job.connection)?.jobs.delete(job.id);
  if (end.outcome !== "done") discardOutput(state, job);
  if (state.jobs.delete(job.id)) {
    job.totals.jobs -= 1;
    if (job.totals.jobs === 0) removeBytes(state.memory, job.keyId, "requests", job.totals.requestBytes);
  }
  return { type: "end", job, end };
}

/** Ends a job whose output the lane refuses. Its worker gets the order to stop. */
export function refuseOutput(state: LaneState, job: Job, failure: Failure): Effect[] {
  return [...withdrawJob(state, job, "rejected"), endJob(state, job, { outcome: "failed", ...failure })];
}

/** Removes a job from its queue, or takes it away from its worker. */
export function withdrawJob(state: LaneState, job: Job, type: "cancel" | "rejected"): Effect[] {
  if (job.state !== "queued") return revokeLease(state, job, type);
  removeFromQueue(state, job);
  return [];
}
