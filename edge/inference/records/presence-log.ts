import { draft, type EventDraft } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { EventOutbox } from "../../record/event-outbox.ts";
import type { ServingWorker } from "../../workers/worker-sockets.ts";
import { came, changes, nextChangeMs, type PresenceChange, type Presences, went } from "./worker-presence-rules.ts";

/** Persisted contract: a row of a lane's `worker_presence`, what the event log was last told. */
interface PresenceRow extends Record<string, SqlStorageValue> {
  worker_id: string;
  in_log: number;
  said_at_ms: number;
}

/** Tells the event log which workers come and go. No job waits for it; the rule is in `worker-presence-rules.ts`. */
export class PresenceLog {
  readonly #ctx: DurableObjectState;
  readonly #all: Presences;
  readonly #events: EventOutbox;

  constructor(ctx: DurableObjectState, env: Env) {
    this.#ctx = ctx;
    this.#events = new EventOutbox(ctx.storage, env, "presence_untold");
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS worker_presence (worker_id TEXT PRIMARY KEY, in_log INTEGER NOT NULL, said_at_ms INTEGER NOT NULL) WITHOUT ROWID",
    );
    const rows = ctx.storage.sql.exec<PresenceRow>("SELECT worker_id, in_log, said_at_ms FROM worker_presence");
    // Whoever is still here says so next (`came`); of the rest the log will be told that they left.
    this.#all = new Map(
      [...rows].map(({ worker_id, in_log, said_at_ms }) => [
        worker_id,
        { connections: new Set(), models: [], inLog: in_log === 1, saidAtMs: said_at_ms },
      ]),
    );
  }

  came({ workerId, connection, models }: ServingWorker): void {
    came(this.#all, { workerId, connection, models: models.map(({ name }) => name) });
  }

  went(connection: string): void {
    went(this.#all, connection);
  }

  dueAtMs(nowMs: number): number | null {
    const due = [nextChangeMs(this.#all, nowMs), this.#events.dueAtMs(nowMs)].filter((atMs) => atMs !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  /** Tells what is due, and what could not be told before. Nobody waits for the log's answer. */
  tell(nowMs: number): void {
    const told = changes(this.#all, nowMs);
    if (told.length > 0) {
      this.#save(told);
      // In the same turn, and so in the same commit: whatever ends us before the log has it, an alarm tells it.
      this.#ctx.waitUntil(this.#ctx.storage.setAlarm(nowMs + LIMITS.outboxRetryMinMs));
    }
    if (this.#events.pending() > 0) this.#ctx.waitUntil(this.#events.flush());
  }

  /** With what is to be said of it. Those that have been forgotten meanwhile leave no row behind. */
  #save(told: PresenceChange[]): void {
    this.#ctx.storage.transactionSync(() => {
      this.#ctx.storage.sql.exec("DELETE FROM worker_presence WHERE in_log = 0");
      for (const change of told) {
        const { workerId } = change;
        this.#events.put(draftOf(change));
        const presence = this.#all.get(workerId);
        if (!presence) continue;
        this.#ctx.storage.sql.exec(
          "INSERT INTO worker_presence (worker_id, in_log, said_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT (worker_id) DO UPDATE SET in_log = ?2, said_at_ms = ?3",
          workerId,
          presence.inLog ? 1 : 0,
          presence.saidAtMs,
        );
      }
    });
  }
}

/** Shown to peers at trust 3: nothing of a worker but its id and what it serves. */
function draftOf(change: PresenceChange): EventDraft {
  const { type, workerId: worker } = change;
  return type === "worker_joined" ? draft(type, { worker, models: change.models }) : draft(type, { worker });
}
