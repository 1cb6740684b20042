/**
 * Which waiting job goes to which worker. `chooseWorkerAndJob` is the only function that decides it: the dispatch machine
 * calls it until it returns null.
 */
import type { Job, LaneState, Worker, WorkerModel } from "./lane-state.ts";
import { canMeet } from "./worker-capability-rules.ts";

export interface Assignment {
  readonly job: Job;
  /** Where the job waits in the queue of its model. */
  readonly queueIndex: number;
  readonly worker: Worker;
  readonly offered: WorkerModel;
}

/**
 * The next job of this model and the worker that gets it; null if no worker with credit can run a waiting job.
 * Jobs are served in the order of the queue. A job that no free worker can run does not block the jobs behind it,
 * because the workers of one model may differ in kinds, in capabilities, and in the jobs that they failed. If several
 * workers can run the job, the least recently used one gets it, so that equal workers share the load.
 */
export function chooseWorkerAndJob(state: LaneState, model: string): Assignment | null {
  const available = state.available.get(model);
  if (!available) return null;
  for (const [queueIndex, jobId] of (state.queues.get(model) ?? []).entries()) {
    const job = state.jobs.get(jobId);
    if (!job) continue;
    for (const connection of available) {
      const worker = state.workers.get(connection);
      const offered = worker?.models.get(model);
      if (worker && offered && canRun(worker, job)) return { job, queueIndex, worker, offered };
    }
  }
  return null;
}

/** Whether a worker that stays connected could run this job, now or when it has credit again. */
export function anyWorkerCanRun(state: LaneState, job: Job): boolean {
  for (const worker of state.workers.values()) if (!worker.draining && canRun(worker, job)) return true;
  return false;
}

function canRun(worker: Worker, job: Job): boolean {
  const offersKind = worker.models.get(job.model)?.kinds.includes(job.kind) === true;
  return offersKind && !job.failedWorkers.has(worker.workerId) && canMeet(job.requirements, worker);
}
