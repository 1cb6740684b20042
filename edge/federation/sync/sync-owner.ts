import type { Viewer } from "../../events/visibility-rules.ts";
import { type PeerTrust, trustInEffect } from "../peering/trust-rules.ts";

/** The functions of the peer's `Bond` that event sync calls. */
export interface SyncOwner {
  trust(): PeerTrust | null;
  peer(): { atomId: string; publicKey: string; url: string } | null;
  /** The atom id of this pool. */
  self(): Promise<string>;
  /** Call inside a transaction. Queues the last grant for the peer again. */
  resendGrant(): void;
  /** Reports a new status of the peer to the registry. */
  statusChanged(): void;
  /**
   * How long until the peer may cost this pool more work, in ms. Streams, and the answers to our pulls, count like the
   * peer's requests.
   */
  workWaitMs(): number;
  chargeWork(costUs: number): void;
  /** Arms the alarm no later than `atMs`. */
  armBy(atMs: number): Promise<void>;
}

/**
 * A policy that accepts every tier, for checks that do not have the operator's policy. Before any event is sent, the
 * tier is checked with that policy.
 */
export const ANY_TIER = Object.freeze({ min_auth_tier: "oauth-verified" } as const);

/** The peer, in the form that `checkOutgoing` takes. */
export function viewerOf(owner: Pick<SyncOwner, "peer" | "trust">): Viewer {
  return { atomId: owner.peer()?.atomId ?? "", trust: trustInEffect(owner.trust(), ANY_TIER) };
}
