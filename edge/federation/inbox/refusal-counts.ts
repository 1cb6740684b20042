import { draft } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { BondStore } from "../bond-store.ts";

/**
 * Counts the refused requests of one peer by code. Each code becomes one event in `LIMITS.adminRefusalsMs`, so that a peer
 * cannot fill the append-only log with refusals.
 */
export class RefusalCounts {
  readonly #sql: SqlStorage;
  readonly #store: BondStore;

  constructor(sql: SqlStorage, store: BondStore) {
    this.#sql = sql;
    this.#store = store;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS request_refusals (code TEXT PRIMARY KEY, count INTEGER NOT NULL, since_ms INTEGER NOT NULL)
        WITHOUT ROWID`,
    );
  }

  /** Call inside a transaction. */
  count(code: string, nowMs: number): void {
    this.#sql.exec(
      "INSERT INTO request_refusals VALUES (?, 1, ?) ON CONFLICT (code) DO UPDATE SET count = count + 1",
      code,
      nowMs,
    );
  }

  dueAtMs(): number | null {
    const first = "SELECT min(since_ms) AS at FROM request_refusals";
    const { at } = this.#sql.exec<{ at: number | null }>(first).one();
    return at === null ? null : at + LIMITS.adminRefusalsMs;
  }

  /** Writes the events that are due. */
  publish(nowMs: number): void {
    const peer = this.#store.peer?.atomId;
    const dueAtMs = this.dueAtMs();
    if (peer === undefined || dueAtMs === null || dueAtMs > nowMs) return;
    this.#store.transaction(() => {
      const due = this.#sql.exec<{ code: string; count: number; since_ms: number }>(
        "SELECT code, count, since_ms FROM request_refusals WHERE since_ms <= ?",
        nowMs - LIMITS.adminRefusalsMs,
      );
      for (const { code, count, since_ms } of due.toArray()) {
        this.#store.events.put(draft("requests_refused", { peer, code, count, since_ms }));
        this.#sql.exec("DELETE FROM request_refusals WHERE code = ?", code);
      }
    });
  }
}
