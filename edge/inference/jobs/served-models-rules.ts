/** What the connected workers of a lane serve now. Pure. */

import type { JobKind, JobRequest } from "../../../schema/wire/worker-frames.ts";
import type { AnswerDialect } from "../formats/answer-format.ts";
import type { LaneState } from "./lane-state.ts";
import { type Need, needsOf, unmetNeed } from "./worker-capability-rules.ts";

export interface ModelLoad {
  readonly name: string;
  readonly kinds: readonly JobKind[];
  readonly workers: number;
  readonly slots: number;
  readonly free: number;
  readonly active: number;
  readonly queued: number;
}

/** What is served now, by model name. */
export function modelLoads(state: LaneState): ModelLoad[] {
  const loads = new Map<string, { kinds: JobKind[]; workers: number; slots: number; free: number; active: number }>();
  for (const worker of state.workers.values()) {
    if (worker.draining) continue;
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

export function isServed(state: LaneState, model: string): boolean {
  if ((state.available.get(model)?.size ?? 0) > 0) return true;
  for (const worker of state.workers.values()) if (!worker.draining && worker.models.has(model)) return true;
  return false;
}

export function doesKind(state: LaneState, model: string, kind: JobKind): boolean {
  for (const worker of state.workers.values()) {
    if (!worker.draining && worker.models.get(model)?.kinds.includes(kind)) return true;
  }
  return false;
}

/** Whether a worker of this model can do what only some workers can do of this request. */
export function isMetBy(...asked: Parameters<typeof unmetBy>): boolean {
  return unmetBy(...asked) === undefined;
}

/** What no worker of this model can do of this request. */
export function unmetBy(
  state: LaneState,
  model: string,
  request: JobRequest,
  dialect: AnswerDialect | undefined,
): Need | undefined {
  const needs = needsOf(request, dialect);
  if (needs.length === 0) return undefined;
  const serving = [...state.workers.values()].filter((worker) => !worker.draining && worker.models.has(model));
  return unmetNeed(needs, serving);
}
