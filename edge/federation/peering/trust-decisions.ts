import type { PeerRow } from "../../../schema/db/peers.ts";
import { draft } from "../../../schema/wire/event-registry.ts";
import type { Card, FederationPolicy, GrantableLevel } from "../../../schema/wire/federation.ts";
import type { BondStore } from "../bond-store.ts";
import type { DeliveryQueue } from "../delivery/delivery-queue.ts";
import type { AdminRequests } from "../inbox/admin-requests.ts";
import type { Admissions } from "../signing/admissions.ts";
import { wasGranted } from "./grant-rules.ts";
import type { Membership } from "./membership.ts";
import { identityOfRow, trustOfRow } from "./peer-record-rules.ts";
import type { ReceivedGrants } from "./received-grants.ts";
import type { SentGrants } from "./sent-grants.ts";
import { decide, isOneSided, prove, remove, type TrustStep } from "./trust-rules.ts";

interface Parts {
  readonly membership: Membership;
  readonly sent: SentGrants;
  readonly received: ReceivedGrants;
  admissions(): Admissions;
  deliveries(): DeliveryQueue;
  requests(): Pick<AdminRequests, "peerRemoved">;
}

/**
 * Stores each decision about the peer in one transaction: trust, the peer's row, our audit event, and the grant for the
 * peer.
 */
export class TrustDecisions {
  readonly #store: BondStore;
  readonly #parts: Parts;

  constructor(store: BondStore, parts: Parts) {
    this.#store = store;
    this.#parts = parts;
  }

  /**
   * Call after both pools have proved their keys. A known peer gets the name and the URL of the card. `by`: the admin's
   * token id; null if the peer registers by itself. `isNew`: the peer is new, or was removed before.
   */
  async register(
    card: Card,
    by: string | null,
    policy: FederationPolicy,
    signatureVersion: 1 | 2,
  ): Promise<{ step: TrustStep; isNew: boolean }> {
    const { membership, sent, received, admissions } = this.#parts;
    const nowMs = Date.now();
    const before = this.#store.trust;
    const wasRemoved = before !== null && before.removedAtMs !== null;
    const isNew = before === null || wasRemoved;
    const { atom_id: atomId, public_key: publicKey, name, url, capabilities, auth_tier: authTier } = card;
    const step = await membership.withPlace(atomId, policy, (others) =>
      prove(this.#store.trust, { admin: by !== null }, policy, others, nowMs),
    );
    if (!step.ok) return { step, isNew };
    this.#store.transaction(() => {
      this.#cancelEviction();
      this.#store.delete("hasRevokedUs");
      this.#store.put("identity", { atomId, publicKey, name, url, capabilities, authTier });
      this.#store.seenAtMs = nowMs;
      admissions().noteSignatureVersion(signatureVersion);
      if (by !== null) received.release();
      if (!isNew) sent.resend();
      // Our log records a stranger only after an admin, or the policy, has decided about it.
      else if (by === null && !wasRemoved) received.registered();
      else {
        this.#store.events.put(draft("peer_handshake", { peer: atomId, by }));
        // The peer may not know that we removed it, so send it the new level.
        if (wasRemoved) sent.grant(atomId, step.trust.granted);
      }
      this.#store.putTrust(step.trust);
    });
    return { step, isNew };
  }

  /** Sets the trust that our admin decided. D1 gets the admin's name, the log only the token id. */
  async decide(
    peer: string,
    level: GrantableLevel,
    admin: { name: string; tokenId: string },
    policy: FederationPolicy,
  ): Promise<TrustStep> {
    const { membership, sent, received } = this.#parts;
    const step = await membership.withPlace(peer, policy, (others) =>
      decide(this.#store.trust, level, policy, others, Date.now()),
    );
    if (!step.ok) {
      // The registry may have claimed a place for this peer.
      if (this.#store.trust === null) await membership.forget(peer);
      else await membership.note();
      return step;
    }
    const from = this.#store.trust?.granted ?? 0;
    this.#store.transaction(() => {
      this.#cancelEviction();
      received.release();
      this.#store.put("decidedBy", admin.name);
      const change = { peer, by: admin.tokenId, from, to: level, received: step.trust.received };
      const oneSided = isOneSided(step.trust, policy, this.#parts.admissions().signatureVersion);
      this.#store.events.put(draft("trust_changed", { ...change, ...(oneSided && { one_sided: true }) }));
      sent.grant(peer, level);
      this.#store.putTrust(step.trust);
    });
    return step;
  }

  /** Removes the peer. False: there is no such peer. If the peer was granted anything, it still gets a grant of 0. */
  remove(by: string): boolean {
    const { sent, received, deliveries, requests } = this.#parts;
    const { trust } = this.#store;
    const peer = this.#store.peer?.atomId;
    if (trust === null || trust.removedAtMs !== null || peer === undefined) return false;
    this.#store.transaction(() => {
      this.#cancelEviction();
      requests().peerRemoved();
      deliveries().clear();
      received.release();
      const change = { peer, by, from: trust.granted, to: null, received: trust.received };
      this.#store.events.put(draft("trust_changed", change));
      if (wasGranted(trust)) sent.grant(peer, 0);
      this.#store.putTrust(remove(trust, Date.now()));
    });
    return true;
  }

  /**
   * Restores a peer from an export. The peer's own grant is left out, because the peer may have withdrawn it since; the peer
   * sends its current grant again. Requests signed before now are refused.
   */
  restore(row: PeerRow): void {
    this.#store.transaction(() => {
      this.#store.put("identity", identityOfRow(row));
      this.#parts.admissions().refuseEarlierRequests(row.signatureVersion === 2 ? 2 : 1, Date.now());
      this.#store.put("decidedBy", row.decidedBy);
      this.#store.seenAtMs = row.seenAtMs;
      this.#store.putTrust(trustOfRow(row));
    });
  }

  /**
   * Call after this pool was restored from a copy of its state. The peer's grant counts again once the peer resends it.
   */
  forgetReceivedGrants(by: string): void {
    const { trust } = this.#store;
    const peer = this.#store.peer?.atomId;
    if (trust === null || trust.receivedAt === null || peer === undefined) return;
    const { granted } = trust;
    this.#store.transaction(() => {
      const change = { peer, by, from: granted, to: granted, received: 0 as const };
      this.#store.events.put(draft("trust_changed", change));
      this.#store.putTrust({ ...trust, received: 0, receivedAt: null });
    });
  }

  /** Call inside a transaction. Cancels a pending eviction of the peer. */
  #cancelEviction(): void {
    if (this.#store.get("leaving") === true) this.#store.delete("leaving");
  }
}
