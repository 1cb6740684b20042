import type { Env } from "../env.ts";
import type { EventDraft } from "../events/event-log-object.ts";
import { EVENT_LOG } from "../http/pool-objects.ts";
import type { ServingWorker } from "../workers/worker-sockets.ts";
import { came, changes, nextChangeMs, type PresenceChange, type Presences, unsaid, went } from "./worker-presence.ts";

/** Persisted contract: a row of a lane's `worker_presence`, what the event log was last told. */
interface PresenceRow extends Record<string, SqlStorageValue> {
  worker_id: string;
  in_log: number;
  said_at_ms: number;
}

/** Tells the event log which workers come and go. No job waits for it; the rule is in `worker-presence.ts`. */
export class PresenceLog {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #all: Presences;

  constructor(ctx: DurableObjectState, env: Env) {
    this.#ctx = ctx;
    this.#env = env;
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
    return nextChangeMs(this.#all, nowMs);
  }

  /** Tells what is due. Nobody waits for the log's answer. */
  tell(nowMs: number): void {
    const told = changes(this.#all, nowMs);
    if (told.length === 0) return;
    this.#save(told);
    this.#ctx.waitUntil(this.#append(told));
  }

  async #append(told: PresenceChange[]): Promise<void> {
    try {
      await this.#env.EVENT_LOG.getByName(EVENT_LOG).append(told.map(draftOf));
    } catch (error) {
      for (const change of told) unsaid(this.#all, change);
      this.#save(told);
      const name = error instanceof Error ? error.name : "unknown";
      console.warn(JSON.stringify({ event: "presence-not-logged", workers: told.length, cause: name }));
    }
  }

  /** Those that have been forgotten meanwhile leave no row behind. */
  #save(told: PresenceChange[]): void {
    this.#ctx.storage.transactionSync(() => {
      this.#ctx.storage.sql.exec("DELETE FROM worker_presence WHERE in_log = 0");
      for (const { workerId } of told) {
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
  const models = change.type === "worker_joined" && { models: change.models };
  return { type: change.type, visibility: "peers", payload: { worker: change.workerId, ...models } };
}
