/**
 * Decides what happens to a job that its worker does not finish, because the worker disconnected, the lease expired, or
 * the worker failed. A job without output returns to the front of its queue, and another worker gets it. Otherwise the
 * job ends: its client has part of an answer that no other worker can continue (docs/spec/inference.md#retries).
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { AgentFrame } from "../../../schema/wire/worker-frames.ts";
import { dispatch } from "./dispatch-machine.ts";
import { endJob } from "./job-end-machine.ts";
import type { Effect, Failure, Job, LaneState, Worker } from "./lane-state.ts";
import { releaseLease } from "./lease-machine.ts";
import { requeueAtFront } from "./queue-machine.ts";
import { mayTryAgain } from "./retry-rules.ts";
import { anyWorkerCanRun } from "./worker-choice-rules.ts";
import { noteFailure } from "./worker-health-machine.ts";

const WORKER_LOST: Failure = { code: "inference/worker-lost" };

/** The worker disconnected, or the lane closed its connection. */
export function workerLost(state: LaneState, worker: Worker, nowMs: number): Effect[] {
  const lost = [...worker.jobs].flatMap((id) => state.jobs.get(id) ?? []);
  // A worker that drains has said that it leaves.
  if (!worker.draining) for (const job of lost) noteFailure(state, job, nowMs);
  // The jobs of one key count as one: two jobs of a key that crash their worker must not make each other look innocent.
  const isAlone = new Set(lost.map(({ keyId }) => keyId)).size === 1 && !worker.draining;
  if (isAlone) for (const job of lost) job.lostAloneAttempt ??= job.attempts;
  return retryOrEnd(state, lost, nowMs, WORKER_LOST);
}

/** The leases of these jobs expired. The caller has already revoked them. */
export function leasesExpired(state: LaneState, jobs: readonly Job[], nowMs: number): Effect[] {
  for (const job of jobs) noteFailure(state, job, nowMs);
  return retryOrEnd(state, jobs, nowMs, WORKER_LOST);
}

/** Failures of the worker itself. The others are about the request, or about the worker's free slots. */
const OWN_FAILURES: readonly ErrorCode[] = [
  "inference/engine-failed",
  "inference/model-not-found",
  "inference/upstream-disobeyed",
];

/** The worker reports that it failed. It does not get the job again, but other workers do. */
export function workerFailed(
  state: LaneState,
  job: Job,
  worker: Worker,
  frame: Extract<AgentFrame, { type: "failed" }>,
  nowMs: number,
): Effect[] {
  const { code, message, param, retryAfterSeconds, retryable } = frame;
  const failure = { code, message, param, retryAfterSeconds };
  // A worker that drains, or that had no free slot, has not tried the job.
  const tried = !worker.draining && (code !== "inference/worker-busy" || retryAfterSeconds !== undefined);
  if (tried) job.failedWorkers.add(worker.workerId);
  if (tried && OWN_FAILURES.includes(code)) noteFailure(state, job, nowMs);
  const isFinal = !retryable || (tried && !anyWorkerCanRun(state, job));
  return isFinal ? [endJob(state, job, { outcome: "failed", ...failure })] : retryOrEnd(state, [job], nowMs, failure);
}

function retryOrEnd(state: LaneState, jobs: readonly Job[], nowMs: number, failure: Failure): Effect[] {
  const effects: Effect[] = [];
  const models = new Set<string>();
  // Requeue the latest job first: each goes to the front, so the earliest ends up there.
  const latestFirst = jobs.toSorted((a, b) => b.acceptedMs - a.acceptedMs || b.lease - a.lease);
  for (const job of latestFirst) {
    releaseLease(state, job);
    if (job.relayedBytes > 0 || !mayTryAgain(job)) {
      effects.push(endJob(state, job, { outcome: "failed", ...failure }));
      continue;
    }
    requeueAtFront(state, job, nowMs);
    models.add(job.model);
  }
  for (const model of models) effects.push(...dispatch(state, model, nowMs));
  return effects;
}
