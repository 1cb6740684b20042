import { formatDuration } from "../format-duration.ts";
import { pluralize } from "../pluralize.ts";
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
  /** The reason and a remedy, for the machine's owner. */
  readonly message: string;
};

const REFUSED = ["token-refused", "token-expired", "wrong-pool", "protocol-too-old"];

/**
 * Why this worker gets no job, as far as the worker can know. The pool reports requests for other models. An older pool does
 * not report them, and then only its operator knows.
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
    const message = `The worker's process ${status.pid} ended without a report: it was killed, or the machine restarted. Start it again.`;
    return { code: "vanished", message };
  }
  if (state === "loading") return { code: "loading", message: "It is still loading its model." };
  if (state === "draining") {
    return { code: "draining", message: "It is draining: it finishes its jobs and takes no new ones." };
  }
  if (state === "connecting") {
    if (nextAttemptMs === null) return { code: "connecting", message: "It is connecting to the pool right now." };
    const why = lastDisconnect === null ? "" : ` (${lastDisconnect.reason})`;
    const inS = Math.max(0, Math.ceil((nextAttemptMs - nowMs) / 1_000));
    return { code: "disconnected", message: `It is not connected${why}. Next attempt in ${inS} s.` };
  }
  const active = models.reduce((sum, model) => sum + model.active, 0);
  if (models.every((model) => model.active >= model.slots)) {
    return {
      code: "all-slots-busy",
      message: "All its slots are busy. With more --slots it would run more jobs at once.",
    };
  }
  if (active > 0)
    return { code: "working", message: "It is working and has free slots: no other job is waiting for it." };
  const names = models.map(({ name }) => name).join(", ");
  const since = formatDuration(nowMs - quietSinceMs(status, nowMs));
  const quiet = `The pool has sent no job for ${names} for ${since}.`;
  if (elsewhere === null) {
    const message = `${quiet} Either there are no requests, or they are for other models: the pool's operator can see which.`;
    return { code: "no-job-for-its-models", message };
  }
  if (elsewhere.lastMs === null) {
    const message = `${quiet} There were no requests for other models either. Other workers may take the requests for these models.`;
    return { code: "no-job-for-its-models", message };
  }
  const requests = pluralize(elsewhere.jobs, "request");
  const message = `${quiet} In this time the pool received ${requests} for other models, the last one ${formatDuration(nowMs - elsewhere.lastMs)} ago. Ask the pool's operator which models, and serve one of them with --model.`;
  return { code: "not-the-model-asked-for", message };
}

/** Since when the worker has been able to get a job and got none. */
export function quietSinceMs({ connectedSinceMs, lastJob }: AgentStatus, nowMs: number): number {
  return Math.max(connectedSinceMs ?? nowMs, lastJob?.endedMs ?? 0);
}
