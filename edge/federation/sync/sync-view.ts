import type { PeerAudience } from "../../../schema/wire/events.ts";
import type { Unfollowable } from "./follow-refusal-rules.ts";

/** The state of sync of one audience, for the operator. */
export interface SyncView {
  audience: PeerAudience;
  /** How far we have the peer's log. */
  followed: {
    seq: number;
    head: number | null;
    streaming: boolean;
    equivocated: boolean;
    unfollowable: Unfollowable | null;
  };
  /** How far the peer has our log. */
  sent: { seq: number; streaming: boolean; rewoundSinceMs: number | null };
}
