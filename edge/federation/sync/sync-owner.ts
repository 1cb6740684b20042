import type { Viewer } from "../../events/visibility-rules.ts";
import { type PeerTrust, trustInEffect } from "../peering/trust-rules.ts";

/** What sync needs of its peer's `Bond`. */
export interface SyncOwner {
  trust(): PeerTrust | null;
  peer(): { atomId: string; publicKey: string } | null;
  /** The atom id of this pool. */
  self(): Promise<string>;
  /** Inside a transaction: queues the last grant for the peer once more. */
  resendGrant(): void;
  /** The registry and the operator are to see a new status. */
  statusChanged(): void;
  /** How long until the peer may cost this pool more work. Streams, and the answers to our pulls, count like its requests. */
  workWaitMs(): number;
  chargeWork(costUs: number): void;
  /** Another try is due at this time at the latest. */
  armBy(atMs: number): Promise<void>;
}

/** For checks without the policy at hand. The tier is checked with the policy before any event leaves. */
export const ANY_TIER = Object.freeze({ min_auth_tier: "oauth-verified" } as const);

/** The peer, as `checkOutgoing` judges it. */
export function viewerOf(owner: Pick<SyncOwner, "peer" | "trust">): Viewer {
  return { atomId: owner.peer()?.atomId ?? "", trust: trustInEffect(owner.trust(), ANY_TIER) };
}
