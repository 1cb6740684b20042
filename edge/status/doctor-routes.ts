import { Hono } from "hono";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { ADMIN_TOKENS as THE_ADMINS } from "../http/authentication.ts";
import { poolKeys } from "../http/pool-keys.ts";
import { EVENT_LOG as THE_LOG } from "../http/pool-objects.ts";
import { poolSettings, untoldPolicyChanges } from "../pool/pool-policy.ts";
import type { HeldRecords } from "../record/outbox.ts";
import { MAIN_LANE } from "../workers/lane-link.ts";
import { appliedMigrations } from "./store.ts";
import { within } from "./within.ts";

/** `/admin/api/doctor`: what this pool finds of itself; what to make of it, `ligand pool doctor` says. */
export const doctorRoutes = new Hono<AdminEnv>().get("/", async (c) => {
  const { DB, LANE, EVENT_LOG, ADMIN_TOKENS, ALLOWED_HOSTS, METRICS_TOKEN, ONE_MACHINE } = c.env;
  const lane = LANE.getByName(MAIN_LANE);
  const [database, migrations, settings, overview, holds, changes, ...records] = await Promise.all([
    timed(DB.prepare("SELECT 1 FROM client_keys LIMIT 1").all()),
    timed(appliedMigrations(DB)),
    timed(poolSettings(c.env)),
    timed(Promise.resolve(lane.overview())),
    timed(Promise.resolve(lane.holds())),
    timed(untoldPolicyChanges(c.env)),
    held(`lane ${MAIN_LANE}`, lane.heldRecords()),
    held("event log", EVENT_LOG.getByName(THE_LOG).heldRecords()),
    held("admin tokens", ADMIN_TOKENS.getByName(THE_ADMINS).heldRecords()),
  ]);
  return c.json({
    now_ms: Date.now(),
    atom_id: (await poolKeys(c.env)).atomId,
    database: { ok: database.answer !== null, ms: database.ms, migrations: migrations.answer },
    policy: { ok: settings.answer !== null, ms: settings.ms },
    lanes: [
      {
        name: MAIN_LANE,
        ok: overview.answer !== null,
        ms: overview.ms,
        workers: overview.answer?.workers ?? 0,
        queued: overview.answer?.models.reduce((sum, model) => sum + model.queued, 0) ?? 0,
        holds: holds.answer,
      },
    ],
    records,
    /** What was decided and our log has not heard of; null where nobody answers. */
    untold: [{ of: "settings", waiting: changes.answer }],
    allowed_hosts: (ALLOWED_HOSTS ?? "").split(",").filter((name) => name !== ""),
    has_metrics_token: Boolean(METRICS_TOKEN),
    runs_on: ONE_MACHINE ? "one-machine" : "cloudflare",
  });
});

/** What an object keeps that D1 does not have; `held` is null where it does not answer. */
async function held(of: string, asked: Promise<HeldRecords>) {
  return { of, held: (await timed(asked)).answer };
}

async function timed<T>(asked: Promise<T>): Promise<{ answer: T | null; ms: number }> {
  const startedMs = Date.now();
  const answer = await within(LIMITS.doctorTimeoutMs, asked);
  return { answer, ms: Date.now() - startedMs };
}
