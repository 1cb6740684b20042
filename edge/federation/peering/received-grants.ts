import { draft } from "../../../schema/wire/event-registry.ts";
import type { EventBody, HybridTime, SignedEvent } from "../../../schema/wire/events.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import { NEVER } from "../../events/clock-rules.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import { receiveEvent } from "../../events/receive-rules.ts";
import type { EventOutbox } from "../../record/event-outbox.ts";
import type { EventRefusal, IncomingResult } from "../sync/incoming-rules.ts";
import { grantedLevel, originRefusal } from "../sync/sync-trust-rules.ts";
import { type GrantStep, type PeerTrust, receiveGrant } from "./trust-rules.ts";

/**
 * Persisted contract: what a peer below trust 2 did that our log has not heard of. The log is append-only and anyone may
 * register, so it hears of such a peer only once our admin, or the policy, decides something about it.
 */
export interface Unlogged {
  /** It registered by itself. */
  readonly isMet?: boolean;
  /** The last grant that was applied. */
  readonly grant?: SignedEvent;
  /** The log is to hear of it now. */
  readonly isReleased?: boolean;
}

export interface Grant {
  readonly level: TrustLevel;
  readonly at: HybridTime;
}

const UNLOGGED = "unlogged";
/** Persisted contract: under this key, true once the peer has used up its first attempt to hand in a grant below trust 2. */
const HAS_TRIED = "hasTriedGrant";

/** What `ReceivedGrants` needs of its peer's `Bond`. */
export interface GrantOwner {
  trust(): PeerTrust | null;
  peer(): string | undefined;
  events(): EventOutbox;
  /** A step that may lift the peer to 2, where its place is taken first. */
  inItsPlace(peer: string, policy: FederationPolicy, step: (others: number) => GrantStep): Promise<GrantStep>;
  /** One transaction. */
  change(trust: PeerTrust, also: () => void): void;
}

/** What the peer grants us. It holds at once; our log hears of it unless nobody here has decided about the peer yet. */
export class ReceivedGrants {
  readonly #env: Env;
  readonly #kv: SyncKvStorage;
  readonly #owner: GrantOwner;

  constructor(env: Env, kv: SyncKvStorage, owner: GrantOwner) {
    this.#env = env;
    this.#kv = kv;
    this.#owner = owner;
  }

  /** Of a peer at trust 2 and more, whose events our log has taken. Old grants change nothing. */
  async receive(grants: readonly Grant[], policy: FederationPolicy): Promise<void> {
    for (const grant of grants) await this.#apply(grant, policy, (before, after) => this.#tell(before, after));
  }

  /**
   * Of a peer below trust 2, or whose quota of our log is spent, opened: the newest is kept in one row, and our log does
   * not hear of it.
   */
  async keep(wire: SignedEvent, event: EventBody, self: string, policy: FederationPolicy): Promise<IncomingResult> {
    const { content_id } = wire;
    const code = keptRefusal(event, { from: this.#owner.peer() ?? "", self }, Date.now());
    if (code !== null) return { ok: false, content_id, code };
    const grant = { level: grantedLevel(event) ?? 0, at: event.hlc };
    const isNews = await this.#apply(grant, policy, (before, after) => {
      // A grant that was released and is not in the log yet gives its place to this newer one.
      const { isMet = false, isReleased = false } = this.#unlogged();
      this.#put({ isMet, grant: wire, isReleased });
      // The policy let the peer in: that is a decision.
      if (after.granted < 2 || before.granted >= 2) return;
      this.#release();
      this.#tell(before, after);
    });
    return { ok: true, content_id, outcome: isNews ? "accepted" : "duplicate" };
  }

  /**
   * The peer has not tried to hand in a grant yet. A refused grant is a try too, so that junk cannot use up what is
   * reserved for newcomers. A pool of an older version noted only the grants that counted.
   */
  isFirstTry(): boolean {
    return !this.#kv.get<boolean>(HAS_TRIED) && this.#owner.trust()?.receivedAt === null;
  }

