/** Which models the connected workers of a lane serve now. A worker that drains, or that an admin has banned, serves none. */

import type { JobKind, JobRequest } from "../../../schema/wire/worker-frames.ts";
import type { ConnectedWorker } from "../../workers/connected-worker.ts";
import type { ServingWorker } from "../../workers/serving-worker.ts";
import type { AnswerDialect } from "../formats/answer-format.ts";
import type { LaneState } from "./lane-state.ts";
import { type Requirement, requirementsOf, unmetRequirement } from "./worker-capability-rules.ts";
import { isServing } from "./worker-health-machine.ts";

export interface ModelLoad {
  readonly name: string;
  readonly kinds: readonly JobKind[];
  readonly workers: number;
  readonly slots: number;
  readonly free: number;
  readonly active: number;
  readonly queued: number;
}

/** The models that are served now, with their load; sorted by name. */
export function modelLoads(state: LaneState): ModelLoad[] {
  const loads = new Map<string, { kinds: JobKind[]; workers: number; slots: number; free: number; active: number }>();
  for (const worker of state.workers.values()) {
    if (!isServing(state, worker)) continue;
    for (const [name, model] of worker.models) {
      const load = loads.get(name) ?? { kinds: [], workers: 0, slots: 0, free: 0, active: 0 };
      for (const kind of model.kinds) if (!load.kinds.includes(kind)) load.kinds.push(kind);
      load.workers += 1;
      load.slots += model.slots;
      load.free += model.credit;
      loads.set(name, load);
    }
  }
  for (const job of state.jobs.values()) {
    const load = loads.get(job.model);
    if (load && job.state !== "queued") load.active += 1;
  }
  return [...loads]
    .map(([name, load]) => ({ name, ...load, queued: state.queues.get(name)?.length ?? 0 }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The workers that may get jobs, as admins see them. */
export function connectedWorkers(state: LaneState, serving: readonly ServingWorker[]): ConnectedWorker[] {
  return serving.flatMap(({ connection, workerId, tokenId, agentVersion, connectedAtMs }) => {
    const worker = state.workers.get(connection);
    if (!worker) return [];
    const models = [...worker.models].map(([name, model]) => ({
      name,
      slots: model.slots,
      free: model.credit,
      active: [...worker.jobs].filter((id) => state.jobs.get(id)?.model === name).length,
    }));
    return [{ workerId, tokenId, agentVersion, connectedAtMs, models, isBanned: state.health.banned.has(workerId) }];
  });
}

/** Whether a connected worker that does not drain serves the model. */
export function isServed(state: LaneState, model: string): boolean {
  if (state.health.banned.size === 0 && (state.available.get(model)?.size ?? 0) > 0) return true;
  for (const worker of state.workers.values()) if (isServing(state, worker) && worker.models.has(model)) return true;
  return false;
}

/** Whether such a worker serves the model for this kind of job. */
export function doesKind(state: LaneState, model: string, kind: JobKind): boolean {
  for (const worker of state.workers.values()) {
    if (isServing(state, worker) && worker.models.get(model)?.kinds.includes(kind)) return true;
  }
  return false;
}

/** Whether a worker of this model can do everything that the request requires. */
export function canServe(...args: Parameters<typeof unmetRequirementOf>): boolean {
  return unmetRequirementOf(...args) === undefined;
}

/** The requirement that the refusal names, if no worker of this model can serve the request; undefined if one can. */
export function unmetRequirementOf(
  state: LaneState,
  model: string,
  request: JobRequest,
  dialect: AnswerDialect | undefined,
): Requirement | undefined {
  const requirements = requirementsOf(request, dialect);
  if (requirements.length === 0) return undefined;
  const serving = [...state.workers.values()].filter((worker) => isServing(state, worker) && worker.models.has(model));
  return unmetRequirement(requirements, serving);
}
