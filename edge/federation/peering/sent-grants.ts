import { draft } from "../../../schema/wire/event-registry.ts";
import type { SignedEvent } from "../../../schema/wire/events.ts";
import type { GrantableLevel } from "../../../schema/wire/federation.ts";
import type { BondStore } from "../bond-store.ts";
import type { DeliveryQueue, GiveUpReason } from "../delivery/delivery-queue.ts";
import { wasGranted } from "./grant-rules.ts";

/**
 * The grants that this pool sends to the peer, as `direct` events (docs/spec/federation.md#trust). Only the last grant
 * counts. If the peer may have lost it, the peer gets the same event again, so that no peer can fill our log by losing
 * grants.
 */
export class SentGrants {
  readonly #store: BondStore;
  readonly #deliveries: () => DeliveryQueue;
  /**
   * Whether the peer has called since our grant was given up. When the peer next proves that it can be reached, it gets
   * the grant again.
   */
  #isResendDue = false;

  constructor(store: BondStore, deliveries: () => DeliveryQueue) {
    this.#store = store;
    this.#deliveries = deliveries;
  }

  /** Call inside a transaction. Records a grant; when the log has signed it, it is queued for the peer. */
  grant(peer: string, level: GrantableLevel): void {
    this.#store.events.put(draft("trust_granted", { peer, level }));
  }

  /** Call inside a transaction, when the log has signed a grant. */
  queue(event: SignedEvent): void {
    this.#store.put("lastGrant", event);
    this.#deliveries().put({ kind: "grant", body: { events: [{ event, ttl: 0 }] } }, Date.now());
  }

  /**
   * Call inside a transaction, when the peer may have lost our grant, for example because it was restored from a
   * backup.
   */
  resend(): void {
    const { peer, trust } = this.#store;
    if (trust === null || peer === null || !wasGranted(trust)) return;
    const signed = this.#store.get("lastGrant");
    if (signed !== undefined) this.queue(signed);
    else this.grant(peer.atomId, trust.granted);
  }

  /** Call inside a transaction, when the delivery of a grant was given up. */
  givenUp(event: SignedEvent, reason: GiveUpReason): void {
    const isLast = event.content_id === this.#store.get("lastGrant")?.content_id;
    // The peer may have been unreachable. With `gone` the peer answered that it will never take the grant.
    if (isLast && reason === "tries") this.#store.put("unheardGrant", true);
  }

  get isUndelivered(): boolean {
    return this.#store.get("unheardGrant") === true;
  }

  /** Call it for each request of the peer. */
  peerCalled(): void {
    this.#isResendDue = this.isUndelivered;
  }

  /** Call inside a transaction, when the peer has proved that it can be reached. */
  peerReached(): void {
    if (!this.#isResendDue) return;
    this.#isResendDue = false;
    this.#store.delete("unheardGrant");
    this.resend();
  }
}
