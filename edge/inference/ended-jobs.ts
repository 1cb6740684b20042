import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobState } from "./lane-api.ts";

interface EndedJob {
  readonly keyId: string;
  readonly state: JobState;
}

/** How the last jobs of a lane ended, until the record can be asked: bounded, the oldest goes first. Pure. */
export class EndedJobs {
  readonly #jobs = new Map<string, EndedJob>();

  remember(id: string, job: EndedJob): void {
    this.#jobs.set(id, job);
    if (this.#jobs.size <= LIMITS.endedJobsKept) return;
    const [oldest] = this.#jobs.keys();
    if (oldest !== undefined) this.#jobs.delete(oldest);
  }

  /** Null for a job that is not here, or is another key's: nobody learns which. */
  stateOf(id: string, keyId: string): JobState | null {
    const job = this.#jobs.get(id);
    return job?.keyId === keyId ? job.state : null;
  }
}
