import type { WorkerBanRow } from "../../../schema/db/workers.ts";
import { draft, type EventPayload } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { ErasableText } from "../../record/erasable-text.ts";
import type { EventOutbox } from "../../record/event-outbox.ts";
import type { RecordOutbox } from "../../record/record-outbox.ts";
import { type HealthChange, healthKey, type WorkerHealth } from "../jobs/lane-health-rules.ts";
import type { ResetAnswer, ResetCause } from "../lane-rpc.ts";

interface Actor {
  readonly name: string;
  readonly tokenId: string;
}

/**
 * Stores circuits, qualities and bans in the lane's SQLite, each change together with its event. The lane reads them when it
 * wakes.
 */
export class WorkerHealthStore {
  readonly #storage: DurableObjectStorage;
  readonly #events: EventOutbox;
  readonly #records: RecordOutbox;
  /** Called after each commit, in the same turn. It arms the alarm and sends the events. */
  readonly #committed: () => void;
  /** Ids of banned workers. The machines read this very set. */
  readonly banned: Set<string>;

  constructor(storage: DurableObjectStorage, events: EventOutbox, records: RecordOutbox, committed: () => void) {
    this.#storage = storage;
    this.#events = events;
    this.#records = records;
    this.#committed = committed;
    const { sql } = storage;
    sql.exec("CREATE TABLE IF NOT EXISTS worker_health (key TEXT PRIMARY KEY, health TEXT NOT NULL) WITHOUT ROWID");
    sql.exec("CREATE TABLE IF NOT EXISTS worker_bans (worker_id TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID");
    sql.exec(
      "CREATE TABLE IF NOT EXISTS effects (id TEXT PRIMARY KEY, answer TEXT NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID",
    );
    this.banned = new Set(this.#bans().flatMap((row) => (row.pardonedAtMs === null ? [row.workerId] : [])));
  }

  /** What was stored. A probe that ran when the object died is over. */
  load(): WorkerHealth[] {
    const rows = this.#storage.sql.exec<{ health: string }>("SELECT health FROM worker_health").toArray();
    return rows.map(({ health }) => {
      const stored = JSON.parse(health) as WorkerHealth;
      return { ...stored, circuit: { ...stored.circuit, probeJob: null } };
    });
  }

  save(changes: readonly HealthChange[]): void {
    this.#storage.transactionSync(() => {
      for (const { health, change } of changes) {
        const key = healthKey(health.workerId, health.model);
        this.#storage.sql.exec(
          "INSERT INTO worker_health VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET health = ?2",
          key,
          JSON.stringify(health),
        );
        if (change !== null) {
          const type = change === "opened" ? "circuit_opened" : "circuit_closed";
          this.#events.put(draft(type, { worker: health.workerId, model: health.model }));
        }
      }
      const kept = LIMITS.workerHealthKept;
      this.#storage.sql.exec(
        "DELETE FROM worker_health WHERE key IN (SELECT key FROM worker_health ORDER BY json_extract(health, '$.quality.atMs') DESC LIMIT -1 OFFSET ?)",
        kept,
      );
    });
    if (changes.some(({ change }) => change !== null)) this.#committed();
  }

  /** What an earlier call for the same request answered; null: there was none. */
  earlier(cause: ResetCause): ResetAnswer | null {
    const id = effectId(cause);
    if (id === null) return null;
    const found = this.#storage.sql
      .exec<{ answer: string }>("SELECT answer FROM effects WHERE id = ?", id)
      .toArray()[0];
    return found === undefined ? null : (JSON.parse(found.answer) as ResetAnswer);
  }

  /** Records the reset with its request in one transaction, so that the same request resets nothing again. */
  reset(worker: string | null, entries: readonly WorkerHealth[], cause: ResetCause): ResetAnswer {
    const nowMs = Date.now();
    const open = entries.filter(({ circuit }) => circuit.openedAtMs !== null);
    const answer = { circuits: open.length, scores: entries.length };
    const id = effectId(cause);
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => {
      for (const { workerId, model } of entries) {
        sql.exec("DELETE FROM worker_health WHERE key = ?", healthKey(workerId, model));
      }
      for (const { workerId, model } of open) this.#events.put(draft("circuit_closed", { worker: workerId, model }));
      this.#events.put(draft("circuits_reset", { worker, ...causeOf(cause), ...answer }));
      if (id === null) return;
      sql.exec("INSERT INTO effects VALUES (?, ?, ?)", id, JSON.stringify(answer), nowMs);
      sql.exec("DELETE FROM effects WHERE at_ms < ?", nowMs - LIMITS.effectsKeptMs);
    });
    this.#committed();
    return answer;
  }

  /** False: the lane has the maximum number of bans. */
  ban(workerId: string, note: ErasableText | null, by: Actor): boolean {
    if (this.banned.has(workerId)) return true;
    if (this.banned.size >= LIMITS.workerBans) return false;
    const row: WorkerBanRow = {
      workerId,
      bannedBy: by.name,
      bannedAtMs: Date.now(),
      note: note?.text ?? null,
      noteSalt: note?.salt ?? null,
      pardonedBy: null,
      pardonedAtMs: null,
    };
    this.#putBan(row, draft("worker_banned", { worker: workerId, by: by.tokenId, note_hash: note?.hash ?? null }));
    this.banned.add(workerId);
    return true;
  }

  /** Ends a ban. Erases its note too, which has no more use. */
  pardon(workerId: string, by: Actor): boolean {
    const row = this.#bans().find((ban) => ban.workerId === workerId && ban.pardonedAtMs === null);
    if (row === undefined) return false;
    const pardoned = { ...row, note: null, noteSalt: null, pardonedBy: by.name, pardonedAtMs: Date.now() };
    this.#putBan(pardoned, draft("worker_pardoned", { worker: workerId, by: by.tokenId }));
    this.banned.delete(workerId);
    return true;
  }

  /** The bans that are in force, the newest first. */
  bans(): WorkerBanRow[] {
    const inForce = this.#bans().filter(({ pardonedAtMs }) => pardonedAtMs === null);
    return inForce.sort((a, b) => b.bannedAtMs - a.bannedAtMs);
  }

  #putBan(row: WorkerBanRow, event: Parameters<EventOutbox["put"]>[0]): void {
    this.#storage.transactionSync(() => {
      this.#storage.sql.exec(
        "INSERT INTO worker_bans VALUES (?1, ?2) ON CONFLICT (worker_id) DO UPDATE SET row = ?2",
        row.workerId,
        JSON.stringify(row),
      );
      this.#records.put("worker_bans", row);
      this.#events.put(event);
    });
    this.#committed();
  }

  #bans(): WorkerBanRow[] {
    const rows = this.#storage.sql.exec<{ row: string }>("SELECT row FROM worker_bans").toArray();
    return rows.map(({ row }) => JSON.parse(row) as WorkerBanRow);
  }
}

/** Null: an admin of this pool may reset as often as they like. */
function effectId(cause: ResetCause): string | null {
  return "peer" in cause ? `circuit_reset ${cause.peer} ${cause.requestId}` : null;
}

function causeOf(cause: ResetCause): Pick<EventPayload<"circuits_reset">, "by" | "request"> {
  if ("by" in cause) return { by: cause.by, request: null };
  return { by: null, request: { peer: cause.peer, request_id: cause.requestId } };
}
