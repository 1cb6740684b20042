/**
 * Each nonce of a peer is accepted once (docs/spec/federation.md#signed-requests). The peer's `Bond` keeps a row for each
 * admitted request. The peer's rate (`peer-rate-rules.ts`) bounds the number of rows, because a row is kept for the window
 * and the retention, at most three minutes.
 */
import type { SignatureRefusal } from "../../../schema/crypto/request-signature.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Persisted contract: one row for each admitted request. */
export interface NonceRow {
  readonly nonce: string;
  readonly timestampSeconds: number;
}

/**
 * Persisted contract: the newest timestamp among the deleted rows; -1 before the first deletion. Without it, a purged
 * nonce would be accepted again after a backward step of the wall clock.
 */
export type PurgedThroughSeconds = number;

export const NOTHING_PURGED: PurgedThroughSeconds = -1;

export type ReplayRefusal = Extract<SignatureRefusal, "clock-skew" | "replayed">;

/**
 * Why a request is refused as late or repeated; null if it is neither. `seen`: a row with this nonce exists. The time
 * window is checked again, because time has passed since the first check.
 */
export function replayRefusal(
  purgedThroughSeconds: PurgedThroughSeconds,
  request: NonceRow,
  seen: boolean,
  nowSeconds: number,
): ReplayRefusal | null {
  if (Math.abs(nowSeconds - request.timestampSeconds) > LIMITS.signedRequestWindowSeconds) return "clock-skew";
  return seen || request.timestampSeconds <= purgedThroughSeconds ? "replayed" : null;
}

/** The newest timestamp (epoch seconds) of rows that may be deleted. */
export function expiredThroughSeconds(nowSeconds: number): number {
  return nowSeconds - LIMITS.nonceRetentionSeconds;
}

/** The new value of `PurgedThroughSeconds`. The caller stores it in the transaction that deletes the rows. */
export function afterPurge(
  purgedThroughSeconds: PurgedThroughSeconds,
  newestDeletedSeconds: number,
): PurgedThroughSeconds {
  return Math.max(purgedThroughSeconds, newestDeletedSeconds);
}
