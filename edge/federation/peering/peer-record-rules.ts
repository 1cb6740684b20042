/** Converts the state of a peer to its row in D1, and back. */
import type { PeerRow } from "../../../schema/db/peers.ts";
import type { Card, GrantableLevel } from "../../../schema/wire/federation.ts";
import { awaitsAdmin, effectiveTrust, type PeerTrust } from "./trust-rules.ts";

/** Persisted contract: the peer's identity, from its last card. */
export interface PeerIdentity {
  atomId: string;
  publicKey: string;
  name: string;
  url: string;
  capabilities: string[];
  authTier: Card["auth_tier"];
}

type Seen = Pick<PeerRow, "decidedBy" | "signatureVersion" | "circuit" | "seenAtMs">;

/** The row of a peer for D1. `seen`: the columns that other parts of the `Bond` know. */
export function rowOfPeer(identity: PeerIdentity, trust: PeerTrust, seen: Seen): PeerRow {
  const { atomId: id, publicKey, name, url, capabilities, authTier } = identity;
  const { granted, received, addedByAdmin, addedAtMs, revokedAtMs, removedAtMs } = trust;
  return {
    id,
    publicKey,
    name,
    url,
    capabilities: JSON.stringify(capabilities),
    authTier,
    granted,
    received,
    effective: effectiveTrust(granted, received),
    awaitsAdmin: awaitsAdmin(trust),
    addedByAdmin,
    addedAtMs,
    revokedAtMs,
    removedAtMs,
    ...seen,
  };
}

/** The identity from an imported row. */
export function identityOfRow(row: PeerRow): PeerIdentity {
  const { id: atomId, publicKey, name, url, authTier } = row;
  return { atomId, publicKey, name, url, capabilities: JSON.parse(row.capabilities) as string[], authTier };
}

/**
 * The trust from an imported row. The level that the peer granted is left out, because the peer may have withdrawn it
 * since.
 */
export function trustOfRow(row: PeerRow): PeerTrust {
  const { decidedBy, addedByAdmin, addedAtMs, revokedAtMs, removedAtMs } = row;
  const granted = row.granted as GrantableLevel;
  const decided = decidedBy === null ? null : granted;
  return { granted, received: 0, receivedAt: null, decided, addedByAdmin, addedAtMs, revokedAtMs, removedAtMs };
}

/** Whether both rows are of the same peer with the same decision of an admin. */
export function isSamePeer(a: PeerRow, b: PeerRow): boolean {
  return (["publicKey", "granted", "revokedAtMs", "removedAtMs"] as const).every((field) => a[field] === b[field]);
}
