import type { WorkerTokenRow } from "../../schema/db/workers.ts";

/** The worker tokens that one lane serves, in that lane's own SQLite: it decides, D1 is told (docs/spec/pool.md#shape, rule 4). */
export class TokenLedger {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.#sql.exec("CREATE TABLE IF NOT EXISTS worker_tokens (id TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID");
  }

  find(id: string): WorkerTokenRow | undefined {
    const [found] = this.#sql.exec<{ row: string }>("SELECT row FROM worker_tokens WHERE id = ?", id);
    return found ? (JSON.parse(found.row) as WorkerTokenRow) : undefined;
  }

  /** Call inside the `transactionSync` that also puts the row into the outbox. */
  save(token: WorkerTokenRow): void {
    this.#sql.exec(
      "INSERT INTO worker_tokens (id, row) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET row = ?2",
      token.id,
      JSON.stringify(token),
    );
  }
}
