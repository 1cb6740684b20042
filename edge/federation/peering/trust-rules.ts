/**
 * The trust between this pool and one peer: granted, received and in effect (docs/spec/federation.md#trust). Each
 * function returns a new `PeerTrust`, or the given one if nothing has changed. All times are epoch ms.
 */
import type { HybridTime } from "../../../schema/wire/events.ts";
import {
  authTier,
  type FederationPolicy,
  type GrantableLevel,
  type TrustLevel,
} from "../../../schema/wire/federation.ts";
import { compare } from "../../events/clock-rules.ts";

/** Persisted contract: the trust that a `Bond` stores. */
export interface PeerTrust {
  readonly granted: GrantableLevel;
  readonly received: TrustLevel;
  /** The clock of the last grant that was applied. An older grant that is sent again changes nothing. */
  readonly receivedAt: HybridTime | null;
  /** The level that our admin decided last, 0 after a revocation; null before the first decision. */
  readonly decided: GrantableLevel | null;
  readonly addedByAdmin: boolean;
  readonly addedAtMs: number;
  readonly revokedAtMs: number | null;
  /** When the peer was removed. Its state is kept, so that a removed peer gains nothing by registering again. */
  readonly removedAtMs: number | null;
}

export type TrustPolicy = Pick<
  FederationPolicy,
  "min_auth_tier" | "require_mutual" | "auto_accept_known" | "max_peers"
>;

/** What a check of trust is for. Only the first three know the exception for a one-sided bond. */
export type TrustUse = "read-request" | "peer-status" | "callback" | "other";

export type TrustStep =
  | { ok: true; trust: PeerTrust }
  | {
      ok: false;
      code: "federation/registration-refused" | "federation/too-many-peers" | "federation/peer-not-found";
    };

/** The trust in effect: what we granted, up to 2; above that `max(2, min(granted, received))`. */
export function effectiveTrust(granted: TrustLevel, received: TrustLevel): TrustLevel {
  if (granted <= 2) return granted;
  // A search instead of arithmetic, so that the compiler knows the result as a level.
  return ([4, 3] as const).find((level) => level <= granted && level <= received) ?? 2;
}

/** Whether the peer registered by itself and our admin has decided nothing about it. */
export function isStranger(trust: PeerTrust): boolean {
  return !trust.addedByAdmin && trust.decided === null;
}

/**
 * The effective trust, for every check of a peer. It is 0 for an unknown or revoked peer, and if the policy does not
 * accept the peer's tier.
 */
export function trustInEffect(trust: PeerTrust | null, policy: Pick<TrustPolicy, "min_auth_tier">): TrustLevel {
  if (trust === null || trust.removedAtMs !== null || !isTierAccepted(policy)) return 0;
  return effectiveTrust(trust.granted, trust.received);
}

/**
 * Whether the peer cannot answer our admin's 3 with a grant of its own. Pools of the existing network keep their grants to
 * themselves. `signatureVersion`: the newest version that the peer has ever used; its first version 2 request ends the
 * exception, because a pool that speaks version 2 tells its grants.
 */
export function isOneSided(
  trust: { readonly granted: TrustLevel; readonly received: TrustLevel },
  policy: Pick<FederationPolicy, "legacy_signatures">,
  signatureVersion: 1 | 2,
): boolean {
  return trust.granted >= 3 && trust.received < 3 && signatureVersion === 1 && policy.legacy_signatures === "all";
}

/**
 * The effective trust for one use (docs/spec/federation.md#one-sided-bonds). In a one-sided bond our grant of 3 counts as
 * received for read requests, `peer/status` and callbacks. It never counts for events, write requests or forwarded jobs.
 */
export function trustFor(
  trust: PeerTrust | null,
  policy: Pick<FederationPolicy, "min_auth_tier" | "legacy_signatures">,
  signatureVersion: 1 | 2,
  use: TrustUse,
): TrustLevel {
  const inEffect = trustInEffect(trust, policy);
  // Below 2 the peer is refused, revoked or removed: no exception.
  if (use === "other" || trust === null || inEffect < 2) return inEffect;
  return isOneSided(trust, policy, signatureVersion) ? 3 : inEffect;
}

/**
 * Whether the policy accepts the tier of peers. Tiers cannot be proven yet, so every peer counts as device-bound, and a
 * higher minimum refuses all peers (docs/spec/identity.md#tiers).
 */
export function isTierAccepted(policy: Pick<TrustPolicy, "min_auth_tier">): boolean {
  const rank = (tier: FederationPolicy["min_auth_tier"]) => authTier.options.indexOf(tier);
  return rank("device-bound") >= rank(policy.min_auth_tier);
}

/**
 * The trust after both pools have proved their keys. A stranger becomes a peer, and a removed peer returns. A revoked
 * peer stays revoked until our admin decides otherwise. `others`: how many other peers are granted 2 or more.
 */
