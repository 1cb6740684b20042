import { Hono } from "hono";
import { LIMITS } from "../../schema/wire/limits.ts";
import { newestKeys } from "../accounts/store.ts";
import { adminTokensForReaders } from "../admins/admin-tokens-for.ts";
import type { Env } from "../env.ts";
import { eventLogForReaders } from "../events/event-log-for.ts";
import { quotaBytesOf } from "../events/origin-quota-rules.ts";
import { listPeers } from "../federation/peering/store.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { within } from "../limits/timeout.ts";
import { PEER_REGISTRY as THE_PEERS } from "../object-names.ts";
import { readFederationPolicy } from "../pool/federation-check.ts";
import { pendingPolicyChanges, poolSettings } from "../pool/pool-policy.ts";
import type { HeldRecords } from "../record/record-outbox.ts";
import { allLanes } from "../workers/lane-for.ts";
import { appliedMigrations } from "./store.ts";

/** `/admin/api/doctor`: what this pool finds of itself; what to make of it, `ligand pool doctor` says. */
export const doctorRoutes = new Hono<AdminEnv>().get("/", async (c) => {
  const { DB, PEER_REGISTRY, ALLOWED_HOSTS, METRICS_TOKEN, ONE_MACHINE } = c.env;
  const [{ name, lane }] = allLanes(c.env, "readers");
  const [database, migrations, settings, overview, holds, changes, admins, clock, origins, peers, met, ...records] =
    await Promise.all([
      timed(DB.prepare("SELECT 1 FROM client_keys LIMIT 1").all()),
      timed(appliedMigrations(DB)),
      timed(poolSettings(c.env)),
      timed(Promise.resolve(lane.overview())),
      timed(Promise.resolve(lane.holds())),
      timed(pendingPolicyChanges(c.env)),
      timed(Promise.resolve(adminTokensForReaders(c.env).pendingEvents())),
      timed(Promise.resolve(eventLogForReaders(c.env).clock())),
      timed(originsOf(c.env)),
      timed(Promise.resolve(PEER_REGISTRY.getByName(THE_PEERS).census())),
      timed(peersMet(c.env)),
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
    records: [...records, { of: "peers", held: peers.answer?.records ?? null }],
    /** The log's clock beside the machine's, and why the log does not go on, where it does not. */
    log_clock: clock.answer,
    /** What other pools' events fill of our log, and how much of it they may; null where nobody answers. */
    origins: origins.answer,
    /** What was decided and our log has not heard of; null where nobody answers. */
    untold: [
      { of: "settings", waiting: changes.answer },
      { of: "admin tokens", waiting: admins.answer },
      { of: "peers", waiting: peers.answer?.untold ?? null },
    ],
    /** Peers whose logs could not be followed for a while; null where nobody answers. */
    unfollowable: peers.answer?.unfollowable ?? null,
    /** Who is known here, while federation is on; null where nobody answers. */
    peers: met.answer,
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

/** While federation is off nobody is asked, and nothing is wrong with them for it. */
async function peersMet(env: Env) {
  const [rows, standings, policy] = await Promise.all([
    listPeers(env.DB),
    env.PEER_REGISTRY.getByName(THE_PEERS).statuses(),
    readFederationPolicy(env),
  ]);
  if (policy?.federation !== "on") return [];
  return rows.map((row) => {
    const { absence = null, waitingSinceMs = null, circuit } = standings[row.id] ?? {};
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

/** Of all keys together, each of which has an object of its own. */
async function heldOfKeys(env: Env): Promise<HeldRecords> {
  const ids = await newestKeys(env.DB, LIMITS.doctorKeys);
  const each = await Promise.all(ids.map((id) => env.ACCOUNT.getByName(id).heldRecords()));
  return each.reduce((sum, one) => ({ waiting: sum.waiting + one.waiting, refused: sum.refused + one.refused }), {
    waiting: 0,
    refused: 0,
  });
}

/** What an object keeps that D1 does not have; `held` is null where it does not answer. */
async function held(of: string, asked: Promise<HeldRecords>) {
  return { of, held: (await timed(asked)).answer };
}

async function timed<T>(asked: Promise<T>): Promise<{ answer: T | null; ms: number }> {
  const startedMs = Date.now();
  const answer = await within(LIMITS.doctorTimeoutMs, asked);
  return { answer, ms: Date.now() - startedMs };
}
