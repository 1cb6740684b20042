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

/** What a pool remembers of a peer beyond its removal, for a registration. */
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

/** Requests of the peer, whose signature was verified. The stream of events is `fetch`. */
export interface BondForPeers extends Rpc.DurableObjectBranded {
  admit(request: AdmissionRequest, policy: FederationPolicy): Promise<Admitted>;
  /** A page of our log. */
  pull(request: PullRequest, policy: FederationPolicy): Promise<Pulled>;
  /** `body`: what the peer signed, not parsed yet. */
  push(body: Uint8Array, policy: FederationPolicy): Promise<Pushed>;
  /** Server-sent events (docs/spec/events.md#sync), for a peer whose trust was checked. */
  fetch(request: Request): Promise<Response>;
  /** The peer has proved the card's key. It becomes a peer at trust 1; a known peer changes its name and URL so. */
  register(card: Card, policy: FederationPolicy, signatureVersion: 1 | 2): Promise<TrustStep>;
}

export interface BondForAdmins extends Rpc.DurableObjectBranded {
  /** As `register`, for a peer that our admin adds. */
  add(card: Card, tokenId: string, policy: FederationPolicy, signatureVersion: 1 | 2): Promise<TrustStep>;
  /** Sets the granted trust (docs/spec/federation.md#trust). 0 revokes. */
  decide(level: GrantableLevel, admin: { name: string; tokenId: string }, policy: FederationPolicy): Promise<TrustStep>;
  /** Null: there is no such peer. `recorded`: whether D1 has the removal already. */
  remove(tokenId: string): Promise<{ recorded: boolean } | null>;
  view(min_auth_tier: MinTier): PeerState | null;
  /** Follows the peer's log from its beginning, also after a proof of two histories. */
  resync(): void;
}

export interface BondForEventLog extends Rpc.DurableObjectBranded {
  /** `EventLog` has new events. A peer that reads a stream gets them there. */
  notifyOfNewEvents(): void;
}

/** Other objects, the cron trigger, import and restore. */
export interface BondForPool extends Rpc.DurableObjectBranded {
  effectiveTrust(min_auth_tier: MinTier): TrustLevel;
  registrationStatus(): RegistrationStatus;
  /** A peer of an export, tombstones too. False: another peer is here, or the id is not that of the key. */
  restore(row: PeerRow): Promise<boolean>;
  /** This pool went back to a copy of its state: grants of the peer count once it sends them again. */
  forgetReceivedGrants(tokenId: string): Promise<void>;
  /** Tries at once what waits: the pool was away, or its switches allow more. */
  resume(): Promise<void>;
  /** Does what is due, and arms the alarm. */
  wake(): Promise<void>;
  /** A stranger makes room for another: it is no peer from now on, and nothing of it stays. */
  evict(): Promise<void>;
}

export interface BondRpc extends BondForPeers, BondForAdmins, BondForEventLog, BondForPool {}
