import { LIMITS } from "../../../schema/wire/limits.ts";
import { BoundedMap } from "../../limits/bounded-map.ts";
import type { FoundJob, JobName, JobState } from "../lane-rpc.ts";

interface EndedJob {
  readonly keyId: string;
  readonly requestId: string;
  readonly state: JobState;
}

/** How the last jobs of a lane ended, until the record can be asked: bounded, the oldest goes first. Pure. */
export class EndedJobs {
  readonly #jobs = new BoundedMap<string, EndedJob>(LIMITS.endedJobsKept);

  remember(id: string, job: EndedJob): void {
    this.#jobs.set(id, job);
  }

  /** Of several the last. Null for another key's, as for none: nobody learns which. */
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
