/**
 * The interfaces of a `Bond` and the shapes that cross them. Each group of callers has an interface of its own, and
 * `bond-for.ts` returns stubs of these, so that a route for peers cannot call what is for admins.
 */
import type { PeerRow } from "../../schema/db/peers.ts";
import type { Card, FederationPolicy, GrantableLevel, TrustLevel } from "../../schema/wire/federation.ts";
import type { Unavailability } from "./delivery/availability-rules.ts";
import type { TrustStep } from "./peering/trust-rules.ts";
import type { AdmissionRequest, SignedAdmission } from "./signing/signed-admission-rules.ts";
import type { Pulled, PullRequest, Pushed } from "./sync/event-endpoint-answers.ts";
import type { SyncView } from "./sync/sync-view.ts";

export type Admitted =
  | { ok: true; trust: TrustLevel }
  | Exclude<SignedAdmission, { ok: true }>
  | { ok: false; code: "federation/unauthenticated"; reason: "not-a-peer" };

export type MinTier = FederationPolicy["min_auth_tier"];

/** What a registration needs to know of an earlier peer. A pool keeps this after it has removed the peer. */
export interface RegistrationStatus {
  revoked: boolean;
  /** The newest version that the peer ever signed with. */
  version: 1 | 2;
}

export interface PeerState {
  row: PeerRow;
  effective: TrustLevel;
  sync: SyncView[];
  /** Messages that wait for the peer. */
  waiting: number;
  unavailability: Unavailability | null;
  /** Whether D1 has all decisions; if not, they follow. */
  recorded: boolean;
}

/** For requests of the peer. The caller has verified the signature. */
export interface BondForPeers extends Rpc.DurableObjectBranded {
  admit(request: AdmissionRequest, policy: FederationPolicy): Promise<Admitted>;
  /** A page of our log. */
  pull(request: PullRequest, policy: FederationPolicy): Promise<Pulled>;
  /** Takes events from the peer. `body`: the signed bytes, not parsed yet. */
  push(body: Uint8Array, policy: FederationPolicy): Promise<Pushed>;
  /** Server-sent events (docs/spec/events.md#sync), for a peer whose trust was checked. */
  fetch(request: Request): Promise<Response>;
  /**
   * The caller has proved the card's key. An unknown pool becomes a peer at trust 1; a known peer gets the card's name
   * and URL.
   */
  register(card: Card, policy: FederationPolicy, signatureVersion: 1 | 2): Promise<TrustStep>;
}

export interface BondForAdmins extends Rpc.DurableObjectBranded {
  /** As `register`, for a peer that our admin adds. */
  add(card: Card, tokenId: string, policy: FederationPolicy, signatureVersion: 1 | 2): Promise<TrustStep>;
  /** Sets the granted trust (docs/spec/federation.md#trust). 0 revokes. */
  decide(level: GrantableLevel, admin: { name: string; tokenId: string }, policy: FederationPolicy): Promise<TrustStep>;
  /** Removes the peer. Null: there is no such peer. `recorded`: whether D1 has the removal already. */
  remove(tokenId: string): Promise<{ recorded: boolean } | null>;
  view(min_auth_tier: MinTier): PeerState | null;
  /** Follows the peer's log again from its beginning, even if the peer was proved to have shown two histories. */
  resync(): void;
}

export interface BondForEventLog extends Rpc.DurableObjectBranded {
  /** `EventLog` has new events. A peer that reads a stream gets them there. */
  notifyOfNewEvents(): void;
}

/** An import of exported rows, and the return to a copy of the pool's state. Only admins start them. */
export interface BondForRestores extends Rpc.DurableObjectBranded {
  /**
   * Restores a peer from an export, or a removed peer. False: this object has the peer with other content, or the id
   * does not belong to the key.
   */
  restore(row: PeerRow): Promise<boolean>;
  /**
   * Call after this pool was restored from a copy of its state. The peer's grants no longer count, until the peer sends
   * them again. `tokenId`: the admin's token.
   */
  forgetReceivedGrants(tokenId: string): Promise<void>;
}

/** Other objects, registrations and the cron trigger. */
export interface BondForPool extends Rpc.DurableObjectBranded {
  effectiveTrust(min_auth_tier: MinTier): TrustLevel;
  registrationStatus(): RegistrationStatus;
  /**
   * Retries immediately everything that waits for the peer, because the pool has started or federation was switched on.
   */
  resume(): Promise<void>;
  /** Does what is due, and arms the alarm. */
  wake(): Promise<void>;
  /** Deletes this peer, to make room for another. Does nothing unless the peer is a stranger. */
  evict(): Promise<void>;
}

export interface BondRpc extends BondForPeers, BondForAdmins, BondForEventLog, BondForPool, BondForRestores {}
