/**
 * What the lane remembers of workers that failed: a circuit and a quality for each worker and model; and the workers that an
 * admin has banned (docs/spec/inference.md#circuits). A worker without failures has no entry, so that it costs nothing.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { healthKey, type WorkerHealth } from "./lane-health-rules.ts";
import type { Job, LaneState, Worker } from "./lane-state.ts";
import { CLOSED, jobEnded, jobFailed, jobStarted, letsThrough, type ModelCircuits } from "./worker-circuit-machine.ts";
import { afterJob, scoreOf, stepOf, UNKNOWN_QUALITY } from "./worker-quality-rules.ts";

/** Whether the worker may get jobs at all: it does not drain, and no admin has banned it. */
export function isServing(state: Pick<LaneState, "health">, worker: Worker): boolean {
  return !worker.draining && !state.health.banned.has(worker.workerId);
}

/** Whether the worker's circuit lets a job of the model through. The model's last worker is never excluded. */
export function isHealthy(state: LaneState, worker: Worker, model: string, nowMs: number): boolean {
  const health = state.health.entries.get(healthKey(worker.workerId, model));
  if (health === undefined || letsThrough(health.circuit, nowMs)) return true;
  return othersAvailable(state, worker.workerId, model, nowMs) === 0;
}

/** The step of the worker's quality at the model. Equal steps share the load. */
export function qualityStep(state: LaneState, worker: Worker, model: string, nowMs: number): number {
  const health = state.health.entries.get(healthKey(worker.workerId, model));
  return health === undefined ? LIMITS.workerQualitySteps : stepOf(scoreOf(health.quality, nowMs));
}

/** The worker gets a job. */
export function noteStart(state: LaneState, job: Job, nowMs: number): void {
  const health = healthOfJob(state, job);
  if (health === undefined || health.circuit.openedAtMs === null) return;
  put(state, { ...health, circuit: jobStarted(health.circuit, job.id, nowMs) });
}

/** The worker no longer has the job, and it is not its failure: the job was cancelled, or given back untried. */
export function noteRelease(state: LaneState, job: Job): void {
  const health = healthOfJob(state, job);
  if (health?.circuit.probeJob !== job.id) return;
  put(state, { ...health, circuit: jobEnded(health.circuit, job.id, false).circuit });
}

/** The worker completed the job. */
export function noteDone(state: LaneState, job: Job, nowMs: number): void {
  const health = healthOfJob(state, job);
  if (health === undefined) return;
  const { circuit, change } = jobEnded(health.circuit, job.id, true);
  const entry = { ...health, circuit, quality: afterJob(health.quality, true, nowMs) };
  put(state, entry);
  // Otherwise the lane writes nothing: an answer does not wait for the disk, and a failure stores the quality too.
  if (change !== null) state.health.unsaved.push({ health: entry, change });
}

/** The worker failed: it was lost, its engine failed, or its lease ran out. Once for each job that it held. */
export function noteFailure(state: LaneState, job: Job, nowMs: number): void {
  const { workerId, model, keyId } = job;
  if (workerId === null) return;
  const { circuit: before, quality } = healthOfJob(state, job) ?? { circuit: CLOSED, quality: UNKNOWN_QUALITY };
  const { circuit, change } = jobFailed(
    before,
    job.id,
    { atMs: nowMs, keyId },
    circuitsOf(state, workerId, model, nowMs),
  );
  const entry = { workerId, model, circuit, quality: afterJob(quality, false, nowMs) };
  put(state, entry);
  state.health.unsaved.push({ health: entry, change });
}

/** Models with an open circuit: at some time a probe may go through, without any other event. */
export function modelsWithOpenCircuit({ health }: LaneState): Set<string> {
  const models = new Set<string>();
  for (const { model, circuit } of health.entries.values()) if (circuit.openedAtMs !== null) models.add(model);
  return models;
}

/** The entries of this worker, or (null) of all. */
export function healthOf({ health }: LaneState, workerId: string | null): WorkerHealth[] {
  return [...health.entries.values()].filter((entry) => workerId === null || entry.workerId === workerId);
}

export function forgetHealth(state: LaneState, workerId: string | null): void {
  for (const { workerId: id, model } of healthOf(state, workerId)) state.health.entries.delete(healthKey(id, model));
}

function circuitsOf(state: LaneState, workerId: string, model: string, nowMs: number): ModelCircuits {
  const openedBy = new Map<string, number>();
  for (const { model: its, circuit } of state.health.entries.values()) {
    const { openedBy: key } = circuit;
    if (its === model && key !== null) openedBy.set(key, (openedBy.get(key) ?? 0) + 1);
  }
  // The worker itself may have disconnected already.
  const others = [...serving(state, model)].filter((worker) => worker.workerId !== workerId).length;
  return { workers: others + 1, othersAvailable: othersAvailable(state, workerId, model, nowMs), openedBy };
}

function othersAvailable(state: LaneState, workerId: string, model: string, nowMs: number): number {
  let others = 0;
  for (const worker of serving(state, model)) {
    if (worker.workerId === workerId) continue;
    const health = state.health.entries.get(healthKey(worker.workerId, model));
    if (health === undefined || letsThrough(health.circuit, nowMs)) others += 1;
  }
  return others;
}

function* serving(state: LaneState, model: string): Generator<Worker> {
  for (const worker of state.workers.values()) if (isServing(state, worker) && worker.models.has(model)) yield worker;
}

function healthOfJob(state: LaneState, { workerId, model }: Job): WorkerHealth | undefined {
  return workerId === null ? undefined : state.health.entries.get(healthKey(workerId, model));
}

function put({ health }: LaneState, entry: WorkerHealth): void {
  const key = healthKey(entry.workerId, entry.model);
  // Delete first, so that the entry that changed longest ago comes first.
  health.entries.delete(key);
  health.entries.set(key, entry);
  const [oldest] = health.entries.keys();
  if (health.entries.size > LIMITS.workerHealthKept && oldest !== undefined) health.entries.delete(oldest);
}
