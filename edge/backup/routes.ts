import { Hono } from "hono";
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";
import type { ClientKeyRow } from "../../schema/db/client-keys.ts";
import type { EventRow } from "../../schema/db/events.ts";
import type { MeteringRow } from "../../schema/db/metering.ts";
import type { PeerRow } from "../../schema/db/peers.ts";
import { RECORD_ROWS } from "../../schema/db/record-rows.ts";
import type { WorkerRow, WorkerTokenRow } from "../../schema/db/workers.ts";
import { newLogBody } from "../../schema/wire/admin-api.ts";
import { type RecordTable, rowsOfTable } from "../../schema/wire/backup.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { accountForAdmins } from "../accounts/account-for.ts";
import { adminTokensForAdmins } from "../admins/admin-tokens-for.ts";
import type { Env } from "../env.ts";
import { eventLogForAdmins } from "../events/event-log-for.ts";
import { bondForRestore } from "../federation/bond-for.ts";
import { forgetReceivedGrants } from "../federation/delivery/resume.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { requireBootstrapAdmin } from "../http/authentication.ts";
import { adminBody, readJson } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { poolSettings } from "../pool/pool-policy.ts";
import { allLanes, laneForAdmins } from "../workers/lane-for.ts";
import { eventsPage, exportedTables, meteringPage } from "./store.ts";

/** `/admin/api/export`: the record, for `ligand pool export`. No answer contains the pool's secret key. */
export const exportRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => {
    // The export must contain the rows that are still in outboxes.
    await Promise.all(allLanes(c.env, laneForAdmins).map(({ lane }) => lane.flushRecords()));
    await eventLogForAdmins(c.env).flushRecords();
    const { name, description, defaults } = await poolSettings(c.env);
    return c.json({
      atom_id: (await poolKeys(c.env)).atomId,
      settings: {
        name,
        description,
        defaults: {
          requests_per_minute: defaults.requestsPerMinute,
          tokens_per_minute: defaults.tokensPerMinute,
          streams: defaults.streams,
        },
      },
      ...(await exportedTables(c.env.DB)),
    });
  })

  .get("/metering", async (c) => {
    const [after, until] = [Number(c.req.query("after")), Number(c.req.query("until"))];
    if (!Number.isSafeInteger(after) || !Number.isSafeInteger(until)) return fail(c, "http/invalid-body");
    return c.json(await meteringPage(c.env.DB, after, until));
  })

  .get("/events", async (c) => {
    const [after, until] = [Number(c.req.query("after")), Number(c.req.query("until"))];
    if (!Number.isSafeInteger(after) || !Number.isSafeInteger(until)) return fail(c, "http/invalid-body");
    return c.json(await eventsPage(c.env.DB, after, until));
  });

/**
 * `/admin/api/import`: each object takes its rows of an export, and its outbox writes them to D1 again. Rows that exist
 * already do not change; an import with other content for such a row is refused, so that no import can undo a
 * revocation. Rows name the admin who made them, so an import could act in the name of another admin. Therefore only
 * the bootstrap admin may import, and the event log records each import.
 */
export const importRoutes = new Hono<AdminEnv>().post("/", requireBootstrapAdmin, async (c) => {
  const read = await readJson(c.req.raw, LIMITS.importBodyBytes);
  if (!read.ok) return fail(c, read.code, { message: read.message });
  const body = rowsOfTable.safeParse(read.value);
  if (!body.success) return fail(c, "http/invalid-body");
  const log = eventLogForAdmins(c.env);
  // While the log appends nothing, no import could be recorded soon: refuse it before any row is taken.
  const { refused } = await log.clock();
  if (refused !== null) return fail(c, refused);
  const { table, rows } = body.data;
  const checked = RECORD_ROWS[table].array().safeParse(rows);
  if (!checked.success) return fail(c, "http/invalid-body", { param: table });
  const restored = await restore(c.env, table, checked.data);
  const outcome = restored ? "taken" : "refused";
  await adminTokensForAdmins(c.env).recordImport({ by: c.var.adminTokenId, table, rows: rows.length, outcome });
  if (!restored && table === "events") return fail(c, "events/malformed");
  return restored ? c.json({ table, rows: rows.length }) : fail(c, "pool/not-empty");
});

/**
 * `/admin/api/new-log`: for a pool whose state the operator restored from a copy. Before that, its log may have used
 * the next numbers for other events, and peers may have withdrawn grants. So the log gets a new name and received
 * grants are forgotten. With `clock_anew` the log's clock also returns from the future, if a wrong wall clock had put
 * it there.
 */
export const newLogRoutes = new Hono<AdminEnv>().post("/", requireBootstrapAdmin, async (c) => {
  const body = await adminBody(c, newLogBody);
  if (body instanceof Response) return body;
  const log = eventLogForAdmins(c.env);
  const { refused } = await log.clock();
  if (refused !== null) return fail(c, refused);
  // First forget the received grants: the new log name makes peers send their grants again.
  await forgetReceivedGrants(c.env, c.var.adminTokenId);
  const started = await log.startNewLog(c.var.adminTokenId, { clockAnew: body.clock_anew });
  if (!started.ok) return fail(c, started.code);
  const { log_id, before } = started;
  return c.json({ log_id, before });
});

/** The caller has checked `rows` against the table's schema. */
async function restore(env: Env, table: RecordTable, rows: object[]): Promise<boolean> {
  switch (table) {
    case "admin_tokens":
      return adminTokensForAdmins(env).restore(rows as AdminTokenRow[]);
    case "client_keys": {
      const keys = rows as ClientKeyRow[];
      const done = await Promise.all(keys.map((key) => accountForAdmins(env, key.id).restore(key)));
      return done.every(Boolean);
    }
    case "worker_tokens":
      return laneForAdmins(env, "any").restoreTokens(rows as WorkerTokenRow[]);
    case "workers":
    case "metering":
      await laneForAdmins(env, "any").restoreRecords(table, rows as (WorkerRow | MeteringRow)[]);
      return true;
    case "peers": {
      const done = await Promise.all((rows as PeerRow[]).map((row) => bondForRestore(env, row.id).restore(row)));
      return done.every(Boolean);
    }
    case "events":
      return eventLogForAdmins(env).restore(rows as EventRow[]);
    default:
      return table satisfies never;
  }
}
