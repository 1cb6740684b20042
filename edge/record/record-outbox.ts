import { type Column, getTableColumns, getTableName } from "drizzle-orm";
import { RECORD_TABLES, type RecordRow, type RecordTableName } from "../../schema/db/record-tables.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { causeOf, FlushLoop } from "./flush-loop.ts";

/** Persisted contract: a row of an object's `outbox` table. */
interface OutboxRow extends Record<string, SqlStorageValue> {
  seq: number;
  table_name: string;
  row: string;
}

/** Rows of an object that D1 does not have. */
export interface HeldRecords {
  /** Rows that are not sent yet. */
  waiting: number;
  /** Rows that D1 refused for good. They are kept in the object. */
  refused: number;
}

/**
 * The only way for an object to write to D1 (docs/spec/pool.md#shape, rule 4). Call `put` inside the transaction that
 * decides, and `flush` afterwards. If a person waits for the record, await `flush`; otherwise arm the object's alarm
 * for `dueAtMs`. A flush sends rows in order and is idempotent by primary key. While D1 is unavailable, rows wait here.
 */
export class RecordOutbox {
  readonly #sql: SqlStorage;
  readonly #db: D1Database;
  readonly #loop = new FlushLoop("outbox-flush-failed", (sent) => this.#drain(sent));

  constructor(storage: DurableObjectStorage, db: D1Database) {
    this.#sql = storage.sql;
    this.#db = db;
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, table_name TEXT NOT NULL, row TEXT NOT NULL)",
    );
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS outbox_refused (seq INTEGER PRIMARY KEY, table_name TEXT NOT NULL, row TEXT NOT NULL)",
    );
  }

  /** Call inside the `transactionSync` of the decision that the row records. */
  put<Name extends RecordTableName>(table: Name, row: RecordRow<Name>): void {
    this.#sql.exec("INSERT INTO outbox (table_name, row) VALUES (?, ?)", table, JSON.stringify(row));
  }

  /** Deletes a row from D1, in order with the rows that are put before and after. */
  remove(table: RemovableTable, id: string): void {
    this.#sql.exec("INSERT INTO outbox (table_name, row) VALUES (?, ?)", `${table}${REMOVAL}`, JSON.stringify({ id }));
  }

  /** Call before the object's storage is deleted. */
  forget(): void {
    this.#loop.close();
  }

  pending(): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM outbox").one().n;
  }

  held(): HeldRecords {
    const refused = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM outbox_refused").one().n;
    return { waiting: this.pending(), refused };
  }

  /** When the next attempt is due (epoch ms), or null when nothing is pending. */
  dueAtMs(nowMs: number): number | null {
    return this.pending() === 0 ? null : this.#loop.retryAtMs(nowMs);
  }

  /**
   * Sends the rows. True: D1 has everything that was put before the call. False: D1 is unavailable, and a retry is due
   * later.
   */
  flush(): Promise<boolean> {
    return this.#loop.run();
  }

  async #drain(sent: () => void): Promise<void> {
    while (!this.#loop.isClosed) {
      const rows = this.#next();
      const last = rows.at(-1);
      if (!last) return;
      try {
        await this.#send(rows);
      } catch (error) {
        if (!isRowsFault(error)) throw error;
        await this.#sendSingly(rows);
      }
      sent();
      if (!this.#loop.isClosed) this.#sql.exec("DELETE FROM outbox WHERE seq <= ?", last.seq);
    }
  }

  /** The oldest rows that fit one batch: at least one, unless the outbox is empty. */
  #next(): OutboxRow[] {
    const rows: OutboxRow[] = [];
    let bytes = 0;
    const oldest = "SELECT seq, table_name, row FROM outbox ORDER BY seq LIMIT ?";
    for (const row of this.#sql.exec<OutboxRow>(oldest, LIMITS.outboxBatchRows)) {
      bytes += row.row.length;
      if (rows.length > 0 && bytes > LIMITS.outboxBatchChars) break;
      rows.push(row);
    }
    return rows;
  }

  /**
   * Sends rows one by one after a failed batch. A row that D1 refuses must not block the rows behind it: it is kept in
   * `outbox_refused`, and a log entry names it.
   */
  async #sendSingly(rows: OutboxRow[]): Promise<void> {
    for (const row of rows) {
      try {
        await this.#send([row]);
      } catch (error) {
        if (!isRowsFault(error)) throw error;
        this.#sql.exec(
          "INSERT OR REPLACE INTO outbox_refused (seq, table_name, row) VALUES (?, ?, ?)",
          row.seq,
          row.table_name,
          row.row,
        );
        const entry = { event: "outbox-row-refused", seq: row.seq, table: row.table_name, cause: causeOf(error) };
        console.error(JSON.stringify(entry));
      }
    }
  }

  /** Sends rows in one atomic batch: one statement for each run of rows of the same table. */
  async #send(rows: OutboxRow[]): Promise<void> {
    const runs: { table: string; rows: string[] }[] = [];
    for (const row of rows) {
      const run = runs.at(-1);
      if (run?.table === row.table_name) run.rows.push(row.row);
      else runs.push({ table: row.table_name, rows: [row.row] });
    }
    const statements = runs.map((run) => {
      const statement = Object.hasOwn(STATEMENTS, run.table) ? STATEMENTS[run.table] : undefined;
      if (statement === undefined) throw new UnknownTable();
      return this.#db.prepare(statement).bind(`[${run.rows.join(",")}]`);
    });
    await this.#db.batch(statements);
  }
}

