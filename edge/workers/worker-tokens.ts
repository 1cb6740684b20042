import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import type { RecordOutbox } from "../record/record-outbox.ts";
import { sameRow } from "../record/same-row.ts";

/**
 * The worker tokens of one lane, in that lane's own SQLite. The lane decides by these rows; D1 gets a copy of each
 * through the outbox, in the same transaction (docs/spec/pool.md#shape, rule 4).
 */
export class WorkerTokens {
  readonly #storage: DurableObjectStorage;
  readonly #outbox: RecordOutbox;

  constructor(storage: DurableObjectStorage, outbox: RecordOutbox) {
    this.#storage = storage;
    this.#outbox = outbox;
    storage.sql.exec("CREATE TABLE IF NOT EXISTS worker_tokens (id TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID");
  }

  find(id: string): WorkerTokenRow | undefined {
    const [found] = this.#storage.sql.exec<{ row: string }>("SELECT row FROM worker_tokens WHERE id = ?", id);
    return found ? (JSON.parse(found.row) as WorkerTokenRow) : undefined;
  }

  /** Call inside a transaction. */
  save(token: WorkerTokenRow): void {
    this.#storage.sql.exec(
      "INSERT INTO worker_tokens (id, row) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET row = ?2",
      token.id,
      JSON.stringify(token),
    );
    this.#outbox.put("worker_tokens", token);
  }

  add(tokens: readonly WorkerTokenRow[]): void {
    this.#storage.transactionSync(() => {
      for (const token of tokens) this.save(token);
    });
  }

  /** Adds exported tokens. If one of them exists here with other content, adds nothing and returns false. */
  restore(tokens: readonly WorkerTokenRow[]): boolean {
    if (tokens.some((token) => !sameRow(this.find(token.id) ?? token, token))) return false;
    this.add(tokens);
    return true;
  }

  /** Revokes a token. Returns the time of the first revocation, epoch ms; null if there is no such token. */
  revoke(id: string, by: string, nowMs: number): number | null {
    const token = this.find(id);
    if (!token) return null;
    if (token.revokedAtMs !== null) return token.revokedAtMs;
    this.add([{ ...token, revokedBy: by, revokedAtMs: nowMs }]);
    return nowMs;
  }
}
