/**
 * Which lane of the pool serves a model or a worker token. A pool has one lane so far. To give it several, change these
 * functions; no caller needs a change.
 */
import type { Env, LaneForAdmins, LaneForClients, LaneForReaders, LaneForWorkers } from "../env.ts";
import { MAIN_LANE } from "../object-names.ts";

/** What a caller needs a lane for. `any`: any lane will do. */
export type LanePurpose = { readonly model: string } | { readonly workerToken: string } | "any";

/** The stub that each group of callers gets. */
interface Stubs {
  clients: DurableObjectStub<LaneForClients>;
  workers: DurableObjectStub<LaneForWorkers>;
  admins: DurableObjectStub<LaneForAdmins>;
  readers: DurableObjectStub<LaneForReaders>;
}

export function laneNameFor(_purpose: LanePurpose): string {
  return MAIN_LANE;
}

/** @param _caller decides which methods the stub has */
export function laneFor<C extends keyof Stubs>(env: Env, _caller: C, purpose: LanePurpose): Stubs[C] {
  return env.LANE.getByName(laneNameFor(purpose)) as Stubs[C];
}

/** Every lane of the pool, with its name. */
export function allLanes<C extends keyof Stubs>(env: Env, caller: C): [Lane<C>, ...Lane<C>[]] {
  return [{ name: MAIN_LANE, lane: laneFor(env, caller, "any") }];
}

interface Lane<C extends keyof Stubs> {
  readonly name: string;
  readonly lane: Stubs[C];
}
