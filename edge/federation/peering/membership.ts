import type { FederationPolicy } from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import type { BondStore } from "../bond-store.ts";
import { registryForBonds } from "./peer-registry-for.ts";
import type { PeerStatus } from "./peer-registry-rpc.ts";
import type { GrantStep, TrustStep } from "./trust-rules.ts";

/** Keeps one peer's entry in `PeerRegistry`, which counts the pool's peers (docs/spec/federation.md#registration). */
export class Membership {
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #status: () => PeerStatus;
  /** The unfinished reports to the registry. */
  #noting: Promise<unknown> = Promise.resolve();

  constructor(env: Env, store: BondStore, status: () => PeerStatus) {
    this.#env = env;
    this.#store = store;
    this.#status = status;
  }

  /**
   * Runs a step that may raise the peer to trust 2. If it would, a place among `max_peers` is claimed first. `step`
   * gets the number of other peers that have a place; if no place is free, that number is infinite, so the step
   * refuses.
   */
  async withPlace<Step extends TrustStep | GrantStep>(
    atomId: string,
    { max_peers }: FederationPolicy,
    step: (others: number) => Step,
  ): Promise<Step> {
    const wanted = step(0);
    const isLifted = "trust" in wanted && wanted.trust.granted >= 2 && (this.#store.trust?.granted ?? 0) < 2;
    if (!isLifted) return wanted;
    const hasPlace = await this.#registry().claimPlace(atomId, max_peers);
    return step(hasPlace ? 0 : Number.POSITIVE_INFINITY);
  }

  /** Reports to the registry the values by which it counts this peer. */
  async note(): Promise<void> {
    const { peer, trust } = this.#store;
    if (trust === null || peer === null || this.#store.get("leaving") === true) return;
    const { atomId } = peer;
    const { granted, addedAtMs, addedByAdmin, decided, removedAtMs } = trust;
    const member = { atomId, granted, addedAtMs, keptByAdmin: addedByAdmin || decided !== null };
    const registry = this.#registry();
    const noted = Promise.resolve(
      removedAtMs === null ? registry.note(member, this.#status()) : registry.leave(atomId, this.#status()),
    );
    this.#noting = Promise.allSettled([this.#noting, noted]);
    await noted;
  }

  /**
   * Makes the registry forget the peer, unless the peer has registered again meanwhile. Waits until earlier reports
   * have arrived.
   */
  async forget(atomId: string): Promise<void> {
    await this.#noting;
    if (this.#store.trust === null) await this.#registry().forget(atomId);
  }

  #registry() {
    return registryForBonds(this.#env);
  }
}
