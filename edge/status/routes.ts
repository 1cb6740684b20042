import { Hono } from "hono";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import type { AppEnv } from "../http/app-env.ts";
import { requireMetricsReader } from "../http/authentication.ts";
import { MAIN_LANE } from "../workers/lane-link.ts";
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
    const lane = c.env.LANE.getByName(MAIN_LANE);
    await tellRefusals(c.env);
    const [overview, { measured, ...lanes }] = await Promise.all([lane.overview(), lane.metrics()]);
    return c.body(prometheusText({ overview, metrics: measured, ...lanes }), 200, {
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
