/**
 * The machine of a lane. Each function takes one event of a client, a worker or the clock, changes the state, and
 * returns the effects that the object must carry out, in order. The rules are in the machines that it uses:
 * `queue-machine.ts`, `dispatch-machine.ts`, `worker-choice-rules.ts`, `lease-machine.ts`, `job-output-machine.ts`,
 * `retry-machine.ts` and `job-end-machine.ts`.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { CLOSE } from "../../../schema/wire/limits.ts";
import type { AgentFrame } from "../../../schema/wire/worker-frames.ts";
import type { JobName } from "../lane-rpc.ts";
import {
  clearCredit,
  dispatch,
  newWorker,
  type RememberedCredit,
  restoreCredit,
  workerReady,
} from "./dispatch-machine.ts";
import { endJob, withdrawJob } from "./job-end-machine.ts";
import { receiveJobFrame } from "./job-output-machine.ts";
import { addBytes } from "./lane-memory-rules.ts";
import {
  type Effect,
  type Job,
  type LaneState,
  type NewJob,
  type Submission,
  violation,
  type WorkerOffer,
} from "./lane-state.ts";
import { holdsLease, leaseHasExpired, rejectStaleFrame, renewLease } from "./lease-machine.ts";
import { enqueue } from "./queue-machine.ts";
import { leasesExpired, workerLost } from "./retry-machine.ts";
import { refusalOf } from "./submission-rules.ts";
import { modelsWithOpenCircuit } from "./worker-health-machine.ts";

// ---- clients

/**
 * Submits one request as jobs of one model and kind. The lane takes all of them or none.
 * @param requestBytes the bytes of the lane's memory that all parts of the request take together
 */
export function submit(
  state: LaneState,
  parts: readonly [NewJob, ...NewJob[]],
  requestBytes: number,
  nowMs: number,
): Submission {
  const [{ model, keyId }] = parts;
  const refusal = refusalOf(state, parts, requestBytes);
  if (refusal) return refusal;
  addBytes(state.memory, keyId, "requests", requestBytes);
  const inputs = parts.reduce((sum, { request }) => sum + ("input" in request ? request.input.length : 0), 0);
  const totals = { requestBytes, inputs, jobs: parts.length, outputBytes: 0 };
  const jobs = parts.map((part) => enqueue(state, part, totals, nowMs));
  return { ok: true, jobs, effects: dispatch(state, model, nowMs) };
}

/** Jobs of this key that have not ended and have this name. The id of one job names all jobs of its request. */
export function jobsNamed(state: LaneState, { jobId, requestId }: JobName, keyId: string): string[] {
  const ofKey = [...state.jobs.values()].filter((job) => job.keyId === keyId);
  const group = ofKey.find((job) => job.id === jobId || job.group === jobId)?.group;
  const named = ofKey.filter((job) => (group === undefined ? job.requestId === requestId : job.group === group));
  return named.map(({ id }) => id);
}

/** Cancels a job, because the client disconnected or asked for it. Does nothing if the job has ended already. */
export function cancel(state: LaneState, jobId: string, code: ErrorCode): Effect[] {
  const job = state.jobs.get(jobId);
  if (!job) return [];
  return [...withdrawJob(state, job, "cancel"), endJob(state, job, { outcome: "cancelled", code })];
}

// ---- workers

/** A worker has proved its key on a new connection. An earlier connection of the same worker is dead, and is closed. */
export function workerConnected(state: LaneState, offer: WorkerOffer, nowMs: number): Effect[] {
  const effects: Effect[] = [];
  for (const old of state.workers.values()) {
    if (old.workerId !== offer.workerId) continue;
    effects.push(...workerGone(state, old.connection, nowMs));
    effects.push({
      type: "close",
      connection: old.connection,
      code: CLOSE.normal,
      reason: "replaced by a newer connection",
      violation: false,
    });
  }
  state.workers.set(offer.connection, newWorker(offer, nowMs));
  return effects;
}

/** The lane woke up from hibernation and finds a connected worker, with the credit that it had. */
export function workerRestored(state: LaneState, offer: WorkerOffer, credit: RememberedCredit): void {
  workerConnected(state, offer, 0);
  const worker = state.workers.get(offer.connection);
  if (worker) restoreCredit(state, worker, credit);
}

/** The connection of a worker has closed. Does nothing for an unknown connection. */
export function workerGone(state: LaneState, connection: string, nowMs: number): Effect[] {
  const worker = state.workers.get(connection);
  if (!worker) return [];
  state.workers.delete(connection);
  clearCredit(state, worker);
  return workerLost(state, worker, nowMs);
}

/** Handles a frame of a worker. A frame of a job that the worker does not hold is stale. */
export function workerFrame(
  state: LaneState,
  connection: string,
  frame: Exclude<AgentFrame, { type: "hello" }>,
  nowMs: number,
): Effect[] {
  const worker = state.workers.get(connection);
  if (!worker) return [violation(connection, "frame before hello")];
  if (frame.type === "ready") return workerReady(state, worker, frame, nowMs);
  if (frame.type === "drain") {
    worker.draining = true;
    clearCredit(state, worker);
    return [];
  }
  const job = state.jobs.get(frame.jobId);
  if (!job || !holdsLease(job, connection, frame.lease)) return rejectStaleFrame(worker, frame, nowMs);
  renewLease(job, nowMs);
  return receiveJobFrame(state, job, worker, frame, nowMs);
}

// ---- time

/** Ends waits, leases and jobs whose time has passed. Call it at least every second while there are jobs. */
export function tick(state: LaneState, nowMs: number): Effect[] {
  const effects: Effect[] = [];
  const expired: Job[] = [];
  for (const job of state.jobs.values()) {
    if (job.deadlineMs <= nowMs) {
      effects.push(...withdrawJob(state, job, "cancel"));
      effects.push(endJob(state, job, { outcome: "expired", code: "inference/job-timeout" }));
    } else if (job.state === "queued") {
      if (job.queueUntilMs > nowMs) continue;
      effects.push(...withdrawJob(state, job, "cancel"));
      effects.push(endJob(state, job, { outcome: "expired", code: "inference/queue-timeout" }));
    } else if (leaseHasExpired(job, nowMs)) {
      effects.push(...withdrawJob(state, job, "rejected"));
      expired.push(job);
    }
  }
  effects.push(...leasesExpired(state, expired, nowMs));
  // The pause of an open circuit ends without any other event.
  for (const model of modelsWithOpenCircuit(state)) effects.push(...dispatch(state, model, nowMs));
  return effects;
}

/** Counts what the lane holds for jobs, for the operator. Every number is 0 when no job waits or runs. */
export function heldForJobs({ jobs, queues, workers, memory }: LaneState) {
  const all = [...workers.values()];
  return {
    jobs: jobs.size,
    queues: queues.size,
    queued: [...queues.values()].reduce((sum, queue) => sum + queue.length, 0),
    request_bytes: memory.requests,
    answer_bytes: memory.answers,
    keys: memory.byKey.size,
    jobs_at_workers: all.reduce((sum, worker) => sum + worker.jobs.size, 0),
    jobs_on_the_way: all.reduce((sum, worker) => sum + worker.inTransit.length, 0),
  };
}
