import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Miniflare } from "miniflare";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { unstable_splitSqlQuery } from "wrangler";
import {
  applyMigrations,
  type MigratedDatabase,
  readMigrations,
  statementsOf,
} from "../../../scripts/runtime/migrations.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

let folder: string;
let miniflare: Miniflare;
let db: MigratedDatabase;
let next = 0;

beforeAll(() => {
  folder = temporaryFolder();
  const databases = Object.fromEntries(
    Array.from({ length: 5 }, (_, i) => [`DB${i}`, { type: "d1" as const, id: `db-${i}` }]),
  );
  miniflare = new Miniflare({
    enableDevRegistry: false,
    cf: false,
    workers: [
      {
        config: {
          name: "test",
          compatibilityDate: "2026-11-01",
          manifest: {
            mainModule: "main.js",
            modulesRoot: folder,
            modules: { "main.js": { type: "esm", contents: "export default {}" } },
          },
          env: databases,
        },
      },
    ],
  });
});
beforeEach(async () => {
  db = await miniflare.getD1Database(`DB${next++}`);
});
afterAll(async () => {
  await miniflare.dispose();
});

const names = async (sql: string) => (await db.prepare(sql).all()).results.map((row) => (row as { name: string }).name);
const FIRST = { name: "0000_a.sql", sql: "CREATE TABLE a (x);\n--> statement-breakpoint\nCREATE INDEX a_x ON a (x);" };
const SECOND = { name: "0001_b.sql", sql: "CREATE TABLE b (y);--> statement-breakpoint\nINSERT INTO a VALUES (1);" };

it("applies each migration once, in order, and records it as wrangler does", async () => {
  expect(await applyMigrations(db, [FIRST])).toEqual(["0000_a.sql"]);
  expect(await applyMigrations(db, [FIRST, SECOND])).toEqual(["0001_b.sql"]);
  expect(await applyMigrations(db, [FIRST, SECOND])).toEqual([]);
  expect(await names("SELECT name FROM d1_migrations ORDER BY id")).toEqual(["0000_a.sql", "0001_b.sql"]);
});

it("continues after the migrations that wrangler applied", async () => {
  await db
    .prepare(
      "CREATE TABLE d1_migrations(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
    )
    .all();
  await db.prepare("CREATE TABLE a (x)").all();
  await db.prepare("INSERT INTO d1_migrations (name) VALUES ('0000_a.sql')").all();
  expect(await applyMigrations(db, [FIRST, SECOND])).toEqual(["0001_b.sql"]);
});

it("a migration that fails half way changes nothing", async () => {
  const broken = {
    name: "0001_b.sql",
    sql: "CREATE TABLE b (y);--> statement-breakpoint\nINSERT INTO nowhere VALUES (1);",
  };
  await expect(applyMigrations(db, [FIRST, broken])).rejects.toThrow(
    /^Migration 0001_b\.sql failed on D1 \(.*no such table.*\)\. No part of it was applied\. Restore/,
  );
  expect(await names("SELECT name FROM d1_migrations")).toEqual(["0000_a.sql"]);
  expect(await names("SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('a', 'b')")).toEqual(["a"]);
});

it("reads only SQL files, ordered by name", () => {
  writeFileSync(join(folder, "0001_b.sql"), SECOND.sql);
  writeFileSync(join(folder, "0000_a.sql"), FIRST.sql);
  writeFileSync(join(folder, "_journal.json"), "{}");
  expect(readMigrations(folder)).toEqual([FIRST, SECOND]);
});

it("the pool's migrations have a breakpoint between every two statements", () => {
  const migrations = readMigrations(fileURLToPath(new URL("../../../schema/db/migrations", import.meta.url)));
  const statements = migrations.flatMap(({ sql }) => statementsOf(sql));
  expect(statements.filter((statement) => unstable_splitSqlQuery(statement).length !== 1)).toEqual([]);
});
