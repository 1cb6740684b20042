/**
 * Which lane of the pool serves a model or a worker token. A pool has one lane so far. To give it several, change these
 * functions; no caller needs a change. Each group of callers gets a stub with its own methods only (`lane-rpc.ts`).
 */
import type { Env, LaneForActions, LaneForAdmins, LaneForClients, LaneForReaders, LaneForWorkers } from "../env.ts";
import { MAIN_LANE } from "../object-names.ts";

/** What a caller needs a lane for. `any`: any lane will do. */
export type LanePurpose = { readonly model: string } | { readonly workerToken: string } | "any";

export function laneNameFor(_purpose: LanePurpose): string {
  return MAIN_LANE;
}

export function laneForClients(env: Env, purpose: LanePurpose): DurableObjectStub<LaneForClients> {
  return env.LANE.getByName(laneNameFor(purpose));
}

export function laneForWorkers(env: Env, purpose: LanePurpose): DurableObjectStub<LaneForWorkers> {
  return env.LANE.getByName(laneNameFor(purpose));
}

export function laneForActions(env: Env, purpose: LanePurpose): DurableObjectStub<LaneForActions> {
  return env.LANE.getByName(laneNameFor(purpose));
}

export function laneForAdmins(env: Env, purpose: LanePurpose): DurableObjectStub<LaneForAdmins> {
  return env.LANE.getByName(laneNameFor(purpose));
}

export function laneForReaders(env: Env, purpose: LanePurpose): DurableObjectStub<LaneForReaders> {
  return env.LANE.getByName(laneNameFor(purpose));
}

/** Every lane of the pool, with its name. `laneOf` is one of the functions above. */
export function allLanes<Stub>(
  env: Env,
  laneOf: (env: Env, purpose: LanePurpose) => Stub,
): [Lane<Stub>, ...Lane<Stub>[]] {
  return [{ name: MAIN_LANE, lane: laneOf(env, "any") }];
}

interface Lane<Stub> {
  readonly name: string;
  readonly lane: Stub;
}
