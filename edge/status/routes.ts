import { Hono } from "hono";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { tellRefusedRequests } from "../federation/refusal-counters.ts";
import type { AppEnv } from "../http/app-env.ts";
import { requireMetricsReader } from "../http/authentication.ts";
import { EVENT_LOG as THE_LOG, PEER_REGISTRY as THE_PEERS } from "../http/pool-objects.ts";
import { MAIN_LANE } from "../workers/lane-link.ts";
import { federationText } from "./federation-metrics.ts";
import { prometheusText } from "./metrics.ts";
import { tellRefusals } from "./refusals.ts";
import { within } from "./within.ts";

export interface Readiness {
  ready: boolean;
  workers: number;
  models: string[];
}

/** Health, readiness and metrics (SPEC 5.1). */
export const status = new Hono<AppEnv>()
  /** The process is up: nothing else is asked. */
  .get("/healthz", (c) => c.json({ ok: true }))

  .get("/readyz", async (c) => {
    const readiness = await cachedReadiness(c.env);
    return c.json(readiness, readiness.ready ? 200 : 503);
  })

  .get("/metrics", requireMetricsReader, async (c) => {
    const { LANE, PEER_REGISTRY, EVENT_LOG } = c.env;
    const lane = LANE.getByName(MAIN_LANE);
    await Promise.allSettled([tellRefusals(c.env), tellRefusedRequests(c.env)]);
    const [overview, { measured, ...lanes }, census, log] = await Promise.all([
      lane.overview(),
      lane.metrics(),
      PEER_REGISTRY.getByName(THE_PEERS).census(),
      EVENT_LOG.getByName(THE_LOG).counts(),
    ]);
    const text = prometheusText({ overview, metrics: measured, ...lanes }) + federationText({ census, log });
    return c.body(text, 200, {
      "content-type": "text/plain; version=0.0.4; charset=utf-8",
    });
  });

let cached: { untilMs: number; readiness: Readiness } | null = null;

/** Anyone may ask, so that a load balancer can: an answer serves for a second. */
async function cachedReadiness(env: Env): Promise<Readiness> {
  if (cached && cached.untilMs > Date.now()) return cached.readiness;
  const fresh = await readiness(env);
  cached = { untilMs: Date.now() + LIMITS.statusCacheMs, readiness: fresh };
  return fresh;
}

/**
 * Ready: D1 answers and the lane answers. How many workers there are is said and does not decide: a pool that a load
 * balancer took out of service for having none could never get one.
 */
async function readiness(env: Env): Promise<Readiness> {
  const [database, overview] = await Promise.all([
    within(LIMITS.d1TimeoutMs, env.DB.prepare("SELECT 1 FROM client_keys LIMIT 1").all()),
    within(LIMITS.d1TimeoutMs, env.LANE.getByName(MAIN_LANE).overview()),
  ]);
  const models = overview?.models.map((model) => model.name) ?? [];
  return { ready: database !== null && overview !== null, workers: overview?.workers ?? 0, models };
}
