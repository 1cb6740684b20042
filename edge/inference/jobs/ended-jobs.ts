import { LIMITS } from "../../../schema/wire/limits.ts";
import { BoundedMap } from "../../limits/bounded-map.ts";
import type { FoundJob, JobName, JobState } from "../lane-rpc.ts";

interface EndedJob {
  readonly keyId: string;
  readonly requestId: string;
  readonly state: JobState;
}

/**
 * Remembers how the latest requests of a lane ended. It answers a client that cancels too late, because the record in
 * D1 may not have the job yet.
 */
export class EndedJobs {
  readonly #jobs = new BoundedMap<string, EndedJob>(LIMITS.endedJobsKept);

  remember(id: string, job: EndedJob): void {
    this.#jobs.set(id, job);
  }

  /**
   * The newest request that matches; null if none does. Null also for the job of another key, so that a client cannot
   * tell the two cases apart.
   */
  find({ jobId, requestId }: JobName, keyId: string): FoundJob | null {
    const named = jobId === null ? undefined : this.#jobs.get(jobId);
    if (jobId !== null && named?.keyId === keyId) return { id: jobId, state: named.state };
    let last: FoundJob | null = null;
    for (const [id, job] of this.#jobs) {
      if (job.requestId === requestId && job.keyId === keyId) last = { id, state: job.state };
    }
    return last;
  }
}
