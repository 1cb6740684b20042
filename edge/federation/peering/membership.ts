import type { FederationPolicy } from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import type { BondStore } from "../bond-store.ts";
import { registryForPeers } from "./peer-registry-for.ts";
import type { PeerStatus } from "./peer-registry-rpc.ts";
import type { GrantStep, TrustStep } from "./trust-rules.ts";

/** A peer's entry in `PeerRegistry`, which counts the peers of all bonds (docs/spec/federation.md#registration). */
export class Membership {
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #status: () => PeerStatus;
  /** The reports that are on their way to the registry. */
  #noting: Promise<unknown> = Promise.resolve();

  constructor(env: Env, store: BondStore, status: () => PeerStatus) {
    this.#env = env;
    this.#store = store;
    this.#status = status;
  }

  /**
   * Decides a step that may lift the peer to trust 2, after it has claimed a place among `max_peers`. `step` gets the number
   * of other peers that have a place.
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

  /** Reports to the registry what it counts this peer by. */
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

  /** The registry forgets the peer, unless it came back meanwhile. Earlier reports arrive first. */
  async forget(atomId: string): Promise<void> {
    await this.#noting;
    if (this.#store.trust === null) await this.#registry().forget(atomId);
  }

  #registry() {
    return registryForPeers(this.#env);
  }
}
