import type { BondStore } from "../bond-store.ts";
import type { Membership } from "./membership.ts";
import { peersChanged } from "./store.ts";
import { isStranger } from "./trust-rules.ts";

export interface EvictionOwner {
  /** Erases the object's storage. */
  forget(): Promise<void>;
  flush(): Promise<void>;
  /** Arms the object's alarm. */
  armBy(atMs: number): Promise<void>;
}

/**
 * Deletes a stranger, to make room for another peer (docs/spec/federation.md#registration). D1 deletes the row first.
 * Then the object forgets the peer. A crash in between leaves nothing behind.
 */
export class Eviction {
  readonly #store: BondStore;
  readonly #membership: Membership;
  readonly #owner: EvictionOwner;

  constructor(store: BondStore, membership: Membership, owner: EvictionOwner) {
    this.#store = store;
    this.#membership = membership;
    this.#owner = owner;
  }

  /** Whether the peer was evicted and D1 still has its row. */
  get isPending(): boolean {
    return this.#store.get("leaving") === true;
  }

  async begin(): Promise<void> {
    const { trust, peer } = this.#store;
    if (trust === null || peer === null || !isStranger(trust) || this.isPending) return;
    this.#store.transaction(() => {
      this.#store.put("leaving", true);
      // The outbox keeps the order: rows that are on their way to D1 arrive before the deletion.
      this.#store.records.remove("peers", peer.atomId);
    });
    await this.finish();
  }

  /** Forgets the peer once D1 has deleted its row. While D1 is away, the alarm tries again. */
  async finish(): Promise<void> {
    const { records, peer } = this.#store;
    if (!(await records.flush())) return this.#owner.armBy(records.dueAtMs(Date.now()) ?? Date.now());
    // An admin decided about the peer meanwhile, or the peer registered again.
    if (!this.isPending) return this.#owner.flush();
    await this.#owner.forget();
    peersChanged();
    if (peer !== null) await this.#membership.forget(peer.atomId);
  }
}