export function prove(
  trust: PeerTrust | null,
  by: { admin: boolean },
  policy: TrustPolicy,
  others: number,
  nowMs: number,
): TrustStep {
  if (!isTierAccepted(policy)) return { ok: false, code: "federation/registration-refused" };
  if (trust === null) return { ok: true, trust: newcomer(by.admin, nowMs) };
  if (trust.revokedAtMs !== null && !by.admin) return { ok: false, code: "federation/registration-refused" };
  const addedByAdmin = trust.addedByAdmin || by.admin;
  if (trust.removedAtMs === null) {
    return { ok: true, trust: addedByAdmin === trust.addedByAdmin ? trust : { ...trust, addedByAdmin } };
  }
  const granted = trust.revokedAtMs !== null ? 0 : levelOnReturn(trust, policy, others);
  return { ok: true, trust: { ...trust, addedByAdmin, granted, removedAtMs: null } };
}

function newcomer(addedByAdmin: boolean, nowMs: number): PeerTrust {
  return {
    granted: 1,
    received: 0,
    receivedAt: null,
    decided: null,
    addedByAdmin,
    addedAtMs: nowMs,
    revokedAtMs: null,
    removedAtMs: null,
  };
}

/**
 * The level of a removed peer that returns. With `auto_accept_known` it is the level that our admin decided last, if
 * there is room; otherwise 1.
 */
function levelOnReturn(trust: PeerTrust, policy: TrustPolicy, others: number): GrantableLevel {
  const known = policy.auto_accept_known && hasRoom(others, policy.max_peers) ? trust.decided : null;
  return known !== null && known > 1 ? known : 1;
}

/** The trust after our admin granted `level`; 0 revokes. `others`: how many other peers are granted 2 or more. */
export function decide(
  trust: PeerTrust | null,
  level: GrantableLevel,
  policy: TrustPolicy,
  others: number,
  nowMs: number,
): TrustStep {
  if (trust === null || trust.removedAtMs !== null) return { ok: false, code: "federation/peer-not-found" };
  if (level === 0) return { ok: true, trust: revoke(trust, nowMs) };
  if (level >= 2 && trust.granted < 2 && !hasRoom(others, policy.max_peers)) {
    return { ok: false, code: "federation/too-many-peers" };
  }
  return { ok: true, trust: { ...trust, granted: level, decided: level, revokedAtMs: null } };
}

/** Revokes all trust, with immediate effect. The object then ends the peer's streams. */
export function revoke(trust: PeerTrust, nowMs: number): PeerTrust {
  return { ...trust, granted: 0, decided: 0, revokedAtMs: trust.revokedAtMs ?? nowMs };
}

/** Removes the peer. The peer's grant to us stays with its clock, because the peer will not send it again. */
export function remove(trust: PeerTrust, nowMs: number): PeerTrust {
  return { ...trust, granted: 0, removedAtMs: trust.removedAtMs ?? nowMs };
}

export type GrantStep = { applied: true; trust: PeerTrust } | { applied: false; trust: PeerTrust };

/** Applies a grant that the peer signed for us, at any trust. `at`: the clock of its event. */
export function receiveGrant(
  trust: PeerTrust,
  grant: { level: TrustLevel; at: HybridTime },
  policy: TrustPolicy,
  others: number,
): GrantStep {
  if (trust.receivedAt !== null && compare(grant.at, trust.receivedAt) <= 0) return { applied: false, trust };
  const granted = answersByItself(trust, grant.level, policy, others) ? 2 : trust.granted;
  return { applied: true, trust: { ...trust, received: grant.level, receivedAt: grant.at, granted } };
}

/**
 * Without `require_mutual`, a peer that grants us 2 is granted 2. This never overrides a decision of our admin, and it never
 * grants 3, which both admins must grant (docs/spec/federation.md#trust).
 */
function answersByItself(trust: PeerTrust, level: TrustLevel, policy: TrustPolicy, others: number): boolean {
  return (
    !policy.require_mutual &&
    level >= 2 &&
    trust.granted === 1 &&
    trust.decided === null &&
    trust.removedAtMs === null &&
    isTierAccepted(policy) &&
    hasRoom(others, policy.max_peers)
  );
}

/** The level that the peer grants us and our admin has not granted in return; null if there is none. */
export function awaitsAdmin(trust: PeerTrust): GrantableLevel | null {
  const offered: GrantableLevel = trust.received === 4 ? 3 : trust.received;
  const open = trust.revokedAtMs === null && trust.removedAtMs === null;
  return open && offered >= 2 && offered > trust.granted ? offered : null;
}

/**
 * Whether `max_peers` has room (docs/spec/federation.md#registration). It counts peers granted 2 and more; 0 means no limit.
 */
function hasRoom(others: number, maxPeers: number): boolean {
  return maxPeers === 0 || others < maxPeers;
}
