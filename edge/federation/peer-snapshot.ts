import type { PeerRow } from "../../schema/db/peers.ts";
import type { MinTier, PeerState } from "./bond-rpc.ts";
import type { BondStore } from "./bond-store.ts";
import type { DeliveryQueue } from "./delivery/delivery-queue.ts";
import type { PeerChannel } from "./delivery/peer-channel.ts";
import { rowOfPeer } from "./peering/peer-record-rules.ts";
import type { PeerStatus } from "./peering/peer-registry-rpc.ts";
import { trustInEffect } from "./peering/trust-rules.ts";
import type { Admissions } from "./signing/admissions.ts";
import type { PeerSync } from "./sync/peer-sync.ts";
import { ANY_TIER } from "./sync/sync-owner.ts";

interface Parts {
  readonly channel: PeerChannel;
  readonly sync: PeerSync;
  admissions(): Admissions;
  deliveries(): DeliveryQueue;
}

/**
 * Reads the state of one peer, for others: its row in D1, its status in the registry, and the state that an admin
 * reads. It writes nothing.
 */
export class PeerSnapshot {
  readonly #store: BondStore;
  readonly #parts: () => Parts;

  constructor(store: BondStore, parts: () => Parts) {
    this.#store = store;
    this.#parts = parts;
  }

  /** Null: there is no peer. A removed peer still has a row. */
  row(): PeerRow | null {
    const { peer, trust } = this.#store;
    if (peer === null || trust === null) return null;
    const { admissions, channel } = this.#parts();
    return rowOfPeer(peer, trust, {
      decidedBy: this.#store.get("decidedBy") ?? null,
      signatureVersion: admissions().signatureVersion,
      circuit: channel.circuit(),
      seenAtMs: this.#store.seenAtMs,
    });
  }

  status(): PeerStatus {
    const { channel, deliveries, sync } = this.#parts();
    const effective = trustInEffect(this.#store.trust, ANY_TIER);
    return {
      effective,
      circuit: channel.circuit(),
      deliveries: deliveries().waiting(),
      waitingSinceMs: deliveries().waitingSinceMs(),
      absence: channel.unavailability(),
      hasRevokedUs: this.#store.get("hasRevokedUs") ?? false,
      givenUp: this.#store.get("givenUp") ?? 0,
      untold: this.#store.events.pending(),
      records: this.#store.records.held(),
      behind: sync.behind(),
      isUnfollowable:
        effective >= 2 && sync.view().some(({ followed }) => (followed.unfollowable?.told.length ?? 0) > 0),
    };
  }

  /** Null: there is no peer, or it was removed. */
  state(min_auth_tier: MinTier): PeerState | null {
    const row = this.row();
    if (row === null || row.removedAtMs !== null) return null;
    const { channel, deliveries, sync } = this.#parts();
    return {
      row,
      effective: trustInEffect(this.#store.trust, { min_auth_tier }),
      sync: sync.view(),
      waiting: deliveries().waiting(),
      unavailability: channel.unavailability(),
      hasRevokedUs: this.#store.get("hasRevokedUs") ?? false,
      recorded: this.#store.records.pending() === 0,
    };
  }
}
