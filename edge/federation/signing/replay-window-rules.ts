/**
 * Each nonce of a peer is taken once (docs/spec/federation.md#signed-requests). The rows are the peer's `Bond`'s, in SQLite; whether one is there is a
 * look-up by key. Pure: times come in. The rate (`peer-rate-rules.ts`) bounds the rows: what was admitted within the window
 * and the retention, three minutes at most.
 */
import type { SignatureRefusal } from "../../../schema/crypto/request-signature.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Persisted contract: one row an admitted request. */
export interface NonceRow {
  readonly nonce: string;
  readonly timestampSeconds: number;
}

/**
 * Persisted contract: the newest timestamp among the rows that were forgotten, -1 before the first. Without it a wall
 * clock that steps back would admit again what has been purged.
 */
export type PurgedThroughSeconds = number;

export const NOTHING_PURGED: PurgedThroughSeconds = -1;

export type ReplayRefusal = Extract<SignatureRefusal, "clock-skew" | "replayed">;

/** `seen`: a row with this nonce is kept. The window is checked again: time has passed since the first check. */
export function replayRefusal(
  purgedThroughSeconds: PurgedThroughSeconds,
  request: NonceRow,
  seen: boolean,
  nowSeconds: number,
): ReplayRefusal | null {
  if (Math.abs(nowSeconds - request.timestampSeconds) > LIMITS.signedRequestWindowSeconds) return "clock-skew";
  return seen || request.timestampSeconds <= purgedThroughSeconds ? "replayed" : null;
}

/** Rows up to this timestamp may go; later ones may not. */
export function expiredThroughSeconds(nowSeconds: number): number {
  return nowSeconds - LIMITS.nonceRetentionSeconds;
}

/** To be stored in the transaction that deletes the rows, of which that is the newest timestamp. */
export function afterPurge(
  purgedThroughSeconds: PurgedThroughSeconds,
  newestDeletedSeconds: number,
): PurgedThroughSeconds {
  return Math.max(purgedThroughSeconds, newestDeletedSeconds);
}
