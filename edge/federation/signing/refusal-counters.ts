import type { SignatureRefusal } from "../../../schema/crypto/request-signature.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { PEER_REGISTRY } from "../../object-names.ts";

/** Why signed requests were refused: the pool's own counters, since a stranger is told nothing (docs/spec/federation.md#signed-requests). */
export type RefusalReason = SignatureRefusal | "unreadable-body" | "not-a-peer";

/** What the registry has not heard of, by reason or code: a fixed set, so that strangers cannot make it grow. */
const untold = new Map<RefusalReason | ErrorCode, number>();
let toldMs = 0;

/** Costs an addition: whoever is refused wakes nothing (docs/spec/pool.md#shape, rule 5). */
export function countRefusal(reason: RefusalReason | ErrorCode, times = 1): void {
  untold.set(reason, (untold.get(reason) ?? 0) + times);
}

/** What this isolate refused goes to the pool's count: with a peer that was admitted, once a minute at most. */
export async function flushPeerRefusalsSoon(env: Env): Promise<void> {
  const nowMs = Date.now();
  if (Math.abs(nowMs - toldMs) < LIMITS.refusalsToldMs) return;
  toldMs = nowMs;
  // What was not heard is told the next time.
  await flushPeerRefusals(env).catch(() => undefined);
}

/** At once, where somebody is about to look. */
export async function flushPeerRefusals(env: Env): Promise<void> {
  if (untold.size === 0) return;
  const told = new Map(untold);
  untold.clear();
  try {
    await env.PEER_REGISTRY.getByName(PEER_REGISTRY).countRefusals(told);
  } catch (error) {
    for (const [reason, times] of told) countRefusal(reason, times);
    throw error;
  }
}