/**
 * One statement for each table, which takes any number of rows as one JSON parameter. D1 limits parameters and statements,
 * not bytes, so a batch of a hundred rows costs little more than one row.
 */
const INSERTS = Object.fromEntries(
  Object.entries(RECORD_TABLES).map(([name, record]) => {
    const columns = Object.entries(getTableColumns(record.table));
    const names = columns.map(([, column]) => `"${column.name}"`);
    const fromJson = (column: Column) => {
      const property = columns.find(([, each]) => each.name === column.name)?.[0];
      return `value ->> '$.${property}'`;
    };
    const values = columns.map(([, column]) => fromJson(column));
    const insert = `INSERT INTO "${getTableName(record.table)}" (${names.join(", ")}) SELECT ${values.join(", ")} FROM json_each(?)`;
    const key = `"${record.primaryKey.name}"`;
    if (record.mode === "log") {
      // The table's triggers refuse a repeat, and they fire before `ON CONFLICT` is evaluated.
      const there = [record.primaryKey, record.sameBy].map((column) => `"${column.name}" = ${fromJson(column)}`);
      return [
        name,
        `${insert} WHERE NOT EXISTS (SELECT 1 FROM "${getTableName(record.table)}" WHERE ${there.join(" AND ")})`,
      ];
    }
    const update = names.filter((column) => column !== key).map((column) => `${column} = excluded.${column}`);
    const onConflict = record.mode === "once" ? "NOTHING" : `UPDATE SET ${update.join(", ")}`;
    // `WHERE true` tells SQLite's parser that ON CONFLICT is not a join's ON (lang_upsert, parsing ambiguity).
    return [name, `${insert} WHERE true ON CONFLICT (${key}) DO ${onConflict}`];
  }),
) as Record<RecordTableName, string>;

/** Tables from which an object may delete a row: none that records an admin's decision. */
type RemovableTable = "peers";

/** Persisted contract: the suffix of `table_name` in an outbox row that deletes a row from D1. */
const REMOVAL = "/removed";

const STATEMENTS: Record<string, string> = {
  ...INSERTS,
  [`peers${REMOVAL}`]: "DELETE FROM peers WHERE id IN (SELECT value ->> '$.id' FROM json_each(?))",
};

class UnknownTable extends Error {}

/** Whether the row is at fault, so that no retry can succeed. A missing table is not: the migration may still come. */
function isRowsFault(error: unknown): boolean {
  if (error instanceof UnknownTable) return true;
  return error instanceof Error && /constraint|SQLITE_MISMATCH|malformed JSON/i.test(error.message);
}