  /** The pool is about to look at a grant of the peer, whatever comes of it. */
  tried(): void {
    if (!this.#kv.get<boolean>(HAS_TRIED)) this.#kv.put(HAS_TRIED, true);
  }

  /** Inside a transaction: a stranger has registered. */
  met(): void {
    this.#put({ isMet: true });
  }

  /** Inside the transaction of a decision about the peer: what was kept goes to the log before it. */
  release(): void {
    const trust = this.#owner.trust();
    const { grant, isReleased } = this.#unlogged();
    const isUntold = grant !== undefined && !isReleased;
    this.#release();
    if (trust !== null && isUntold) this.#tell({ ...trust, received: 0 }, trust);
  }

  /** After the commit. False: the log did not take the grant, which waits; the caller tries again, as after a rejection. */
  async tellLog(): Promise<boolean> {
    const { grant, isReleased } = this.#unlogged();
    const from = this.#owner.peer();
    if (!isReleased || grant === undefined || from === undefined) return true;
    const taken = await eventLogForBonds(this.#env).receive([{ wire: grant, ttl: 0, from }]);
    if (!taken.ok || !taken.results.every(({ ok }) => ok)) return false;
    const { grant: newest } = this.#unlogged();
    if (newest?.content_id === grant.content_id) this.#kv.delete(UNLOGGED);
    // A newer grant has come meanwhile, and waits for a decision of its own.
    else if (newest !== undefined) this.#put({ grant: newest });
    return true;
  }

  async #apply(
    grant: Grant,
    policy: FederationPolicy,
    also: (before: PeerTrust, after: PeerTrust) => void,
  ): Promise<boolean> {
    const peer = this.#owner.peer();
    const given = this.#owner.trust();
    if (given === null || peer === undefined) return false;
    const step = await this.#owner.inItsPlace(peer, policy, (others) =>
      receiveGrant(this.#owner.trust() ?? given, grant, policy, others),
    );
    const before = this.#owner.trust();
    // Null: the peer was forgotten while it asked for its place.
    if (before === null || !step.applied) return false;
    this.#owner.change(step.trust, () => also(before, step.trust));
    return true;
  }

  #tell(before: PeerTrust, { granted: to, received }: PeerTrust): void {
    const peer = this.#owner.peer();
    const events = this.#owner.events();
    if (peer === undefined) return;
    // A grant that says the same again has a new clock and nothing else, and our log has the grant itself.
    const isNews = to !== before.granted || received !== before.received;
    if (isNews) events.put(draft("trust_changed", { peer, by: null, from: before.granted, to, received }));
    // Without `require_mutual` this pool answers by itself, and the peer hears of it.
    if (to !== before.granted) events.put(draft("trust_granted", { peer, level: to }));
  }

  #release(): void {
    const { isMet, grant } = this.#unlogged();
    const peer = this.#owner.peer();
    if (isMet && peer !== undefined) this.#owner.events().put(draft("peer_handshake", { peer, by: null }));
    if (grant !== undefined) this.#put({ grant, isReleased: true });
    else this.#kv.delete(UNLOGGED);
  }

  #unlogged(): Unlogged {
    return this.#kv.get<Unlogged>(UNLOGGED) ?? {};
  }

  #put(unlogged: Unlogged): void {
    this.#kv.put(UNLOGGED, unlogged);
  }
}

/** A peer below trust 2 may hand in its own grant for us, at the present time, and nothing else. Pure. */
export function keptRefusal(
  event: EventBody,
  { from, self }: { from: string; self: string },
  nowMs: number,
): EventRefusal | null {
  const unknown = originRefusal(event, { from, self }, () => 0);
  if (unknown !== null) return unknown;
  if (grantedLevel(event) === null) return "events/forbidden";
  const nothingHeld = () => ({ all: 0, ofSender: 0 });
  const step = receiveEvent(NEVER, { event, ttl: 0, from }, { self, held: nothingHeld }, nowMs * 1_000);
  return step.outcome === "refused" ? step.code : null;
}
