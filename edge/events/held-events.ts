import { LIMITS } from "../../schema/wire/limits.ts";
import type { ReceivedEvent } from "./event-log-rpc.ts";

/** Persisted contract: a row of `held`. */
interface HeldRow extends Record<string, SqlStorageValue> {
  content_id: string;
  taken: string;
}

/**
 * Events whose time is too far ahead of the pool's clock. They are stored outside the log, and nobody can read them,
 * until the clock reaches their time (docs/spec/events.md#clock).
 */
export class HeldEvents {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS held (content_id TEXT PRIMARY KEY, due_us INTEGER NOT NULL, taken TEXT NOT NULL)
       WITHOUT ROWID`,
    );
    sql.exec("CREATE TABLE IF NOT EXISTS held_of (atom_id TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID");
  }

  add(event: ReceivedEvent, dueUs: number): void {
    this.#sql.exec(
      "INSERT INTO held (content_id, due_us, taken) VALUES (?, ?, ?)",
      event.wire.content_id,
      dueUs,
      JSON.stringify(event),
    );
    this.#sql.exec("INSERT INTO held_of VALUES (?, 1) ON CONFLICT (atom_id) DO UPDATE SET n = n + 1", event.from);
  }

  has(contentId: string): boolean {
    return this.#sql.exec("SELECT 1 FROM held WHERE content_id = ?", contentId).toArray().length > 0;
  }

  known(contentIds: readonly string[]): string[] {
    const among = "SELECT content_id FROM held WHERE content_id IN (SELECT value FROM json_each(?))";
    return [...this.#sql.exec<{ content_id: string }>(among, JSON.stringify(contentIds))].map((row) => row.content_id);
  }

  count(sender: string): { all: number; ofSender: number } {
    const counts =
      "SELECT coalesce(sum(n), 0) AS al, coalesce(sum(n) FILTER (WHERE atom_id = ?), 0) AS one FROM held_of";
    const { al: all, one: ofSender } = this.#sql.exec<{ al: number; one: number }>(counts, sender).one();
    return { all, ofSender };
  }

  /** When the first held event is due, in microseconds since the epoch; null if none is held. */
  dueUs(): number | null {
    return this.#sql.exec<{ due: number | null }>("SELECT min(due_us) AS due FROM held").one().due;
  }

  /** Removes and returns events that are due, the earliest first, at most as many as one commit takes. */
  removeDue(wallUs: number): ReceivedEvent[] {
    const due = "SELECT content_id, taken FROM held WHERE due_us <= ? ORDER BY due_us LIMIT ?";
    const rows = [...this.#sql.exec<HeldRow>(due, wallUs, LIMITS.eventsPerCommit)];
    const removed = rows.map((row) => JSON.parse(row.taken) as ReceivedEvent);
    for (const { wire, from } of removed) {
      this.#sql.exec("DELETE FROM held WHERE content_id = ?", wire.content_id);
      this.#sql.exec("UPDATE held_of SET n = n - 1 WHERE atom_id = ?", from);
    }
    // A count below 0 comes from an earlier release, which held events without counting them.
    this.#sql.exec("DELETE FROM held_of WHERE n <= 0");
    return removed;
  }
}
