import { oneLine } from "./terminal-text.ts";

/** What an agent tells its owner while it runs; never a token, a key or a word of a prompt. */
export type AgentEvent =
  | { readonly type: "loading"; readonly step: string }
  /** Of a model file; many a second. */
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
      /** Null until the model is loaded, and where another server computes. */
      readonly threads: number | null;
      /** `cpu`, the GPU backend, or `upstream`. */
      readonly backend: string;
      /** False: it is loaded when a job asks for it. */
      readonly loaded: boolean;
    }
  | { readonly type: "connecting"; readonly url: string }
  /** `tellsElsewhere`: this pool says when others are asked. */
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
      /** A sentence; without the words of the request. */
      readonly reason: string;
    }
  | { readonly type: "job-cancelled"; readonly jobId: string; readonly model: string; readonly ms: number }
  /** A job that could not be taken: no such model, no free slot, or draining. */
  | {
      readonly type: "job-refused";
      readonly jobId: string;
      readonly model: string;
      readonly code: string;
      readonly message: string;
    }
  /** So many requests came, since this was last said, for models that this worker does not serve; every few seconds. */
  | { readonly type: "jobs-elsewhere"; readonly jobs: number }
  | { readonly type: "draining"; readonly leased: number }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "stopped"; readonly code: string; readonly message: string };

/** An event as a person reads it: one line, whatever a pool put into it. */
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
      return `Uses ${event.threads} thread${event.threads === 1 ? "" : "s"} (${how}: ${tried}).`;
    }
    case "model":
      return `Serves ${event.name}: ${event.slots} jobs at once, ${event.contextTokens} tokens each, on ${event.backend}.${event.loaded ? "" : " It is loaded when a job asks for it."}`;
    case "connecting":
      return `Connecting to ${event.url}`;
    case "connected":
      return `Connected to pool ${event.pool.slice(0, 12)}… as worker ${event.worker.slice(0, 12)}…`;
    case "disconnected":
      return `Disconnected: ${event.reason}. Tries again in ${(event.retryInMs / 1000).toFixed(1)} s.`;
    case "job-started":
      return `Job ${event.jobId} started (${event.model}).`;
    case "job-done":
      return `Job ${event.jobId} done: ${event.promptTokens} + ${event.completionTokens} tokens in ${event.ms} ms.`;
    case "job-failed":
      return `Job ${event.jobId} (${event.model}) failed: ${event.code}. ${event.reason}`;
    case "job-cancelled":
      return `Job ${event.jobId} cancelled after ${event.ms} ms.`;
    case "job-refused":
      return `Job ${event.jobId} (${event.model}) was not taken: ${event.message}`;
    case "jobs-elsewhere":
      return `${event.jobs} request${event.jobs === 1 ? "" : "s"} for other models.`;
    case "draining":
      return `Draining: ${event.leased} job${event.leased === 1 ? "" : "s"} to finish, no new ones.${event.leased > 0 ? " Asked again, it ends at once." : ""}`;
    case "warning":
      return `Warning: ${event.message}`;
    case "stopped":
      return event.message;
    default:
      return event satisfies never;
  }
}

export type Level = "debug" | "info" | "warn" | "error";

/** How much an event asks for its reader's eye. */
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

/** An event as a program reads it, documented in state/README.md: the event's own fields stand beside these four. */
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
