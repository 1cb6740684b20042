import { createMiddleware } from "hono/factory";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import type { AppEnv } from "../http/app-env.ts";
import { laneForClients } from "../workers/lane-for.ts";

/** Refusals of this isolate that the lane has not counted yet: at most one entry for each error code. */
const pending = new Map<ErrorCode, number>();
let flushedMs = 0;

/**
 * Counts requests that are refused before they become jobs. Counting the refusal of an unauthenticated request costs
 * one addition (docs/spec/pool.md#shape, rule 5). The counts go to the lane at most once a second, when a client with a
 * key of this pool is refused, and when metrics are read.
 */
export const countRefusals = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  const code = c.get("refusal");
  // Federation has counters of its own.
  if (code === undefined || c.req.path.startsWith("/v1/federation/")) return;
  pending.set(code, (pending.get(code) ?? 0) + 1);
  const nowMs = Date.now();
  // Use the absolute difference, so that a backward clock step cannot delay the counts.
  if (c.get("client") === undefined || Math.abs(nowMs - flushedMs) < LIMITS.statusCacheMs) return;
  flushedMs = nowMs;
  c.executionCtx.waitUntil(flushRefusals(c.env).catch(() => undefined));
});

/** Reports the refusals to the lane now. Rejects if the lane cannot be reached; the counts are kept. */
export async function flushRefusals(env: Env): Promise<void> {
  if (pending.size === 0) return;
  const flushed = new Map(pending);
  pending.clear();
  try {
    await laneForClients(env, "any").countRefusals(flushed);
  } catch (error) {
    for (const [code, n] of flushed) pending.set(code, (pending.get(code) ?? 0) + n);
    throw error;
  }
}
