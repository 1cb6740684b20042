import type { AgentEvent } from "../events.ts";
import type { AgentStatus } from "./status-file.ts";

/** The part of the status that follows from events. The counters are kept elsewhere. */
export type StatusFields = Omit<AgentStatus, "updatedMs" | "counters">;

export const NOT_CONNECTED = { connected: false, connectedSinceMs: null, nextAttemptMs: null } as const;

const NO_UNSERVED_REQUESTS = { jobs: 0, lastMs: null } as const;

const JOB_ENDS = Object.freeze({ "job-done": "done", "job-failed": "failed", "job-cancelled": "cancelled" } as const);

/** The status after one more event. Returns the same object if the event changes nothing. */
export function nextStatus(status: StatusFields, event: AgentEvent, atMs: number): StatusFields {
  switch (event.type) {
    case "model": {
      const { name, slots, contextTokens } = event;
      // The event comes again when a model is reloaded. The model keeps its job counts.
      const known = status.models.find((model) => model.name === name);
      const model = { active: 0, jobs: 0, lastJobMs: null, ...known, name, slots, contextTokens };
      if (known === undefined) return { ...status, models: [...status.models, model] };
      return { ...status, models: status.models.map((it) => (it === known ? model : it)) };
    }
    case "connecting":
      return { ...status, state: "connecting", ...NOT_CONNECTED };
    case "connected":
      return {
        ...status,
        state: "connected",
        connected: true,
        connectedSinceMs: atMs,
        nextAttemptMs: null,
        elsewhere: event.tellsElsewhere ? NO_UNSERVED_REQUESTS : null,
      };
    case "jobs-elsewhere":
      return { ...status, elsewhere: { jobs: (status.elsewhere?.jobs ?? 0) + event.jobs, lastMs: atMs } };
    case "disconnected": {
      const nextAttemptMs = atMs + event.retryInMs;
      const lastDisconnect = { atMs, reason: event.reason };
      return { ...status, state: "connecting", ...NOT_CONNECTED, nextAttemptMs, lastDisconnect };
    }
    case "draining":
      return { ...status, state: "draining" };
    case "stopped":
      return { ...status, state: "stopped", ...NOT_CONNECTED, stopped: { code: event.code, message: event.message } };
    case "job-refused":
      return { ...status, lastRefusal: { atMs, model: event.model, message: event.message } };
    case "job-started": {
      const lastJob = { model: event.model, startedMs: atMs, endedMs: null, end: null };
      return { ...status, lastJob, models: countJob(status, event.model, { active: 1, jobs: 1 }, atMs) };
    }
    case "job-done":
    case "job-failed":
    case "job-cancelled": {
      const { model, type } = event;
      return {
        ...status,
        lastJob: { model, startedMs: atMs - event.ms, endedMs: atMs, end: JOB_ENDS[type] },
        elsewhere: status.elsewhere && NO_UNSERVED_REQUESTS,
        ...(type === "job-failed" && {
          lastFailure: { atMs, model, code: event.code, message: event.reason },
        }),
        models: countJob(status, model, { active: -1, jobs: 0 }, atMs),
      };
    }
    default:
      return status;
  }
}

function countJob(
  status: StatusFields,
  name: string,
  change: { active: number; jobs: number },
  atMs: number,
): StatusFields["models"] {
  return status.models.map((model) =>
    model.name === name
      ? {
          ...model,
          active: Math.max(0, model.active + change.active),
          jobs: model.jobs + change.jobs,
          lastJobMs: atMs,
        }
      : model,
  );
}
