import type { SignatureRefusal } from "../../schema/crypto/request-signature.ts";

/** Why signed requests were refused: the pool's own counters, since a stranger is told nothing (SPEC 3.2). */
export type RefusalReason = SignatureRefusal | "unreadable-body" | "dropped-body" | "not-a-peer";

/** Of this isolate, by reason: a fixed set, so that strangers cannot make it grow. */
const counters = new Map<RefusalReason, number>();

export function countRefusal(reason: RefusalReason): void {
  counters.set(reason, (counters.get(reason) ?? 0) + 1);
}

/** Since this isolate began. */
export function refusalCounts(): Record<string, number> {
  return Object.fromEntries(counters);
}
