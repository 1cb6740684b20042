import { LIMITS } from "../../schema/wire/limits.ts";
import type { OutgoingMessage } from "./webhook-client.ts";

export interface QueuedMessage extends OutgoingMessage {
  /** Failed tries. */
  readonly tries: number;
}

/** Persisted contract: a message. Without a payload it has ended, and its id is kept so that a repeat is recognised. */
interface MessageRow extends Record<string, SqlStorageValue> {
  seq: number;
  id: string;
  payload: ArrayBuffer | null;
  tries: number;
  next_at_ms: number;
}

/** The messages that wait for the operator's webhook, in the SQLite of `Webhook`. Each one has its own retries. */
export class MessageQueue {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, payload BLOB,
        tries INTEGER NOT NULL, next_at_ms INTEGER NOT NULL)`,
    );
  }

  /** Queues a message, unless its id is known. Returns the ids of the oldest messages, which had to make room. */
  put({ id, payload }: OutgoingMessage, nowMs: number): string[] {
    const insert = "INSERT OR IGNORE INTO messages (id, payload, tries, next_at_ms) VALUES (?, ?, 0, ?)";
    this.#sql.exec(insert, id, payload, nowMs);
    const surplus = this.waiting() - LIMITS.webhooksKept;
    if (surplus <= 0) return [];
    const oldest = "SELECT id FROM messages WHERE payload IS NOT NULL ORDER BY seq LIMIT ?";
    const ids = [...this.#sql.exec<{ id: string }>(oldest, surplus)].map((row) => row.id);
    for (const each of ids) this.end(each);
    return ids;
  }

  waiting(): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM messages WHERE payload IS NOT NULL").one().n;
  }

  /** When the next try is due, epoch ms; null if nothing waits. */
  dueAtMs(): number | null {
    const next = "SELECT min(next_at_ms) AS due FROM messages WHERE payload IS NOT NULL";
    return this.#sql.exec<{ due: number | null }>(next).one().due;
  }

  /** The message that has been due for the longest time. */
  due(nowMs: number): QueuedMessage | null {
    const next =
      "SELECT * FROM messages WHERE payload IS NOT NULL AND next_at_ms <= ? ORDER BY next_at_ms, seq LIMIT 1";
    const [row] = this.#sql.exec<MessageRow>(next, nowMs);
    if (row === undefined || row.payload === null) return null;
    return { id: row.id, payload: new Uint8Array(row.payload), tries: row.tries };
  }

  retry(id: string, tries: number, nextAtMs: number): void {
    this.#sql.exec("UPDATE messages SET tries = ?, next_at_ms = ? WHERE id = ?", tries, nextAtMs, id);
  }

  /** Ends a message: it is delivered or given up. False: it had ended before. */
  end(id: string): boolean {
    const end = "UPDATE messages SET payload = NULL WHERE id = ? AND payload IS NOT NULL";
    const isEnded = this.#sql.exec(end, id).rowsWritten > 0;
    this.#sql.exec(
      `DELETE FROM messages WHERE payload IS NULL AND seq <=
        (SELECT seq FROM messages WHERE payload IS NULL ORDER BY seq DESC LIMIT 1 OFFSET ?)`,
      LIMITS.webhookIdsKept,
    );
    return isEnded;
  }

  /** What waits is due now, as if it had not been tried. */
  restart(nowMs: number): void {
    this.#sql.exec("UPDATE messages SET tries = 0, next_at_ms = ? WHERE payload IS NOT NULL", nowMs);
  }

  clear(): void {
    this.#sql.exec("DELETE FROM messages");
  }
}
