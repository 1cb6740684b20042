import { allLanes, laneForActions } from "../../workers/lane-for.ts";
import type { Action } from "./action.ts";

/**
 * Closes the circuits of workers and resets their quality scores, of one worker or of all. Bans stay. Each lane records the
 * request with the reset, so that a repeat changes nothing and gets the same answer.
 */
export const circuitReset: Action<"circuit_reset"> = {
  touchesEconomy: false,
  heedsSlashing: true,
  async run(env, { peer, requestId, params: { worker_id: worker = null } }) {
    const lanes = allLanes(env, laneForActions);
    const answers = await Promise.all(lanes.map(({ lane }) => lane.resetCircuits(worker, { peer, requestId })));
    const circuits = answers.reduce((sum, answer) => sum + answer.circuits, 0);
    const scores = answers.reduce((sum, answer) => sum + answer.scores, 0);
    return { ok: true, result: { ok: true, worker_id: worker, circuits, scores } };
  },
};
