import { createMiddleware } from "hono/factory";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import type { AppEnv } from "../http/app-env.ts";
import { laneFor } from "../workers/lane-for.ts";

/** What this isolate refused since it last told the lane. One entry a code at most. */
const refusals = new Map<ErrorCode, number>();
let toldMs = 0;

/**
 * Counts what is refused before it becomes a job. A stranger's refusal costs an addition and no more (docs/spec/pool.md#shape, rule 5):
 * the lane hears of it when a client with a key of this pool is refused, once a second at most, or when metrics are read.
 */
export const countRefusals = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  const code = c.get("refusal");
  // What is between pools has counters of its own.
  if (code === undefined || c.req.path.startsWith("/v1/federation/")) return;
  refusals.set(code, (refusals.get(code) ?? 0) + 1);
  const nowMs = Date.now();
  if (c.get("client") === undefined || nowMs - toldMs < LIMITS.statusCacheMs) return;
  toldMs = nowMs;
  c.executionCtx.waitUntil(tellRefusals(c.env).catch(() => undefined));
});

export async function tellRefusals(env: Env): Promise<void> {
  if (refusals.size === 0) return;
  const told = new Map(refusals);
  refusals.clear();
  try {
    await laneFor(env, "clients", "any").countRefusals(told);
  } catch (error) {
    // What was not heard is told the next time.
    for (const [code, n] of told) refusals.set(code, (refusals.get(code) ?? 0) + n);
    throw error;
  }
}
