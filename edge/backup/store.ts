import { and, asc, gt, lte, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { adminTokens } from "../../schema/db/admin-tokens.ts";
import { clientKeys } from "../../schema/db/client-keys.ts";
import { type EventRow, events } from "../../schema/db/events.ts";
import { metering } from "../../schema/db/metering.ts";
import { peers } from "../../schema/db/peers.ts";
import { workers, workerTokens } from "../../schema/db/workers.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { eventsAfter } from "../events/store.ts";

const rowid = sql<number>`rowid`;

/** One consistent view, because a batch is a transaction. Metering is append-only: its rows up to `until` never change. */
export async function exportedTables(d1: D1Database) {
  const db = drizzle(d1);
  const [admins, keys, tokens, machines, pools, [counted], [logged]] = await db.batch([
    db.select().from(adminTokens).orderBy(adminTokens.id),
    db.select().from(clientKeys).orderBy(clientKeys.id),
    db.select().from(workerTokens).orderBy(workerTokens.id),
    db.select().from(workers).orderBy(workers.id),
    db.select().from(peers).orderBy(peers.id),
    db.select({ until: sql<number>`coalesce(max(rowid), 0)`, rows: sql<number>`count(*)` }).from(metering),
    db.select({ until: sql<number>`coalesce(max(${events.seq}), 0)`, rows: sql<number>`count(*)` }).from(events),
  ]);
  return {
    tables: { admin_tokens: admins, client_keys: keys, worker_tokens: tokens, workers: machines, peers: pools },
    metering: counted ?? { until: 0, rows: 0 },
    events: logged ?? { until: 0, rows: 0 },
  };
}

/** The rows after this rowid. `next`: the `after` of the next page; null at the end. */
export async function meteringPage(d1: D1Database, after: number, until: number) {
  const found = await drizzle(d1)
    .select({ rowid, row: metering })
    .from(metering)
    .where(and(gt(rowid, after), lte(rowid, until)))
    .orderBy(asc(rowid))
    .limit(LIMITS.backupPageRows);
  const last = found.length === LIMITS.backupPageRows ? found.at(-1) : undefined;
  return { rows: found.map(({ row }) => row), next: last?.rowid ?? null };
}

/** As `meteringPage`, for the events after this number. */
export async function eventsPage(
  d1: D1Database,
  after: number,
  until: number,
): Promise<{ rows: EventRow[]; next: number | null }> {
  const rows = (await eventsAfter(d1, after)).filter(({ seq }) => seq <= until);
  const last = rows.at(-1)?.seq ?? until;
  return { rows, next: last < until ? last : null };
}
