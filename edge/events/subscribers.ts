/** The peers whose bonds get notified of new events: peers that an admin trusts at level 2 or more. */
export class Subscribers {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec("CREATE TABLE IF NOT EXISTS told (atom_id TEXT PRIMARY KEY) WITHOUT ROWID");
  }

  set(atomId: string, isSubscribed: boolean): void {
    const change = isSubscribed ? "INSERT OR IGNORE INTO told VALUES (?)" : "DELETE FROM told WHERE atom_id = ?";
    this.#sql.exec(change, atomId);
  }

  all(): string[] {
    return [...this.#sql.exec<{ atom_id: string }>("SELECT atom_id FROM told")].map((row) => row.atom_id);
  }
}
