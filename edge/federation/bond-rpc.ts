/**
 * The interfaces of a `Bond` and the shapes that cross them. Each group of callers has an interface of its own, and
 * `bond-for.ts` returns stubs of these, so that a route for peers cannot call what is for admins.
 */
import type { AdminRequestRow } from "../../schema/db/admin-requests.ts";
import type { PeerRow } from "../../schema/db/peers.ts";
import type { RequestDirection } from "../../schema/wire/admin-requests.ts";
import type { Card, FederationPolicy, GrantableLevel, TrustLevel } from "../../schema/wire/federation.ts";
import type { ErasableText } from "../record/erasable-text.ts";
import type { Unavailability } from "./delivery/availability-rules.ts";
import type {
  ActingAdmin,
  ApprovalFacts,
  Decided,
  IncomingRequest,
  OutgoingRequest,
  ReceivedCallback,
  ReceivedRequest,
  SentAnswer,
  SignedRequest,
  StoredRequest,
} from "./inbox/request-shapes.ts";
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
  /** Whether the peer refuses all our requests. */
  hasRevokedUs: boolean;
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

/** Requests of the peer's admin (docs/spec/federation.md#admin-requests). */
export interface BondForRequests extends Rpc.DurableObjectBranded {
  /** Step 2 and the steps that follow. The caller has verified the signatures. */
  receiveRequest(request: IncomingRequest, policy: FederationPolicy): Promise<ReceivedRequest>;
  /** The peer's answer to a request of ours. */
  takeCallback(callback: ReceivedCallback, policy: FederationPolicy): Promise<SentAnswer>;
}

/** What our admin does with requests, received and sent. */
export interface BondForInbox extends Rpc.DurableObjectBranded {
  /** Null: there is no such request. */
  request(direction: RequestDirection, requestId: string): StoredRequest | null;
  /** The admin's signature of a received write, to verify it again. Null: there is no such request. */
  signedRequest(requestId: string): SignedRequest | null;
  /** Resolves when the action has answered. `reason`: overrides the slashing guard. */
  approveRequest(
    requestId: string,
    reason: ErasableText | null,
    facts: ApprovalFacts,
    admin: ActingAdmin,
    policy: FederationPolicy,
  ): Promise<Decided>;
  rejectRequest(requestId: string, note: ErasableText | null, admin: ActingAdmin): Promise<Decided>;
  /** Sends a request to the peer's admin. Waits for the peer's answer, for a while. */
  sendRequest(request: OutgoingRequest, admin: ActingAdmin): Promise<SentAnswer>;
  /** `row`: the copy in D1. False: there is no such request. `by`: the admin's token id. */
  eraseTexts(direction: RequestDirection, requestId: string, row: AdminRequestRow | null, by: string): Promise<boolean>;
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

export interface BondRpc
  extends BondForPeers,
    BondForRequests,
    BondForAdmins,
    BondForInbox,
    BondForEventLog,
    BondForPool,
    BondForRestores {}
