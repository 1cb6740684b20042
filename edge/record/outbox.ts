import { type Column, getTableColumns, getTableName } from "drizzle-orm";
import { RECORD_TABLES, type RecordRow, type RecordTableName } from "../../schema/db/record-tables.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** Persisted contract: a row of an object's `outbox` table. */
interface OutboxRow extends Record<string, SqlStorageValue> {
  seq: number;
  table_name: string;
  row: string;
}

export interface HeldRecords {
  waiting: number;
  refused: number;
}

/**
 * The one way from an object to D1 (docs/spec/pool.md#shape, rule 4): `put` inside the transaction that decides, then `flush` where a
 * person waits for the record, or `dueAtMs` with the object's alarm or a timer where nobody does. Flushing is
 * idempotent by primary key and in order; while D1 is away rows wait here.
 */
export class Outbox {
  readonly #sql: SqlStorage;
  readonly #db: D1Database;
  #flushing: Promise<boolean> | null = null;
  #isForgotten = false;
  #failures = 0;
  #retryAtMs: number | null = null;

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

  /** The same for a row that the record is to forget: in its place among those that were put before and come after. */
  remove(table: RemovableTable, id: string): void {
    this.#sql.exec("INSERT INTO outbox (table_name, row) VALUES (?, ?)", `${table}${REMOVAL}`, JSON.stringify({ id }));
  }

  /** Before the storage is emptied: nothing is read or written any more. */
  forget(): void {
    this.#isForgotten = true;
  }

  pending(): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM outbox").one().n;
  }

  /** For whoever looks after the pool: what waits for D1, and what D1 will never take. */
  held(): HeldRecords {
    const refused = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM outbox_refused").one().n;
    return { waiting: this.pending(), refused };
  }

  /** When the next try is due (epoch ms), or null when nothing waits. */
  dueAtMs(nowMs: number): number | null {
    if (this.pending() === 0) return null;
    return this.#retryAtMs ?? nowMs + LIMITS.outboxRetryMinMs;
  }

  /** Sends everything that was put before the call. True when D1 has it all; false when it has to be tried again. */
  async flush(): Promise<boolean> {
    // A flush under way may have read its rows before the caller's were put: wait for it, then look again.
    if (this.#flushing) await this.#flushing;
    this.#flushing ??= this.#drain().finally(() => {
      this.#flushing = null;
    });
    return this.#flushing;
  }

  async #drain(): Promise<boolean> {
    while (!this.#isForgotten) {
      const rows = this.#next();
      const last = rows.at(-1);
      if (!last) return true;
      try {
        await this.#send(rows);
      } catch (error) {
        if (!isRowsFault(error)) return this.#tryAgainLater(error);
        // A row at fault must not hold up those behind it.
        if (!(await this.#sendSingly(rows))) return false;
      }
      this.#failures = 0;
      this.#retryAtMs = null;
      if (!this.#isForgotten) this.#sql.exec("DELETE FROM outbox WHERE seq <= ?", last.seq);
    }
    return true;
  }

  /** As many of the oldest rows as make one batch; at least one, if there is one. */
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

  #tryAgainLater(error: unknown): false {
    this.#failures += 1;
    const backoffMs = Math.min(LIMITS.outboxRetryMaxMs, LIMITS.outboxRetryMinMs * 2 ** (this.#failures - 1));
    this.#retryAtMs = Date.now() + backoffMs;
    const event = { event: "outbox-flush-failed", failures: this.#failures, backoffMs, cause: cause(error) };
    console.warn(JSON.stringify(event));
    return false;
  }

  /** Nothing is lost silently: a row that D1 will never take is kept beside the outbox, and said. */
  async #sendSingly(rows: OutboxRow[]): Promise<boolean> {
    for (const row of rows) {
      try {
        await this.#send([row]);
      } catch (error) {
        if (!isRowsFault(error)) return this.#tryAgainLater(error);
        this.#sql.exec(
          "INSERT OR REPLACE INTO outbox_refused (seq, table_name, row) VALUES (?, ?, ?)",
          row.seq,
          row.table_name,
          row.row,
        );
        const event = { event: "outbox-row-refused", seq: row.seq, table: row.table_name, cause: cause(error) };
        console.error(JSON.stringify(event));
      }
    }
    return true;
  }

  /** One statement for each run of rows of one table, all of them in one atomic batch. */
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
 * A statement a table that takes any number of rows as one JSON parameter: D1 counts parameters and statements, not
 * bytes, so that a batch of a hundred rows costs little more than one. Columns come from the drizzle tables.
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
      // Triggers fire before a conflict is looked for, so that `ON CONFLICT` would not keep a repeat from them.
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

/** What the record may be told to forget: nothing that anybody decided. */
type RemovableTable = "peers";

/** Persisted contract: how the table of an outbox row ends that removes a row from D1. */
const REMOVAL = "/removed";

const STATEMENTS: Record<string, string> = {
  ...INSERTS,
  [`peers${REMOVAL}`]: "DELETE FROM peers WHERE id IN (SELECT value ->> '$.id' FROM json_each(?))",
};

class UnknownTable extends Error {}

/** Only what no later try can mend. A table that is not there yet, before a migration, is worth waiting for. */
function isRowsFault(error: unknown): boolean {
  if (error instanceof UnknownTable) return true;
  return error instanceof Error && /constraint|SQLITE_MISMATCH|malformed JSON/i.test(error.message);
}

/** The error's own first line, never its query or parameters. */
function cause(error: unknown): string {
  const text = error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.name) : "unknown";
  return text.slice(0, 200);
}
