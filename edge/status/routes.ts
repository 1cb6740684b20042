import { type Context, Hono } from "hono";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { eventLogForReaders } from "../events/event-log-for.ts";
import { flushPeerRefusals } from "../federation/signing/refusal-counters.ts";
import type { AppEnv } from "../http/app-env.ts";
import { requireMetricsReader } from "../http/authentication.ts";
import { within } from "../limits/timeout.ts";
import { PEER_REGISTRY as THE_PEERS } from "../object-names.ts";
import { laneFor } from "../workers/lane-for.ts";
import { federationText } from "./federation-metrics.ts";
import { prometheusText } from "./metrics.ts";
import { tellRefusals } from "./refusals.ts";

export interface Readiness {
  ready: boolean;
  workers: number;
  models: string[];
}

/** Health, readiness and metrics (docs/spec/inference.md#client-api). */
export const status = new Hono<AppEnv>()
  /** The process is up: nothing else is asked. */
  .get("/healthz", (c) => c.json({ ok: true }))

  .get("/readyz", async (c) => {
    const readiness = await sharedReadiness(c);
    return c.json(readiness, readiness.ready ? 200 : 503);
  })

  .get("/metrics", requireMetricsReader, async (c) => {
    const { PEER_REGISTRY } = c.env;
    const lane = laneFor(c.env, "readers", "any");
    await Promise.allSettled([tellRefusals(c.env), flushPeerRefusals(c.env)]);
    const [overview, { measured, ...lanes }, census, log, origins] = await Promise.all([
      lane.overview(),
      lane.metrics(),
      PEER_REGISTRY.getByName(THE_PEERS).census(),
      eventLogForReaders(c.env).counts(),
      eventLogForReaders(c.env).origins(),
    ]);
    const text = prometheusText({ overview, metrics: measured, ...lanes }) + federationText({ census, log, origins });
    return c.body(text, 200, {
      "content-type": "text/plain; version=0.0.4; charset=utf-8",
    });
  });

/** Of this isolate. */
let cached: { atMs: number; readiness: Readiness } | null = null;
let looking: Promise<Readiness> | null = null;

/** Anyone may ask, so that a load balancer can: an answer serves for a second, and those who ask meanwhile share one look. */
async function sharedReadiness(c: Context<AppEnv>): Promise<Readiness> {
  const ageMs = cached === null ? -1 : Date.now() - cached.atMs;
  if (cached !== null && ageMs >= 0 && ageMs < LIMITS.statusCacheMs) return cached.readiness;
  const shared = looking;
  if (shared !== null) {
    const said = await within(LIMITS.d1TimeoutMs * 2, shared);
    if (said !== null) return said;
    // The request that looked has died with its look.
    if (looking === shared) looking = null;
    return sharedReadiness(c);
  }
  const look = readiness(c.env)
    .then((found) => {
      cached = { atMs: Date.now(), readiness: found };
      return found;
    })
    .finally(() => {
      looking = null;
    });
  looking = look;
  // Others wait for it, also where this client leaves.
  c.executionCtx.waitUntil(look);
  return look;
}

/**
 * Ready: D1 answers and the lane answers. How many workers there are is said and does not decide: a pool that a load
 * balancer took out of service for having none could never get one.
 */
async function readiness(env: Env): Promise<Readiness> {
  const [database, overview] = await Promise.all([
    within(LIMITS.d1TimeoutMs, env.DB.prepare("SELECT 1 FROM client_keys LIMIT 1").all()),
    within(LIMITS.d1TimeoutMs, laneFor(env, "readers", "any").overview()),
  ]);
  const models = overview?.models.map((model) => model.name) ?? [];
  return { ready: database !== null && overview !== null, workers: overview?.workers ?? 0, models };
}
