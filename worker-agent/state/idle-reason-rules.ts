import { formatDuration } from "../format-duration.ts";
import type { AgentStatus } from "./status-file.ts";

export type IdleReason = {
  readonly code:
    | "working"
    | "all-slots-busy"
    | "no-job-for-its-models"
    | "not-the-model-asked-for"
    | "loading"
    | "connecting"
    | "disconnected"
    | "draining"
    | "refused"
    | "stopped"
    | "vanished";
  /** A sentence or two for the machine's owner: why, and what to do. */
  readonly message: string;
};

const REFUSED = ["token-refused", "token-expired", "wrong-pool", "protocol-too-old"];

/**
 * Pure: why this worker got no job, as far as it can know. Whether nobody asks at all or others are asked, a pool says;
 * an older one does not, and then it is the operator's to say.
 *
 * @param alive whether the process of `status.pid` still runs
 */
export function idleReason(status: AgentStatus, alive: boolean, nowMs: number): IdleReason {
  const { state, models, stopped, lastDisconnect, nextAttemptMs, elsewhere } = status;
  if (state === "stopped") {
    const message = stopped?.message ?? "The worker was stopped.";
    return stopped !== null && REFUSED.includes(stopped.code)
      ? { code: "refused", message }
      : { code: "stopped", message: `${message} Start it again.` };
  }
  if (!alive) {
    const message = `The worker's process ${status.pid} is gone without a last word: it was killed or the machine restarted. Start it again.`;
    return { code: "vanished", message };
  }
  if (state === "loading") return { code: "loading", message: "It is still loading its model." };
  if (state === "draining") {
    return { code: "draining", message: "It drains: it finishes what it has and takes no new jobs." };
  }
  if (state === "connecting") {
    if (nextAttemptMs === null) return { code: "connecting", message: "It is connecting to the pool right now." };
    const why = lastDisconnect === null ? "" : ` (${lastDisconnect.reason})`;
    const inS = Math.max(0, Math.ceil((nextAttemptMs - nowMs) / 1_000));
    return { code: "disconnected", message: `It is not connected${why}. Next try in ${inS} s.` };
  }
  const active = models.reduce((sum, model) => sum + model.active, 0);
  if (models.every((model) => model.active >= model.slots)) {
    return { code: "all-slots-busy", message: "All its slots are busy: more --slots would take more jobs at once." };
  }
  if (active > 0) return { code: "working", message: "It works, and has free slots: no further job waits for it." };
  const names = models.map(({ name }) => name).join(", ");
  const since = formatDuration(nowMs - quietSinceMs(status, nowMs));
  const quiet = `The pool has sent no job for ${names} for ${since}.`;
  if (elsewhere === null) {
    const message = `${quiet} Either nobody asks, or they ask for other models: the pool's operator sees which.`;
    return { code: "no-job-for-its-models", message };
  }
  if (elsewhere.lastMs === null) {
    const message = `${quiet} Nor did anybody ask for another model: nobody asks, or other workers of these models are enough.`;
    return { code: "no-job-for-its-models", message };
  }
  const asked = elsewhere.jobs === 1 ? "one request" : `${elsewhere.jobs} requests`;
  const message = `${quiet} Meanwhile ${asked} came for other models, the last ${formatDuration(nowMs - elsewhere.lastMs)} ago: the pool's operator sees for which. Serve one of them with --model.`;
  return { code: "not-the-model-asked-for", message };
}

/** Since when it could have got a job and got none. */
export function quietSinceMs({ connectedSinceMs, lastJob }: AgentStatus, nowMs: number): number {
  return Math.max(connectedSinceMs ?? nowMs, lastJob?.endedMs ?? 0);
}
