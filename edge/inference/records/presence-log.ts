import { draft, type EventDraft } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import type { DueTimes } from "../../limits/due-times.ts";
import { EventOutbox } from "../../record/event-outbox.ts";
import type { ServingWorker } from "../../workers/serving-worker.ts";
import {
  connected,
  disconnected,
  nextChangeMs,
  type PresenceChange,
  type Presences,
  takeChanges,
} from "./worker-presence-rules.ts";

/** Persisted contract: a row of a lane's `worker_presence`, with the status of the worker that the event log has. */
interface PresenceRow extends Record<string, SqlStorageValue> {
  worker_id: string;
  in_log: number;
  said_at_ms: number;
}

/** Publishes to the event log which workers connect and disconnect, by `worker-presence-rules.ts`. No job waits for it. */
export class PresenceLog {
  readonly #ctx: DurableObjectState;
  readonly #due: Pick<DueTimes, "by">;
  readonly #all: Presences;
  readonly #events: EventOutbox;

  /** @param due the due times of the lane, which share its one alarm */
  constructor(ctx: DurableObjectState, env: Env, due: Pick<DueTimes, "by">) {
    this.#ctx = ctx;
    this.#due = due;
    this.#events = new EventOutbox(ctx.storage, env, "presence_untold");
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS worker_presence (worker_id TEXT PRIMARY KEY, in_log INTEGER NOT NULL, said_at_ms INTEGER NOT NULL) WITHOUT ROWID",
    );
    const rows = ctx.storage.sql.exec<PresenceRow>("SELECT worker_id, in_log, said_at_ms FROM worker_presence");
    // Next the lane calls `connected` for each worker whose socket is still open. The log gets `worker_left` for the
    // others.
    this.#all = new Map(
      [...rows].map(({ worker_id, in_log, said_at_ms }) => [
        worker_id,
        { connections: new Set(), models: [], inLog: in_log === 1, publishedAtMs: said_at_ms },
      ]),
    );
  }

  connected({ workerId, connection, models }: ServingWorker): void {
    connected(this.#all, { workerId, connection, models: models.map(({ name }) => name) });
  }

  disconnected(connection: string): void {
    disconnected(this.#all, connection);
  }

  dueAtMs(nowMs: number): number | null {
    const due = [nextChangeMs(this.#all, nowMs), this.#events.dueAtMs(nowMs)].filter((atMs) => atMs !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  /** Publishes the events that are due now, and earlier ones that are still pending. */
  publish(nowMs: number): void {
    const due = takeChanges(this.#all, nowMs);
    if (due.length > 0) {
      this.#save(due);
      // Arm in the same turn, so that the alarm is part of the commit: if the object dies before the log has the
      // events, the alarm retries.
      this.#ctx.waitUntil(this.#due.by(nowMs + LIMITS.outboxRetryMinMs));
    }
    if (this.#events.pending() > 0) this.#ctx.waitUntil(this.#events.flush());
  }

  /** Stores the new status and its events in one transaction. Rows of workers that have left are deleted. */
  #save(due: PresenceChange[]): void {
    this.#ctx.storage.transactionSync(() => {
      this.#ctx.storage.sql.exec("DELETE FROM worker_presence WHERE in_log = 0");
      for (const change of due) {
        const { workerId } = change;
        this.#events.put(draftOf(change));
        const presence = this.#all.get(workerId);
        if (!presence) continue;
        this.#ctx.storage.sql.exec(
          "INSERT INTO worker_presence (worker_id, in_log, said_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT (worker_id) DO UPDATE SET in_log = ?2, said_at_ms = ?3",
          workerId,
          presence.inLog ? 1 : 0,
          presence.publishedAtMs,
        );
      }
    });
  }
}

/** Peers at trust 3 see these events. They hold only the worker's id and the models that it serves. */
function draftOf(change: PresenceChange): EventDraft {
  const { type, workerId: worker } = change;
  return type === "worker_joined" ? draft(type, { worker, models: change.models }) : draft(type, { worker });
}
