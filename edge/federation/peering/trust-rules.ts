/**
 * What is granted, received and in effect between this pool and one peer (docs/spec/federation.md#trust, docs/spec/federation.md#registration). Pure. A change is a new
 * `PeerTrust`; where nothing changes the same one comes back.
 */
import type { HybridTime } from "../../../schema/wire/events.ts";
import {
  authTier,
  type FederationPolicy,
  type GrantableLevel,
  type TrustLevel,
} from "../../../schema/wire/federation.ts";
import { compare } from "../../events/clock-rules.ts";

/** Persisted contract: what a `Bond` keeps of trust. */
export interface PeerTrust {
  readonly granted: GrantableLevel;
  readonly received: TrustLevel;
  /** Clock of the last grant applied from this peer; an older one re-sent changes nothing. */
  readonly receivedAt: HybridTime | null;
  /** What our admin last decided, 0 after a revocation; null while nobody did. */
  readonly decided: GrantableLevel | null;
  readonly addedByAdmin: boolean;
  readonly addedAtMs: number;
  readonly revokedAtMs: number | null;
  /** A removed peer leaves this tombstone, and its `Bond` all cooldowns. */
  readonly removedAtMs: number | null;
}

export type TrustPolicy = Pick<
  FederationPolicy,
  "min_auth_tier" | "require_mutual" | "auto_accept_known" | "max_peers"
>;

export type TrustStep =
  | { ok: true; trust: PeerTrust }
  | {
      ok: false;
      code: "federation/registration-refused" | "federation/too-many-peers" | "federation/peer-not-found";
    };

/** docs/spec/federation.md#trust: what we granted, up to 2; above that `max(2, min(granted, received))`. */
export function effectiveTrust(granted: TrustLevel, received: TrustLevel): TrustLevel {
  if (granted <= 2) return granted;
  // Found and not computed, so that it stays a level to the compiler.
  return ([4, 3] as const).find((level) => level <= granted && level <= received) ?? 2;
}

/** Nobody here, no admin and no policy, has decided anything about the peer. */
export function isStranger(trust: PeerTrust): boolean {
  return !trust.addedByAdmin && trust.decided === null;
}

/** The level that every check asks for: nothing for who is not there, revoked, or refused by the minimal tier. */
export function trustInEffect(trust: PeerTrust | null, policy: Pick<TrustPolicy, "min_auth_tier">): TrustLevel {
  if (trust === null || trust.removedAtMs !== null || !isTierAccepted(policy)) return 0;
  return effectiveTrust(trust.granted, trust.received);
}

/** docs/spec/identity.md#tiers: until a tier can be proven every peer counts as device-bound, and a higher minimum refuses everyone. */
export function isTierAccepted(policy: Pick<TrustPolicy, "min_auth_tier">): boolean {
  const rank = (tier: FederationPolicy["min_auth_tier"]) => authTier.options.indexOf(tier);
  return rank("device-bound") >= rank(policy.min_auth_tier);
}

/**
 * The peer has proven its key, and we ours. A stranger becomes known; a removed peer comes back to what it may have;
 * a revoked one stays revoked, until our admin says otherwise by `decide`.
 * `others`: how many other peers are granted 2 and more.
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

/** `auto_accept_known`: what our admin last decided, as far as there is room. */
function levelOnReturn(trust: PeerTrust, policy: TrustPolicy, others: number): GrantableLevel {
  const known = policy.auto_accept_known && hasRoom(others, policy.max_peers) ? trust.decided : null;
  return known !== null && known > 1 ? known : 1;
}

/** Our admin's word. 0 is a revocation. */
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

/** At once; the object drops the peer's streams. */
export function revoke(trust: PeerTrust, nowMs: number): PeerTrust {
  return { ...trust, granted: 0, decided: 0, revokedAtMs: trust.revokedAtMs ?? nowMs };
}

/** What the peer granted us stays with its clock: it will not say it again. */
export function remove(trust: PeerTrust, nowMs: number): PeerTrust {
  return { ...trust, granted: 0, removedAtMs: trust.removedAtMs ?? nowMs };
}

export type GrantStep = { applied: true; trust: PeerTrust } | { applied: false; trust: PeerTrust };

/** A grant that the peer signed for us; `at` is its event's clock. Accepted at any trust, 0 included. */
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
 * Without `require_mutual` a peer that grants us 2 is granted 2. Never where our admin has decided anything, and never
 * 3, which both admins grant (docs/spec/federation.md#trust).
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

/** The level that the peer offers and our admin has not answered; null if it offers no more than it has. */
export function awaitsAdmin(trust: PeerTrust): GrantableLevel | null {
  const offered: GrantableLevel = trust.received === 4 ? 3 : trust.received;
  const open = trust.revokedAtMs === null && trust.removedAtMs === null;
  return open && offered >= 2 && offered > trust.granted ? offered : null;
}

/** `max_peers` counts what is granted 2 and more (docs/spec/federation.md#registration); 0 is without limit. */
function hasRoom(others: number, maxPeers: number): boolean {
  return maxPeers === 0 || others < maxPeers;
}
