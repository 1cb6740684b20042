import type { SignatureRefusal } from "../../../schema/crypto/request-signature.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { registryForPeers } from "../peering/peer-registry-for.ts";

/** Why a signed request was refused. Only the operator sees reasons, as counters (docs/spec/federation.md#signed-requests). */
export type RefusalReason = SignatureRefusal | "unreadable-body" | "not-a-peer";

/** Refusals that are not in the registry's count yet. The reasons and codes are a fixed set, so strangers cannot make this map grow. */
const pending = new Map<RefusalReason | ErrorCode, number>();
let flushedMs = 0;

/** Costs one addition: a refused request wakes no object (docs/spec/pool.md#shape, rule 5). */
export function countRefusal(reason: RefusalReason | ErrorCode, times = 1): void {
  pending.set(reason, (pending.get(reason) ?? 0) + times);
}

/** Call with an admitted request: adds this isolate's refusals to the pool's count, at most once a minute. */
export async function flushPeerRefusalsSoon(env: Env): Promise<void> {
  const nowMs = Date.now();
  if (Math.abs(nowMs - flushedMs) < LIMITS.refusalsReportedMs) return;
  flushedMs = nowMs;
  // Refusals that could not be added are added the next time.
  await flushPeerRefusals(env).catch(() => undefined);
}

/** Adds them now, before metrics are read. */
export async function flushPeerRefusals(env: Env): Promise<void> {
  if (pending.size === 0) return;
  const flushed = new Map(pending);
  pending.clear();
  try {
    await registryForPeers(env).countRefusals(flushed);
  } catch (error) {
    for (const [reason, times] of flushed) countRefusal(reason, times);
    throw error;
  }
}
