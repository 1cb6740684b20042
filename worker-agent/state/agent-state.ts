import { join } from "node:path";
import type { AgentEvent } from "../events.ts";
import { Counters } from "../session/counters.ts";
import { AGENT_VERSION } from "../version.ts";
import { type AgentStatus, StatusFile } from "./status-file.ts";

export interface AgentIdentity {
  readonly stateDir: string;
  readonly poolUrl: string;
  /** Atom id that the token carries. */
  readonly pool: string;
  readonly worker: string;
}

/** What events tell; the counters count by themselves. */
type Story = Omit<AgentStatus, "updatedMs" | "counters">;

/** What `status.json` says, kept from the agent's events and counters. Every event passes here on its way to the log. */
export class AgentState {
  readonly counters: Counters;
  readonly #file: StatusFile;
  readonly #pass: (event: AgentEvent) => void;
  #story: Story;

  constructor(identity: AgentIdentity, onEvent: (event: AgentEvent) => void, onStatus?: (status: AgentStatus) => void) {
    this.#story = newStory(identity, Date.now());
    this.#pass = onEvent;
    this.counters = new Counters(() => this.#file.changed("numbers"));
    const snapshot = (): AgentStatus => {
      const status = { ...this.#story, updatedMs: Date.now(), counters: this.counters.values };
      onStatus?.(status);
      return status;
    };
    this.#file = new StatusFile(join(identity.stateDir, "status.json"), snapshot, (message) =>
      this.#pass({ type: "warning", message }),
    );
  }

  /** Passes the event on when `status.json` holds it. */
  readonly onEvent = (event: AgentEvent): void => {
    const story = after(this.#story, event, Date.now());
    const { state } = this.#story;
    if (story !== this.#story) {
      this.#story = story;
      this.#file.changed(story.state === state ? "event" : "state");
    }
    this.#file.afterwards(() => this.#pass(event));
  };

  /** Writes how the agent ended; every event has been passed on then. */
  async close({ code, message }: { code: string; message: string }): Promise<void> {
    this.#story = after(this.#story, { type: "stopped", code, message }, Date.now());
    await this.#file.close();
  }
}

/** The beginning: nothing is loaded, nobody connected. */
export function newStory({ poolUrl, pool, worker }: Omit<AgentIdentity, "stateDir">, atMs: number): Story {
  return {
    v: 1,
    pid: process.pid,
    agentVersion: AGENT_VERSION,
    state: "loading",
    ...NOT_CONNECTED,
    pool,
    poolUrl: withoutQuery(poolUrl),
    worker,
    models: [],
    startedMs: atMs,
    lastDisconnect: null,
    lastJob: null,
    lastFailure: null,
    lastRefusal: null,
    elsewhere: null,
    stopped: null,
  };
}

const NOT_CONNECTED = { connected: false, connectedSinceMs: null, nextAttemptMs: null } as const;

/** Pure: the story with one more event in it; the same object where the event changes nothing. */
export function after(story: Story, event: AgentEvent, atMs: number): Story {
  switch (event.type) {
    case "model": {
      const { name, slots, contextTokens } = event;
      // Told again when it is loaded anew: what it has done stays.
      const known = story.models.find((model) => model.name === name);
      const model = { active: 0, jobs: 0, lastJobMs: null, ...known, name, slots, contextTokens };
      if (known !== undefined) return { ...story, models: story.models.map((it) => (it === known ? model : it)) };
      return { ...story, models: [...story.models, model] };
    }
    case "connecting":
      return { ...story, state: "connecting", ...NOT_CONNECTED };
    case "connected":
      return {
        ...story,
        state: "connected",
        connected: true,
        connectedSinceMs: atMs,
        nextAttemptMs: null,
        elsewhere: event.tellsElsewhere ? NOBODY_ASKED : null,
      };
    case "jobs-elsewhere":
      return { ...story, elsewhere: { jobs: (story.elsewhere?.jobs ?? 0) + event.jobs, lastMs: atMs } };
    case "disconnected": {
      const lastDisconnect = { atMs, reason: event.reason };
      return { ...story, state: "connecting", ...NOT_CONNECTED, nextAttemptMs: atMs + event.retryInMs, lastDisconnect };
    }
    case "draining":
      return { ...story, state: "draining" };
    case "stopped":
      return { ...story, state: "stopped", ...NOT_CONNECTED, stopped: { code: event.code, message: event.message } };
    case "job-refused":
      return { ...story, lastRefusal: { atMs, model: event.model, message: event.message } };
    case "job-started": {
      const lastJob = { model: event.model, startedMs: atMs, endedMs: null, end: null };
      return { ...story, lastJob, models: counted(story, event.model, { active: 1, jobs: 1 }, atMs) };
    }
    case "job-done":
    case "job-failed":
    case "job-cancelled": {
      const { model, type } = event;
      const lastJob = { model, startedMs: atMs - event.ms, endedMs: atMs, end: JOB_ENDS[type] };
      const failure =
        type === "job-failed" ? { lastFailure: { atMs, model, code: event.code, message: event.reason } } : {};
      const elsewhere = story.elsewhere && NOBODY_ASKED;
      return {
        ...story,
        lastJob,
        elsewhere,
        ...failure,
        models: counted(story, event.model, { active: -1, jobs: 0 }, atMs),
      };
    }
    default:
      return story;
  }
}

const NOBODY_ASKED = { jobs: 0, lastMs: null } as const;

const JOB_ENDS = Object.freeze({ "job-done": "done", "job-failed": "failed", "job-cancelled": "cancelled" } as const);

function counted(story: Story, name: string, by: { active: number; jobs: number }, atMs: number): Story["models"] {
  return story.models.map((model) =>
    model.name === name
      ? { ...model, active: Math.max(0, model.active + by.active), jobs: model.jobs + by.jobs, lastJobMs: atMs }
      : model,
  );
}

/** What a person may have put behind a URL is nobody else's. */
function withoutQuery(poolUrl: string): string {
  return poolUrl.replace(/[?#].*$/s, "").replace(/\/+$/, "");
}
