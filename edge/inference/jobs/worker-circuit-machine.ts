/**
 * The circuit of one worker at one model (docs/spec/inference.md#circuits): a worker that keeps failing gets no jobs of that
 * model for a while, then one probe. The guards against clients that provoke failures are `mayOpen`'s.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** A failure of the worker itself: it was lost, its engine failed, or its lease ran out. One for each job. */
export interface WorkerFailure {
  readonly atMs: number;
  /** The client key whose job failed. */
  readonly keyId: string;
}

/** Persisted contract: one for each worker and model with a failure. */
export interface WorkerCircuit {
  /** The failures within `workerCircuitWindowMs`, while closed. */
  readonly failures: readonly WorkerFailure[];
  /** Null: closed. */
  readonly openedAtMs: number | null;
  /** The key with the most failures of those that opened the circuit; null while closed. */
  readonly openedBy: string | null;
  /** The one job that a half-open circuit lets through, while it runs. */
  readonly probeJob: string | null;
}

export const CLOSED: WorkerCircuit = Object.freeze({ failures: [], openedAtMs: null, openedBy: null, probeJob: null });

export type WorkerCircuitState = "closed" | "open" | "half-open";

export interface CircuitStep {
  readonly circuit: WorkerCircuit;
  /** What is recorded as an event. */
  readonly change: "opened" | "closed" | null;
}

export function workerCircuitState({ openedAtMs }: WorkerCircuit, nowMs: number): WorkerCircuitState {
  if (openedAtMs === null) return "closed";
  // A circuit that opened in the future was opened before the clock stepped back: a probe finds out.
  const openForMs = nowMs - openedAtMs;
  return openForMs >= 0 && openForMs < LIMITS.workerCircuitOpenMs ? "open" : "half-open";
}

/** Whether the circuit lets a job through. A half-open circuit lets one through at a time. */
export function letsThrough(circuit: WorkerCircuit, nowMs: number): boolean {
  const state = workerCircuitState(circuit, nowMs);
  return state === "closed" || (state === "half-open" && circuit.probeJob === null);
}

/** Call it when the worker gets a job of the model. */
export function jobStarted(circuit: WorkerCircuit, jobId: string, nowMs: number): WorkerCircuit {
  return workerCircuitState(circuit, nowMs) === "half-open" ? { ...circuit, probeJob: jobId } : circuit;
}

/** The job ended without a failure of the worker: it is done, or its client left. */
export function jobEnded(circuit: WorkerCircuit, jobId: string, isDone: boolean): CircuitStep {
  // A closed circuit keeps its recent failures, whatever succeeded in between.
  if (circuit.probeJob !== jobId) return { circuit, change: null };
  return isDone ? { circuit: CLOSED, change: "closed" } : { circuit: { ...circuit, probeJob: null }, change: null };
}

/** What a model's other circuits say about opening one more. */
export interface ModelCircuits {
  /** Connected workers that serve the model. */
  readonly workers: number;
  /** Workers among them, without this one, whose circuit lets jobs through. */
  readonly othersAvailable: number;
  /** Open circuits of the model, by the key that opened each. */
  readonly openedBy: ReadonlyMap<string, number>;
}

export function jobFailed(
  circuit: WorkerCircuit,
  jobId: string,
  failure: WorkerFailure,
  model: ModelCircuits,
): CircuitStep {
  const { atMs } = failure;
  if (circuit.openedAtMs !== null) {
    // The probe failed: the pause starts again.
    if (circuit.probeJob === jobId) return { circuit: { ...circuit, openedAtMs: atMs, probeJob: null }, change: null };
    return { circuit, change: null };
  }
  const recent = circuit.failures.filter((each) => Math.abs(atMs - each.atMs) < LIMITS.workerCircuitWindowMs);
  const failures = [...recent, failure].slice(-LIMITS.workerCircuitFailures);
  const openedBy = mostFrequentKey(failures);
  if (failures.length < LIMITS.workerCircuitFailures || !mayOpen(openedBy, model)) {
    return { circuit: { ...circuit, failures }, change: null };
  }
  return { circuit: { failures: [], openedAtMs: atMs, openedBy, probeJob: null }, change: "opened" };
}

/** The last worker of a model stays, and the jobs of one key open a quarter of a model's circuits at most. */
function mayOpen(keyId: string, { workers, othersAvailable, openedBy }: ModelCircuits): boolean {
  const opened = openedBy.get(keyId) ?? 0;
  return othersAvailable > 0 && opened + 1 <= Math.floor(workers * LIMITS.workerCircuitKeyShare);
}

/** Of keys with equally many failures, the one that failed last. */
function mostFrequentKey(failures: readonly WorkerFailure[]): string {
  const counts = new Map<string, number>();
  let most = "";
  for (const { keyId } of failures) {
    const count = (counts.get(keyId) ?? 0) + 1;
    counts.set(keyId, count);
    if (count >= (counts.get(most) ?? 0)) most = keyId;
  }
  return most;
}
