import { Hono } from "hono";
import { LIMITS } from "../../schema/wire/limits.ts";
import { accountForAdmins } from "../accounts/account-for.ts";
import { newestKeys } from "../accounts/store.ts";
import { adminTokensForReaders } from "../admins/admin-tokens-for.ts";
import type { Env } from "../env.ts";
import { eventLogForReaders } from "../events/event-log-for.ts";
import { quotaBytesOf } from "../events/origin-quota-rules.ts";
import { registryForReaders } from "../federation/peering/peer-registry-for.ts";
import { listPeers } from "../federation/peering/store.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { within } from "../limits/timeout.ts";
import { readFederationPolicy } from "../pool/federation-check.ts";
import { pendingPolicyChanges, poolSettings } from "../pool/pool-policy.ts";
import type { HeldRecords } from "../record/record-outbox.ts";
import { webhookForReaders } from "../webhook/webhook-for.ts";
import { allLanes, laneForReaders } from "../workers/lane-for.ts";
import { appliedMigrations } from "./store.ts";

/** `/admin/api/doctor`: the pool's findings about itself. `ligand pool doctor` turns them into advice. */
export const doctorRoutes = new Hono<AdminEnv>().get("/", async (c) => {
  const { DB, ALLOWED_HOSTS, METRICS_TOKEN, ONE_MACHINE } = c.env;
  const [{ name, lane }] = allLanes(c.env, laneForReaders);
  const [
    database,
    migrations,
    settings,
    overview,
    holds,
    changes,
    admins,
    clock,
    origins,
    census,
    known,
    webhook,
    webhookEvents,
    ...records
  ] = await Promise.all([
    timed(DB.prepare("SELECT 1 FROM client_keys LIMIT 1").all()),
    timed(appliedMigrations(DB)),
    timed(poolSettings(c.env)),
    timed(Promise.resolve(lane.overview())),
    timed(Promise.resolve(lane.holds())),
    timed(pendingPolicyChanges(c.env)),
    timed(Promise.resolve(adminTokensForReaders(c.env).pendingEvents())),
    timed(Promise.resolve(eventLogForReaders(c.env).clock())),
    timed(originsOf(c.env)),
    timed(Promise.resolve(registryForReaders(c.env).census())),
    timed(knownPeers(c.env)),
    timed(Promise.resolve(webhookForReaders(c.env).status())),
    timed(Promise.resolve(webhookForReaders(c.env).pendingEvents())),
    held(`lane ${name}`, lane.heldRecords()),
    held("event log", eventLogForReaders(c.env).heldRecords()),
    held("admin tokens", adminTokensForReaders(c.env).heldRecords()),
    held("client keys", heldOfKeys(c.env)),
  ]);
  return c.json({
    now_ms: Date.now(),
    atom_id: (await poolKeys(c.env)).atomId,
    database: { ok: database.answer !== null, ms: database.ms, migrations: migrations.answer },
    policy: { ok: settings.answer !== null, ms: settings.ms },
    lanes: [
      {
        name,
        ok: overview.answer !== null,
        ms: overview.ms,
        workers: overview.answer?.workers ?? 0,
        queued: overview.answer?.models.reduce((sum, model) => sum + model.queued, 0) ?? 0,
        holds: holds.answer,
      },
    ],
    records: [...records, { of: "peers", held: census.answer?.records ?? null }],
    /** The log's clock and the wall clock. `refused` says why the log takes no events. */
    log_clock: clock.answer,
    /** How much of the log other pools fill, and their quota; null where an object does not answer. */
    origins: origins.answer,
    /** Events that the log has not confirmed, by their source; null where an object does not answer. */
    untold: [
      { of: "settings", waiting: changes.answer },
      { of: "admin tokens", waiting: admins.answer },
      { of: "webhook", waiting: webhookEvents.answer },
      { of: "peers", waiting: census.answer?.untold ?? null },
    ],
    /** Null where the object does not answer. */
    webhook: webhook.answer,
    /** Peers whose logs could not be followed for some time; null where the registry does not answer. */
    unfollowable: census.answer?.unfollowable ?? null,
    /** The known peers; empty while federation is off, null where the registry or D1 does not answer. */
    peers: known.answer,
    allowed_hosts: (ALLOWED_HOSTS ?? "").split(",").filter((name) => name !== ""),
    has_metrics_token: Boolean(METRICS_TOKEN),
    runs_on: ONE_MACHINE ? "one-machine" : "cloudflare",
  });
});

async function originsOf(env: Env) {
  const [largest, policy] = await Promise.all([eventLogForReaders(env).origins(), readFederationPolicy(env)]);
  const quota_bytes = policy === null ? 0 : quotaBytesOf(policy);
  return { quota_bytes, largest: largest.map(({ atomId, events, bytes }) => ({ atom_id: atomId, events, bytes })) };
}

/** The known peers. Empty while federation is off: no peer is contacted then, so its status says nothing. */
async function knownPeers(env: Env) {
  const [rows, statuses, policy] = await Promise.all([
    listPeers(env.DB),
    registryForReaders(env).statuses(),
    readFederationPolicy(env),
  ]);
  if (policy?.federation !== "on") return [];
  return rows.map((row) => {
    const { absence = null, waitingSinceMs = null, circuit } = statuses[row.id] ?? {};
    return {
      atom_id: row.id,
      name: row.name,
      effective: row.effective,
      awaits_admin: row.awaitsAdmin,
      last_seen_ms: row.seenAtMs,
      circuit: circuit ?? row.circuit,
      absent: absence && { reason: absence.reason, since_ms: absence.sinceMs },
      waiting_since_ms: waitingSinceMs,
    };
  });
}

/** The sum over client keys, each of which has an object of its own. */
async function heldOfKeys(env: Env): Promise<HeldRecords> {
  const ids = await newestKeys(env.DB, LIMITS.doctorKeys);
  const each = await Promise.all(ids.map((id) => accountForAdmins(env, id).heldRecords()));
  return each.reduce((sum, one) => ({ waiting: sum.waiting + one.waiting, refused: sum.refused + one.refused }), {
    waiting: 0,
    refused: 0,
  });
}

/** The rows of an object that D1 does not have; `held` is null where the object does not answer. */
async function held(of: string, asked: Promise<HeldRecords>) {
  return { of, held: (await timed(asked)).answer };
}

async function timed<T>(asked: Promise<T>): Promise<{ answer: T | null; ms: number }> {
  const startedMs = Date.now();
  const answer = await within(LIMITS.doctorTimeoutMs, asked);
  return { answer, ms: Date.now() - startedMs };
}
