import { join } from "node:path";
import type { AgentEvent } from "../events.ts";
import { Counters } from "../session/counters.ts";
import { AGENT_VERSION } from "../version.ts";
import { type AgentStatus, StatusFile } from "./status-file.ts";
import { NOT_CONNECTED, nextStatus, type StatusFields } from "./status-machine.ts";

export interface AgentIdentity {
  readonly stateDir: string;
  readonly poolUrl: string;
  /** The atom id that the token carries. */
  readonly pool: string;
  readonly worker: string;
}

/** Keeps `status.json` up to date from the agent's events and counters. Every event passes through here to the log. */
export class AgentState {
  readonly counters: Counters;
  readonly #file: StatusFile;
  readonly #forward: (event: AgentEvent) => void;
  #fields: StatusFields;

  constructor(identity: AgentIdentity, onEvent: (event: AgentEvent) => void, onStatus?: (status: AgentStatus) => void) {
    this.#fields = initialStatus(identity, Date.now());
    this.#forward = onEvent;
    this.counters = new Counters(() => this.#file.changed("numbers"));
    const snapshot = (): AgentStatus => {
      const status = { ...this.#fields, updatedMs: Date.now(), counters: this.counters.values };
      onStatus?.(status);
      return status;
    };
    this.#file = new StatusFile(join(identity.stateDir, "status.json"), snapshot, (message) =>
      this.#forward({ type: "warning", message }),
    );
  }

  /** Forwards the event once `status.json` contains it. */
  readonly onEvent = (event: AgentEvent): void => {
    const next = nextStatus(this.#fields, event, Date.now());
    if (next !== this.#fields) {
      const what = next.state === this.#fields.state ? "event" : "state";
      this.#fields = next;
      this.#file.changed(what);
    }
    this.#file.whenWritten(() => this.#forward(event));
  };

  /** Writes how the agent ended. All events have been forwarded when it resolves. */
  async close({ code, message }: { code: string; message: string }): Promise<void> {
    this.#fields = nextStatus(this.#fields, { type: "stopped", code, message }, Date.now());
    await this.#file.close();
  }
}

/** The status of an agent that has just started: it has loaded nothing and is not connected. */
export function initialStatus({ poolUrl, pool, worker }: Omit<AgentIdentity, "stateDir">, atMs: number): StatusFields {
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

/** The query and fragment of a URL may hold a secret, so they are not written down. */
function withoutQuery(poolUrl: string): string {
  return poolUrl.replace(/[?#].*$/s, "").replace(/\/+$/, "");
}
