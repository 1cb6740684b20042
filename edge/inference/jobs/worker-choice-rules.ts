/**
 * Which waiting job goes to which worker. `chooseWorkerAndJob` is the only function that decides it: the dispatch machine
 * calls it until it returns null.
 */
import type { Job, LaneState, Worker, WorkerModel } from "./lane-state.ts";
import { canMeet } from "./worker-capability-rules.ts";
import { isHealthy, isServing, qualityStep } from "./worker-health-machine.ts";

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
 * because the workers of one model may differ in kinds, in capabilities, and in the jobs that they failed. A
 * banned worker, and one whose circuit is open, gets none.
 */
export function chooseWorkerAndJob(state: LaneState, model: string, nowMs: number): Assignment | null {
  const available = state.available.get(model);
  if (!available) return null;
  for (const [queueIndex, jobId] of (state.queues.get(model) ?? []).entries()) {
    const job = state.jobs.get(jobId);
    if (!job) continue;
    const worker = bestWorker(state, available, job, nowMs);
    const offered = worker?.models.get(model);
    if (worker && offered) return { job, queueIndex, worker, offered };
  }
  return null;
}

/**
 * Of the free workers that can run the job, the one whose quality is best. Of equal ones, the least recently used one:
 * `available` is in that order.
 */
function bestWorker(state: LaneState, available: ReadonlySet<string>, job: Job, nowMs: number): Worker | null {
  let best: Worker | null = null;
  let bestStep = -1;
  for (const connection of available) {
    const worker = state.workers.get(connection);
    if (!worker || !isServing(state, worker) || !canRun(worker, job)) continue;
    if (!isHealthy(state, worker, job.model, nowMs)) continue;
    // While no worker has failed, the first one is the best.
    if (state.health.entries.size === 0) return worker;
    const step = qualityStep(state, worker, job.model, nowMs);
    if (step > bestStep) [best, bestStep] = [worker, step];
  }
  return best;
}

/** Whether a worker that stays connected could run this job, now or when it has credit again. */
export function anyWorkerCanRun(state: LaneState, job: Job): boolean {
  for (const worker of state.workers.values()) if (isServing(state, worker) && canRun(worker, job)) return true;
  return false;
}

function canRun(worker: Worker, job: Job): boolean {
  const offersKind = worker.models.get(job.model)?.kinds.includes(job.kind) === true;
  return offersKind && !job.failedWorkers.has(worker.workerId) && canMeet(job.requirements, worker);
}
