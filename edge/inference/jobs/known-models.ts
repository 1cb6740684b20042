import { LIMITS } from "../../../schema/wire/limits.ts";

/**
 * The names of all models that workers ever offered to this lane, on disk. A known model that nobody serves now is
 * answered with 503, an unknown one with 404.
 */
export class KnownModels {
  readonly names: Set<string>;
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec("CREATE TABLE IF NOT EXISTS known_models (name TEXT PRIMARY KEY) WITHOUT ROWID");
    this.names = new Set(
      sql
        .exec<{ name: string }>("SELECT name FROM known_models")
        .toArray()
        .map(({ name }) => name),
    );
  }

  /**
   * Call inside a transaction. Names beyond `LIMITS.knownModelsPerLane` are not kept: their models are answered with
   * 404.
   */
  add(names: readonly string[]): void {
    const room = Math.max(0, LIMITS.knownModelsPerLane - this.names.size);
    for (const name of names.filter((each) => !this.names.has(each)).slice(0, room)) {
      this.names.add(name);
      this.#sql.exec("INSERT OR IGNORE INTO known_models (name) VALUES (?)", name);
    }
  }
}
