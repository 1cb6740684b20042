import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

export interface Migration {
  name: string;
  sql: string;
}

/** The migrations in the order of their names, as wrangler applies them too. */
export function readMigrations(folder: string): Migration[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map((name) => ({ name, sql: readFileSync(join(folder, name), "utf8") }));
}

/** The part of a D1 database that migrations need. */
export interface MigratedDatabase {
  prepare(sql: string): D1Statement;
  batch(statements: D1Statement[]): Promise<unknown>;
}
export interface D1Statement {
  bind(...values: unknown[]): D1Statement;
  all(): Promise<{ results: unknown[] }>;
}

/** The same table as `wrangler d1 migrations apply` makes, so that either tool can continue after the other. */
const CREATE_TABLE = `CREATE TABLE IF NOT EXISTS "d1_migrations"(
		id         INTEGER PRIMARY KEY AUTOINCREMENT,
		name       TEXT UNIQUE,
		applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
);`;

/**
 * Applies the migrations that are not in the table `d1_migrations`. Each is applied and recorded in one transaction.
 * Returns their names. Fails if tables exist but their migration is not recorded.
 */
export async function applyMigrations(db: MigratedDatabase, migrations: readonly Migration[]): Promise<string[]> {
  await db.prepare(CREATE_TABLE).all();
  const applied = new Set(
    (await db.prepare('SELECT name FROM "d1_migrations"').all()).results.map((row) =>
      typeof row === "object" && row !== null && "name" in row ? row.name : undefined,
    ),
  );
  const missing = migrations.filter((migration) => !applied.has(migration.name));
  for (const { name, sql } of missing) {
    // D1 runs a batch as one transaction.
    const statements = statementsOf(sql);
    const record = db.prepare('INSERT INTO "d1_migrations" (name) VALUES (?)').bind(name);
    try {
      await db.batch([...statements.map((statement) => db.prepare(statement)), record]);
    } catch (error) {
      throw new OperatorError(
        `Migration ${name} failed on D1 (${error instanceof Error ? error.message : String(error)}). No part of it was ` +
          "applied. Restore the state folder from a copy, or the pool from an export: docs/upgrading.md.",
      );
    }
  }
  return missing.map((migration) => migration.name);
}

/** The statements of a migration. drizzle-kit separates them with this mark. A handwritten migration must do so too. */
export function statementsOf(sql: string): string[] {
  return sql.split("--> statement-breakpoint").filter((statement) => statement.trim() !== "");
}
