import { type Context, Hono } from "hono";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { eventLogForReaders } from "../events/event-log-for.ts";
import { registryForReaders } from "../federation/peering/peer-registry-for.ts";
import { flushPeerRefusals } from "../federation/signing/refusal-counters.ts";
import type { AppEnv } from "../http/app-env.ts";
import { requireMetricsReader } from "../http/authentication.ts";
import { within } from "../limits/timeout.ts";
import { laneForReaders } from "../workers/lane-for.ts";
import { federationText } from "./federation-metrics.ts";
import { prometheusText } from "./metrics.ts";
import { flushRefusals } from "./refusals.ts";

export interface Readiness {
  ready: boolean;
  workers: number;
  models: string[];
}

/** Health, readiness and metrics (docs/spec/pool.md#status). */
export const status = new Hono<AppEnv>()
  /** Only shows that the process runs. */
  .get("/healthz", (c) => c.json({ ok: true }))

  .get("/readyz", async (c) => {
    const readiness = await sharedReadiness(c);
    return c.json(readiness, readiness.ready ? 200 : 503);
  })

  .get("/metrics", requireMetricsReader, async (c) => {
    const lane = laneForReaders(c.env, "any");
    await Promise.allSettled([flushRefusals(c.env), flushPeerRefusals(c.env)]);
    const [overview, { measured, ...lanes }, census, log, origins] = await Promise.all([
      lane.overview(),
      lane.metrics(),
      registryForReaders(c.env).census(),
      eventLogForReaders(c.env).counts(),
      eventLogForReaders(c.env).origins(),
    ]);
    const text = prometheusText({ overview, metrics: measured, ...lanes }) + federationText({ census, log, origins });
    return c.body(text, 200, {
      "content-type": "text/plain; version=0.0.4; charset=utf-8",
    });
  });

/** Shared by all requests of this isolate. */
let cached: { atMs: number; readiness: Readiness } | null = null;
let checking: Promise<Readiness> | null = null;

/**
 * The readiness, cached for a second; concurrent requests share one check. It is public, so that a load balancer can
 * read it.
 */
async function sharedReadiness(c: Context<AppEnv>): Promise<Readiness> {
  const ageMs = cached === null ? -1 : Date.now() - cached.atMs;
  if (cached !== null && ageMs >= 0 && ageMs < LIMITS.statusCacheMs) return cached.readiness;
  const shared = checking;
  if (shared !== null) {
    const answer = await within(LIMITS.d1TimeoutMs * 2, shared);
    if (answer !== null) return answer;
    // The request that started the check has ended, and the runtime dropped its work.
    if (checking === shared) checking = null;
    return sharedReadiness(c);
  }
  const check = readiness(c.env)
    .then((found) => {
      cached = { atMs: Date.now(), readiness: found };
      return found;
    })
    .finally(() => {
      checking = null;
    });
  checking = check;
  // Other requests share this check, so it must outlive a client that disconnects.
  c.executionCtx.waitUntil(check);
  return check;
}

/**
 * The pool is ready if D1 and the lane answer. The number of workers is shown but does not count: a load balancer would
 * remove a pool without workers, and then no worker could reach it.
 */
async function readiness(env: Env): Promise<Readiness> {
  const [database, overview] = await Promise.all([
    within(LIMITS.d1TimeoutMs, env.DB.prepare("SELECT 1 FROM client_keys LIMIT 1").all()),
    within(LIMITS.d1TimeoutMs, laneForReaders(env, "any").overview()),
  ]);
  const models = overview?.models.map((model) => model.name) ?? [];
  return { ready: database !== null && overview !== null, workers: overview?.workers ?? 0, models };
}
