import { draft } from "../../../schema/wire/event-registry.ts";
import type { EventBody, SignedEvent } from "../../../schema/wire/events.ts";
import type { FederationPolicy } from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import type { BondStore } from "../bond-store.ts";
import type { IncomingResult } from "../sync/incoming-rules.ts";
import { grantedLevel } from "../sync/sync-trust-rules.ts";
import { type Grant, keptRefusal, type Unlogged } from "./grant-rules.ts";
import type { Membership } from "./membership.ts";
import type { SentGrants } from "./sent-grants.ts";
import { type PeerTrust, receiveGrant } from "./trust-rules.ts";

/**
 * The grants that the peer sends us. A grant takes effect immediately. Our log gets it only after an admin or the
 * policy has decided about the peer.
 */
export class ReceivedGrants {
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #membership: Membership;
  readonly #sent: SentGrants;

  constructor(env: Env, store: BondStore, membership: Membership, sent: SentGrants) {
    this.#env = env;
    this.#store = store;
    this.#membership = membership;
    this.#sent = sent;
  }

  /**
   * Applies grants of a peer at trust 2 or more, which our log has taken. A grant that is older than the last one
   * changes nothing.
   */
  async receive(grants: readonly Grant[], policy: FederationPolicy): Promise<void> {
    for (const grant of grants) await this.#apply(grant, policy, (before, after) => this.#publish(before, after));
  }

  /**
   * Applies a verified grant that our log does not take, because the peer is below trust 2 or its quota is spent. Only
   * the newest such grant is kept.
   */
  async keep(wire: SignedEvent, event: EventBody, self: string, policy: FederationPolicy): Promise<IncomingResult> {
    const { content_id } = wire;
    const code = keptRefusal(event, { from: this.#store.peer?.atomId ?? "", self }, Date.now());
    if (code !== null) return { ok: false, content_id, code };
    const grant = { level: grantedLevel(event) ?? 0, at: event.hlc };
    const isNew = await this.#apply(grant, policy, (before, after) => {
      // If this grant replaces one that was released to the log and is not in it yet, it is released too.
      const { isMet = false, isReleased = false } = this.#unlogged();
      this.#put({ isMet, grant: wire, isReleased });
      // If the policy answered with trust 2, that is a decision about the peer.
      if (after.granted < 2 || before.granted >= 2) return;
      this.#release();
      this.#publish(before, after);
    });
    return { ok: true, content_id, outcome: isNew ? "accepted" : "duplicate" };
  }

  /**
   * Whether the peer has never sent a grant. A refused grant counts too, so that invalid grants cannot use up the rate
   * that is reserved for new peers. Older versions stored only the grants that were applied.
   */
  isFirstTry(): boolean {
    return this.#store.get("hasTriedGrant") !== true && this.#store.trust?.receivedAt === null;
  }

  /** Call before a grant of the peer is checked. */
  tried(): void {
    if (this.#store.get("hasTriedGrant") !== true) this.#store.put("hasTriedGrant", true);
  }

  /** Call inside a transaction, when the peer has registered by itself. */
  registered(): void {
    this.#put({ isMet: true });
  }

  /**
   * Call inside the transaction of a decision about the peer. Everything that was kept out of the log goes to it before
   * the decision.
   */
  release(): void {
    const { trust } = this.#store;
    const { grant, isReleased } = this.#unlogged();
    const isPending = grant !== undefined && !isReleased;
    this.#release();
    if (trust !== null && isPending) this.#publish({ ...trust, received: 0 }, trust);
  }

  /**
   * Sends the released grant to our log. Call it after the commit. False: the log did not take the grant, and the
   * caller tries again, as after a rejection.
   */
  async flush(): Promise<boolean> {
    const { grant, isReleased } = this.#unlogged();
    const from = this.#store.peer?.atomId;
    if (!isReleased || grant === undefined || from === undefined) return true;
    const taken = await eventLogForBonds(this.#env).receive([{ wire: grant, ttl: 0, from }]);
    if (!taken.ok || !taken.results.every(({ ok }) => ok)) return false;
    const { grant: newest } = this.#unlogged();
    if (newest?.content_id === grant.content_id) this.#store.delete("unlogged");
    // A newer grant has arrived meanwhile. It waits for a decision of its own.
    else if (newest !== undefined) this.#put({ grant: newest });
    return true;
  }

  async #apply(
    grant: Grant,
    policy: FederationPolicy,
    also: (before: PeerTrust, after: PeerTrust) => void,
  ): Promise<boolean> {
    const peer = this.#store.peer?.atomId;
    const given = this.#store.trust;
    if (given === null || peer === undefined) return false;
    const step = await this.#membership.withPlace(peer, policy, (others) =>
      receiveGrant(this.#store.trust ?? given, grant, policy, others),
    );
    const before = this.#store.trust;
    // Null: the peer was forgotten while we awaited the registry.
    if (before === null || !step.applied) return false;
    this.#store.transaction(() => {
      also(before, step.trust);
      if (grant.level === 0) this.#store.put("hasRevokedUs", true);
      else this.#store.delete("hasRevokedUs");
      this.#store.putTrust(step.trust);
    });
    return true;
  }

  #publish(before: PeerTrust, { granted: to, received }: PeerTrust): void {
    const peer = this.#store.peer?.atomId;
    if (peer === undefined) return;
    // A repeated grant differs only in its clock. Our log has that grant already.
    const isNew = to !== before.granted || received !== before.received;
    const change = { peer, by: null, from: before.granted, to, received };
    if (isNew) this.#store.events.put(draft("trust_changed", change));
    // Without `require_mutual` this pool answers a grant with one of its own.
    if (to !== before.granted) this.#sent.grant(peer, to);
  }

  #release(): void {
    const { isMet, grant } = this.#unlogged();
    const peer = this.#store.peer?.atomId;
    if (isMet && peer !== undefined) this.#store.events.put(draft("peer_handshake", { peer, by: null }));
    if (grant !== undefined) this.#put({ grant, isReleased: true });
    else this.#store.delete("unlogged");
  }

  #unlogged(): Unlogged {
    return this.#store.get("unlogged") ?? {};
  }

  #put(unlogged: Unlogged): void {
    this.#store.put("unlogged", unlogged);
  }
}
