/** The shapes of what a lane remembers of workers that failed, and of banned ones. `worker-health-machine.ts` has the rules. */
import type { CircuitStep, WorkerCircuit } from "./worker-circuit-machine.ts";
import type { Quality } from "./worker-quality-rules.ts";

/** Persisted contract: one row for each worker and model with a failure. */
export interface WorkerHealth {
  readonly workerId: string;
  readonly model: string;
  readonly circuit: WorkerCircuit;
  readonly quality: Quality;
}

/** An entry to be stored. `change`: an event records it. */
export interface HealthChange {
  readonly health: WorkerHealth;
  readonly change: CircuitStep["change"];
}

export interface LaneHealth {
  readonly entries: Map<string, WorkerHealth>;
  /** Ids of workers that an admin has banned. The set itself, not a copy: its owner changes it. */
  readonly banned: ReadonlySet<string>;
  /** The lane stores them after each step, and empties the list. */
  readonly unsaved: HealthChange[];
}

export function emptyHealth(banned: ReadonlySet<string> = new Set()): LaneHealth {
  return { entries: new Map(), banned, unsaved: [] };
}

export const healthKey = (workerId: string, model: string) => `${workerId} ${model}`;
