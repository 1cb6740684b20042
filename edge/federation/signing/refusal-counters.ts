import type { SignatureRefusal } from "../../../schema/crypto/request-signature.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { registryForRefusals } from "../peering/peer-registry-for.ts";

/** Why a signed request was refused. Only the operator sees reasons, as counters (docs/spec/federation.md#signed-requests). */
export type RefusalReason = SignatureRefusal | "unreadable-body" | "not-a-peer";

/**
 * Refusals that were not reported to the registry yet. Reasons and codes are a fixed set, so strangers cannot make this
 * map grow.
 */
const pending = new Map<RefusalReason | ErrorCode, number>();
let flushedMs = 0;

/** Counts a refusal in memory. It wakes no object (docs/spec/pool.md#shape, rule 5). */
export function countRefusal(reason: RefusalReason | ErrorCode, times = 1): void {
  pending.set(reason, (pending.get(reason) ?? 0) + times);
}

/**
 * Reports this isolate's refusals to the registry, at most once per `LIMITS.refusalsReportedMs`. Call it with an
 * admitted request. Never rejects.
 */
export async function flushPeerRefusalsSoon(env: Env): Promise<void> {
  const nowMs = Date.now();
  if (Math.abs(nowMs - flushedMs) < LIMITS.refusalsReportedMs) return;
  flushedMs = nowMs;
  // What could not be reported now is reported the next time.
  await flushPeerRefusals(env).catch(() => undefined);
}

/**
 * Reports the refusals now. Called before metrics are read. Rejects if the registry cannot be reached; the refusals are
 * kept.
 */
export async function flushPeerRefusals(env: Env): Promise<void> {
  if (pending.size === 0) return;
  const flushed = new Map(pending);
  pending.clear();
  try {
    await registryForRefusals(env).countRefusals(flushed);
  } catch (error) {
    for (const [reason, times] of flushed) countRefusal(reason, times);
    throw error;
  }
}
