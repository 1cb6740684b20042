import { pluralize } from "./pluralize.ts";
import { oneLine } from "./terminal-text.ts";

/** The events of an agent, for its owner. No event contains a token, a key, or text of a prompt or an answer. */
export type AgentEvent =
  | { readonly type: "loading"; readonly step: string }
  /** Progress of a model file's download. Several events a second. */
  | { readonly type: "downloading"; readonly file: string; readonly bytes: number; readonly totalBytes: number }
  | {
      readonly type: "calibrated";
      readonly threads: number;
      readonly cached: boolean;
      readonly measurements: readonly { readonly threads: number; readonly tokensPerSecond: number }[];
    }
  | {
      readonly type: "model";
      readonly name: string;
      readonly sha256: string | null;
      readonly slots: number;
      readonly contextTokens: number;
      /** Null until the model is loaded, and for the models of another server. */
      readonly threads: number | null;
      /** `cpu`, the GPU backend, or `upstream`. */
      readonly backend: string;
      /** False: the model is loaded when the first job for it arrives. */
      readonly loaded: boolean;
    }
  | { readonly type: "connecting"; readonly url: string }
  /** `tellsElsewhere`: whether this pool reports requests for models that the worker does not serve. */
  | { readonly type: "connected"; readonly pool: string; readonly worker: string; readonly tellsElsewhere?: true }
  | { readonly type: "disconnected"; readonly reason: string; readonly retryInMs: number }
  | { readonly type: "job-started"; readonly jobId: string; readonly model: string }
  | {
      readonly type: "job-done";
      readonly jobId: string;
      readonly model: string;
      readonly ms: number;
      readonly promptTokens: number;
      readonly completionTokens: number;
    }
  | {
      readonly type: "job-failed";
      readonly jobId: string;
      readonly model: string;
      readonly ms: number;
      readonly code: string;
      /** A sentence. It contains no text of the request. */
      readonly reason: string;
    }
  | { readonly type: "job-cancelled"; readonly jobId: string; readonly model: string; readonly ms: number }
  /** The agent refused a job: it does not have the model, has no free slot, or is draining. */
  | {
      readonly type: "job-refused";
      readonly jobId: string;
      readonly model: string;
      readonly code: string;
      readonly message: string;
    }
  /** The number of requests for models that this worker does not serve, since the last such event. Every few seconds. */
  | { readonly type: "jobs-elsewhere"; readonly jobs: number }
  | { readonly type: "draining"; readonly leased: number }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "stopped"; readonly code: string; readonly message: string };

/** An event as one line for a person. Names and messages from the pool cannot break the line or control a terminal. */
export function formatEvent(event: AgentEvent): string {
  return oneLine(formatFields(event));
}

function formatFields(event: AgentEvent): string {
  switch (event.type) {
    case "loading":
      return `… ${event.step}`;
    case "downloading": {
      const percent = event.totalBytes > 0 ? Math.floor((100 * event.bytes) / event.totalBytes) : 0;
      return `Downloading ${event.file}: ${percent} % of ${(event.totalBytes / 1e6).toFixed(1)} MB.`;
    }
    case "calibrated": {
      const how = event.cached ? "measured before" : "measured now";
      const tried = event.measurements.map((it) => `${it.threads}: ${Math.round(it.tokensPerSecond)}/s`).join(", ");
      return `Uses ${pluralize(event.threads, "thread")} (${how}: ${tried}).`;
    }
    case "model":
      return `Serves ${event.name}: ${event.slots} jobs at once, ${event.contextTokens} tokens each, on ${event.backend}.${event.loaded ? "" : " It is loaded when a job needs it."}`;
    case "connecting":
      return `Connecting to ${event.url}`;
    case "connected":
      return `Connected to pool ${event.pool.slice(0, 12)}… as worker ${event.worker.slice(0, 12)}…`;
    case "disconnected":
      return `Disconnected: ${event.reason}. Next attempt in ${(event.retryInMs / 1000).toFixed(1)} s.`;
    case "job-started":
      return `Job ${event.jobId} started (${event.model}).`;
    case "job-done":
      return `Job ${event.jobId} done: ${event.promptTokens} + ${event.completionTokens} tokens in ${event.ms} ms.`;
    case "job-failed":
      return `Job ${event.jobId} (${event.model}) failed: ${event.code}. ${event.reason}`;
    case "job-cancelled":
      return `Job ${event.jobId} cancelled after ${event.ms} ms.`;
    case "job-refused":
      return `Refused job ${event.jobId} (${event.model}): ${event.message}`;
    case "jobs-elsewhere":
      return `${pluralize(event.jobs, "request")} for other models.`;
    case "draining":
      return `Draining: ${pluralize(event.leased, "job")} to finish, no new ones.${event.leased > 0 ? " A second stop signal ends it immediately." : ""}`;
    case "warning":
      return `Warning: ${event.message}`;
    case "stopped":
      return event.message;
    default:
      return event satisfies never;
  }
}

export type Level = "debug" | "info" | "warn" | "error";

/** The log level of an event. */
export function levelOf(event: AgentEvent): Level {
  switch (event.type) {
    case "job-started":
    case "job-done":
    case "job-cancelled":
    case "jobs-elsewhere":
      return "debug";
    case "disconnected":
    case "job-failed":
    case "job-refused":
    case "warning":
      return "warn";
    case "stopped":
      return event.code === "drained" ? "info" : "error";
    default:
      return "info";
  }
}

/** An event as a JSON log line: these four fields, and the event's own. state/README.md documents it. */
export function logRecord(event: AgentEvent, atMs: number): Readonly<Record<string, unknown>> {
  const { type, ...fields } = event;
  return {
    time: new Date(atMs).toISOString(),
    level: levelOf(event),
    event: type,
    ...fields,
    message: formatEvent(event),
  };
}
