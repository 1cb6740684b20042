/**
 * Decides when the event log gets `worker_joined` and `worker_left` (docs/spec/events.md#events): at most one event a
 * minute for each worker, and always an event for the final status. So an unstable connection does not fill the log,
 * and the log does not show a worker as connected after it has left.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** The status of one worker, and the status that the log has. */
export interface Presence {
  /**
   * Open connections of the worker. There are two for a moment when a worker reconnects before its old connection is
   * known to be dead.
   */
  connections: Set<string>;
  models: string[];
  /** Whether the log says that the worker is connected. */
  inLog: boolean;
  /** When the log last got an event about this worker; null: never. */
  publishedAtMs: number | null;
}

export type Presences = Map<string, Presence>;

export type PresenceChange =
  | { type: "worker_joined"; workerId: string; models: string[] }
  | { type: "worker_left"; workerId: string };

/** Records a connection of a worker, with the models that it serves now. */
export function connected(all: Presences, worker: { workerId: string; connection: string; models: string[] }): void {
  const known = all.get(worker.workerId) ?? { connections: new Set(), models: [], inLog: false, publishedAtMs: null };
  known.connections.add(worker.connection);
  known.models = worker.models;
  all.set(worker.workerId, known);
}

/** Records that a connection has closed. */
export function disconnected(all: Presences, connection: string): void {
  for (const presence of all.values()) presence.connections.delete(connection);
}

/** The events that are due now. They count as published. */
export function takeChanges(all: Presences, nowMs: number): PresenceChange[] {
  const due: PresenceChange[] = [];
  for (const [workerId, presence] of all) {
    if (dueMs(presence, nowMs) > nowMs) continue;
    const isConnected = presence.connections.size > 0;
    if (isConnected !== presence.inLog) {
      due.push(
        isConnected ? { type: "worker_joined", workerId, models: presence.models } : { type: "worker_left", workerId },
      );
      presence.inLog = isConnected;
      presence.publishedAtMs = nowMs;
    } else if (!isConnected) {
      all.delete(workerId);
    }
  }
  return due;
}

/** When the next event is due, epoch ms; null when the log has every worker's status. */
export function nextChangeMs(all: Presences, nowMs: number): number | null {
  let nextMs: number | null = null;
  for (const presence of all.values()) {
    if (presence.connections.size > 0 === presence.inLog) continue;
    const due = dueMs(presence, nowMs);
    if (nextMs === null || due < nextMs) nextMs = due;
  }
  return nextMs;
}

/** Epoch ms of the next event. Uses the absolute difference, so that a backward clock step cannot delay an event. */
function dueMs({ publishedAtMs }: Presence, nowMs: number): number {
  const isDue = publishedAtMs === null || Math.abs(nowMs - publishedAtMs) >= LIMITS.presenceMs;
  return isDue ? nowMs : publishedAtMs + LIMITS.presenceMs;
}
