/**
 * Leases: which worker holds which job, and until when (docs/spec/workers.md#leases). Each lease of a lane has its own
 * number. The number fences a worker that stalled beyond the end of its lease and then resumes: its frames are stale.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { payDebt } from "../../limits/gcra-rules.ts";
import { discardOutput } from "./held-output-rules.ts";
import { type Effect, type Job, type LaneState, violation, type Worker, type WorkerModel } from "./lane-state.ts";
import { noteRelease, noteStart } from "./worker-health-machine.ts";

/** The rate at which stale frames are forgiven. */
const FORGIVEN = { burst: LIMITS.staleFramesPerSecond, periodMs: 1_000 };

/** Gives the job to the worker under a new lease, and resets what an earlier lease produced. */
export function grantLease(state: LaneState, job: Job, worker: Worker, offered: WorkerModel, nowMs: number): void {
  worker.jobs.add(job.id);
  job.state = "leased";
  job.attempts += 1;
  job.lease = state.nextLease++;
  job.leaseUntilMs = nowMs + LIMITS.leaseMs;
  job.queuedMs = nowMs - job.acceptedMs;
  job.connection = worker.connection;
  job.workerId = worker.workerId;
  job.engine = worker.engine;
  job.minor = worker.minor;
  job.contextTokens = offered.contextTokens;
  job.nextSeq = 0;
  job.relayedTokens = 0;
  job.textBytes = 0;
  noteStart(state, job, nowMs);
}

/** Whether this connection holds the job under this lease number. */
export function holdsLease(job: Job, connection: string, lease: number): boolean {
  return job.connection === connection && job.lease === lease;
}

/** Every frame of the lease's holder renews the lease. */
export function renewLease(job: Job, nowMs: number): void {
  job.leaseUntilMs = nowMs + LIMITS.leaseMs;
}

/** Whether the lease has ended without a frame of its holder. */
export function leaseHasExpired(job: Job, nowMs: number): boolean {
  return job.leaseUntilMs <= nowMs;
}

/** Ends the lease and discards what its worker produced. The worker is not informed. */
export function releaseLease(state: LaneState, job: Job): void {
  if (job.connection) state.workers.get(job.connection)?.jobs.delete(job.id);
  noteRelease(state, job);
  job.connection = null;
  discardOutput(state, job);
}

/**
 * Ends the lease and informs its worker: `cancel` stops the job, `rejected` means that the lease is no longer valid.
 */
export function revokeLease(state: LaneState, job: Job, type: "cancel" | "rejected"): Effect[] {
  const { connection, lease } = job;
  releaseLease(state, job);
  return connection === null ? [] : [{ type: "send", connection, frame: { type, jobId: job.id, lease } }];
}

/**
 * Answers a frame of a lease that this worker does not hold: the worker must drop the job. Many such frames may be on
 * their way when a lease ends, so some are forgiven. Beyond that the connection is closed, because the pool must buffer
 * each answer that the worker does not read.
 */
export function rejectStaleFrame(
  worker: Worker,
  { jobId, lease }: { jobId: string; lease: number },
  nowMs: number,
): Effect[] {
  const debt = { owed: worker.staleFrames, atMs: worker.staleFramesAtMs };
  worker.staleFrames = payDebt(debt, FORGIVEN, nowMs).owed + 1;
  worker.staleFramesAtMs = nowMs;
  const { connection } = worker;
  if (worker.staleFrames > LIMITS.staleFrames) {
    return [violation(connection, "too many frames of jobs that the worker does not hold")];
  }
  return [{ type: "send", connection, frame: { type: "rejected", jobId, lease } }];
}
