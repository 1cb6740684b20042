import { LIMITS } from "../../../schema/wire/limits.ts";

/** What the event log has been told of one worker, beside what is so. */
export interface Presence {
  /** Its sockets that serve: two for a moment, when it comes back before the old one is known to be gone. */
  connections: Set<string>;
  models: string[];
  /** Whether the log says that it is here. */
  inLog: boolean;
  /** When the log was last told of it; null: never. */
  saidAtMs: number | null;
}

export type Presences = Map<string, Presence>;

export type PresenceChange =
  | { type: "worker_joined"; workerId: string; models: string[] }
  | { type: "worker_left"; workerId: string };

/** Pure: a worker serves on this connection. */
export function came(all: Presences, worker: { workerId: string; connection: string; models: string[] }): void {
  const known = all.get(worker.workerId) ?? { connections: new Set(), models: [], inLog: false, saidAtMs: null };
  known.connections.add(worker.connection);
  known.models = worker.models;
  all.set(worker.workerId, known);
}

/** A connection is gone, whosever it was. */
export function went(all: Presences, connection: string): void {
  for (const presence of all.values()) presence.connections.delete(connection);
}

/**
 * What the log is to be told now: once a minute for a worker at most (docs/spec/events.md#events), and always how it ended, so that a
 * worker whose line flaps neither fills the log nor stays in it when it is gone. Counts as said.
 */
export function changes(all: Presences, nowMs: number): PresenceChange[] {
  const said: PresenceChange[] = [];
  for (const [workerId, presence] of all) {
    if (dueMs(presence, nowMs) > nowMs) continue;
    const here = presence.connections.size > 0;
    if (here !== presence.inLog) {
      said.push(
        here ? { type: "worker_joined", workerId, models: presence.models } : { type: "worker_left", workerId },
      );
      presence.inLog = here;
      presence.saidAtMs = nowMs;
    } else if (!here) {
      all.delete(workerId);
    }
  }
  return said;
}

/** When the log is to be told next, epoch ms; null when it says what is so. */
export function nextChangeMs(all: Presences, nowMs: number): number | null {
  let nextMs: number | null = null;
  for (const presence of all.values()) {
    if (presence.connections.size > 0 === presence.inLog) continue;
    const due = dueMs(presence, nowMs);
    if (nextMs === null || due < nextMs) nextMs = due;
  }
  return nextMs;
}

/** By distance: a wall clock that steps back must not put it off. */
function dueMs({ saidAtMs }: Presence, nowMs: number): number {
  const quiet = saidAtMs === null || Math.abs(nowMs - saidAtMs) >= LIMITS.presenceMs;
  return quiet ? nowMs : saidAtMs + LIMITS.presenceMs;
}
