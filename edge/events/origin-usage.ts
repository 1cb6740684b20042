import { hash } from "node:crypto";
import { fromHex } from "../../schema/crypto/bytes.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { OriginUse } from "./origin-quota-rules.ts";

/** Persisted contract: a row of `origins`. */
interface OriginRow extends Record<string, SqlStorageValue> {
  atom_id: string;
  events: number;
  bytes: number;
}

/**
 * Counts how much of the log each other pool fills, in the transaction that takes an event. A log from a release
 * without this count is counted once, a few rows at a time. Until that is done the count is too low, never too high.
 */
export class OriginUsage {
  readonly #sql: SqlStorage;

  /** Construct it after the ledger, whose table `log` it counts. */
  constructor(sql: SqlStorage) {
    this.#sql = sql;
    const isThere = sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'origins'").toArray().length > 0;
    if (isThere) return;
    sql.exec(
      `CREATE TABLE origins (atom_id TEXT PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID`,
    );
    sql.exec("CREATE TABLE uncounted (id INTEGER PRIMARY KEY CHECK (id = 0), after_seq INTEGER, last_seq INTEGER)");
    sql.exec("INSERT INTO uncounted SELECT 0, 0, max(seq) FROM log HAVING max(seq) IS NOT NULL");
  }

  add(atomId: string, bytes: number, events = 1): void {
    this.#sql.exec(
      `INSERT INTO origins VALUES (?, ?, ?)
       ON CONFLICT (atom_id) DO UPDATE SET events = events + excluded.events, bytes = bytes + excluded.bytes`,
      atomId,
      events,
      bytes,
    );
  }

  bytesOf(atomId: string): number {
    const [row] = this.#sql.exec<{ bytes: number }>("SELECT bytes FROM origins WHERE atom_id = ?", atomId).toArray();
    return row?.bytes ?? 0;
  }

  /** The origins that fill most of the log, the largest first. */
  largest(): OriginUse[] {
    const largest = "SELECT atom_id, events, bytes FROM origins ORDER BY bytes DESC, atom_id LIMIT ?";
    const rows = this.#sql.exec<OriginRow>(largest, LIMITS.originsShown).toArray();
    return rows.map(({ atom_id: atomId, events, bytes }) => ({ atomId, events, bytes }));
  }

  isCounting(): boolean {
    return this.#sql.exec("SELECT 1 FROM uncounted").toArray().length > 0;
  }

  /** Call inside a transaction. Counts the next rows of a log that a release without this count wrote. */
  countSome(self: string): void {
    const [left] = this.#sql.exec<{ after_seq: number; last_seq: number }>("SELECT * FROM uncounted").toArray();
    if (left === undefined) return;
    const until = Math.min(left.after_seq + LIMITS.originCountRows, left.last_seq);
    const byKey = this.#sql.exec<{ pubkey: string; n: number; bytes: number }>(
      `SELECT pubkey, count(*) AS n, sum(length(bytes)) AS bytes FROM log WHERE seq > ? AND seq <= ? GROUP BY pubkey`,
      left.after_seq,
      until,
    );
    for (const { pubkey, n, bytes } of byKey.toArray()) {
      // An atom id is the hash of the key.
      const atomId = hash("sha256", fromHex(pubkey) ?? new Uint8Array(), "hex");
      if (atomId !== self) this.add(atomId, bytes + n * LIMITS.eventRowBytes, n);
    }
    if (until === left.last_seq) this.#sql.exec("DELETE FROM uncounted");
    else this.#sql.exec("UPDATE uncounted SET after_seq = ?", until);
  }
}
