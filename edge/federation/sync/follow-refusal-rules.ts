import { LIMITS } from "../../../schema/wire/limits.ts";

/** Why this pool cannot use an answer of the followed log. */
export type FollowRefusal =
  /** Two signed checkpoints contradict each other: the peer has shown two histories under one log name. */
  | "equivocation"
  /** The log has another name. It is pulled from its beginning; the events that we have already are duplicates. */
  | "new-log"
  /**
   * The page has a gap or repeats events: it arrived late, or answers another request. The next pull starts at the
   * cursor.
   */
  | "out-of-step"
  /** The head went backwards under the same log name. */
  | "rolled-back"
  /**
   * The hash chain of the events does not match the signed checkpoint. The cursor goes back to the last position that a
   * checkpoint confirmed.
   */
  | "chain-mismatch"
  /** The checkpoint is not from the peer, is of another audience, or is not of the head. */
  | "malformed"
  /** Our log stores no more events of this peer: the quota that our admin set is used up. */
  | "quota-spent";

/** Persisted contract: the last refusal since this pool last had all events of the peer's log. */
export interface Unfollowable {
  readonly reason: FollowRefusal;
  readonly sinceMs: number;
  /** The reasons that our admin was notified of, each reason once. The field name is stored. */
  readonly told: readonly FollowRefusal[];
}

/** Records one more refusal. `shouldNotify`: the refusals have lasted long enough, and our admin does not know of this reason. */
export function recordRefusal(
  before: Unfollowable | null,
  reason: FollowRefusal,
  nowMs: number,
): { unfollowable: Unfollowable; shouldNotify: boolean } {
  const { sinceMs, told }: Pick<Unfollowable, "sinceMs" | "told"> = before ?? { sinceMs: nowMs, told: [] };
  const shouldNotify = nowMs - sinceMs >= LIMITS.followRefusedMs && !told.includes(reason);
  return {
    // A backward step of the wall clock restarts the waiting time.
    unfollowable: { reason, sinceMs: Math.min(sinceMs, nowMs), told: shouldNotify ? [...told, reason] : told },
    shouldNotify,
  };
}
