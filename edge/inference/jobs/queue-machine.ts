/**
 * The queues of a lane: one per model, in the order in which jobs were accepted (docs/spec/inference.md#queues). A job
 * that a worker did not finish returns to the front.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { emptyOutput } from "../answers/job-output-rules.ts";
import type { Job, LaneState, NewJob, RequestTotals } from "./lane-state.ts";
import { requirementsOf } from "./worker-capability-rules.ts";

/** Appends a new job to the queue of its model. */
export function enqueue(state: LaneState, part: NewJob, totals: RequestTotals, nowMs: number): Job {
  const job: Job = {
    ...part,
    totals,
    acceptedMs: nowMs,
    deadlineMs: nowMs + LIMITS.jobMs,
    state: "queued",
    queueUntilMs: nowMs + LIMITS.queueWaitMs,
    queuedMs: 0,
    attempts: 0,
    lostAloneAttempt: null,
    failedWorkers: new Set(),
    lease: 0,
    leaseUntilMs: 0,
    connection: null,
    workerId: null,
    engine: null,
    minor: 0,
    requestBytes: 0,
    requirements: requirementsOf(part.request, part.dialect),
    contextTokens: 0,
    nextSeq: 0,
    relayedBytes: 0,
    relayedTokens: 0,
    textBytes: 0,
    output: emptyOutput(),
    heldBytes: 0,
    isOverlong: false,
  };
  state.jobs.set(job.id, job);
  queueOf(state, job.model).push(job.id);
  return job;
}

/** Puts a job that a worker did not finish at the front of its queue. Its wait starts again. */
export function requeueAtFront(state: LaneState, job: Job, nowMs: number): void {
  job.state = "queued";
  job.queueUntilMs = nowMs + LIMITS.queueWaitMs;
  queueOf(state, job.model).unshift(job.id);
}

/** Removes the job at `queueIndex` from the queue of its model, because a worker gets it. */
export function takeFromQueue(state: LaneState, model: string, queueIndex: number): void {
  const queue = state.queues.get(model);
  queue?.splice(queueIndex, 1);
  if (queue?.length === 0) state.queues.delete(model);
}

/** Removes a waiting job from its queue. */
export function removeFromQueue(state: LaneState, job: Job): void {
  const queueIndex = state.queues.get(job.model)?.indexOf(job.id) ?? -1;
  if (queueIndex >= 0) takeFromQueue(state, job.model, queueIndex);
}

/** The place of a waiting job, from 1; null if the job does not wait. */
export function placeInQueue(state: LaneState, jobId: string): number | null {
  const job = state.jobs.get(jobId);
  const queueIndex = job?.state === "queued" ? (state.queues.get(job.model)?.indexOf(jobId) ?? -1) : -1;
  return queueIndex < 0 ? null : queueIndex + 1;
}

/**
 * Whether all parts of a new request may wait. Beyond `LIMITS.queuePerModel` there is a reserve for keys that have no
 * job in this queue, so that one key that fills the queue does not block the others.
 */
export function hasQueueRoom(state: LaneState, model: string, keyId: string, parts: number): boolean {
  const queue = state.queues.get(model) ?? [];
  const waiting = queue.length + Math.max(0, parts - creditFor(state, model));
  if (waiting === queue.length || waiting <= LIMITS.queuePerModel) return true;
  if (waiting > LIMITS.queuePerModel + LIMITS.queueReservePerModel) return false;
  return !queue.some((id) => state.jobs.get(id)?.keyId === keyId);
}

function creditFor(state: LaneState, model: string): number {
  let credit = 0;
  for (const connection of state.available.get(model) ?? []) {
    credit += state.workers.get(connection)?.models.get(model)?.credit ?? 0;
  }
  return credit;
}

function queueOf(state: LaneState, model: string): string[] {
  let queue = state.queues.get(model);
  if (!queue) {
    queue = [];
    state.queues.set(model, queue);
  }
  return queue;
}
