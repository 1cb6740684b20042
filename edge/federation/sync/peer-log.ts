import { draft } from "../../../schema/wire/event-registry.ts";
import type { PeerAudience, PulledEvent, SignedCheckpoint } from "../../../schema/wire/events.ts";
import { isAllowedPeerUrl } from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import { checkpointRow } from "../../events/checkpoint-row.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import { quotaBytesOf } from "../../events/origin-quota-rules.ts";
import { checkFederation, type FederationCheck, recheckFederation } from "../../pool/federation-check.ts";
import type { PeerAnswer } from "../delivery/peer-answer.ts";
import type { PeerChannel } from "../delivery/peer-channel.ts";
import type { PeerCall } from "../delivery/peer-client.ts";
import { trustInEffect } from "../peering/trust-rules.ts";
import { type FollowRefusal, recordRefusal } from "./follow-refusal-rules.ts";
import type { Followed, Source } from "./followed-log-rules.ts";
import type { FollowedLog, SourceAnswer, TakeAnswer } from "./follower.ts";
import { takeIncoming } from "./incoming-events.ts";
import { incomingCostUs, sizeOf } from "./peer-work-rate-rules.ts";
import type { SyncOwner } from "./sync-owner.ts";
import { type SyncStorage, SyncStore } from "./sync-store.ts";
import { mayFollow } from "./sync-trust-rules.ts";
import { unlessUnavailable } from "./unavailable.ts";

/**
 * One audience of a peer's log, as a `Follower` uses it. It joins the switches, the peer's trust, the cursor, and our
 * log.
 */
export class PeerLog implements FollowedLog {
  readonly audience: PeerAudience;
  readonly #env: Env;
  readonly #channel: PeerChannel;
  readonly #owner: SyncOwner;
  readonly #storage: SyncStorage;
  readonly #store: SyncStore;
  /**
   * Whether private addresses were allowed when the stream was opened. If they are forbidden later, the stream must
   * end, because the pool does not know which address it uses.
   */
  #mayBePrivate = false;

  constructor(audience: PeerAudience, env: Env, channel: PeerChannel, owner: SyncOwner, storage: SyncStorage) {
    this.audience = audience;
    this.#env = env;
    this.#channel = channel;
    this.#owner = owner;
    this.#storage = storage;
    this.#store = new SyncStore(storage);
  }

  async source(): Promise<SourceAnswer> {
    // Wait for the switch as long as a request does: a follower that stops here starts again only at the next alarm.
    const checked = await checkFederation(this.#env);
    if (!checked.open && !checked.isKnown) return { type: "unknown" };
    this.#mayBePrivate = checked.open && checked.policy.allow_private_peers;
    const source = this.#source(checked);
    return source === null ? { type: "stop" } : { type: "follow", source };
  }

  async streamSource(): Promise<Source | null> {
    const checked = await recheckFederation(this.#env);
    const isPrivateAllowed = checked.open && checked.policy.allow_private_peers;
    if (this.#mayBePrivate && !isPrivateAllowed) return null;
    this.#mayBePrivate = isPrivateAllowed;
    // The stream of a peer over plain http ends when the switch that allows http is turned off.
    const url = this.#owner.peer()?.url ?? "";
    if (checked.open && !isAllowedPeerUrl(url, checked.policy)) return null;
    return this.#source(checked);
  }

  read(): Followed {
    return this.#store.followed(this.audience);
  }

  save(followed: Followed): void {
    const before = this.read();
    const { equivocation, logId } = followed;
    const isReplaced = before.logId !== null && logId !== null && logId !== before.logId;
    if (equivocation !== null && before.equivocation === null) this.#saveEquivocation(followed, equivocation);
    else if (isReplaced) this.#saveReplaced(followed);
    else this.#store.saveFollowed(this.audience, followed);
  }

  refused(reason: FollowRefusal | null): void {
    const { audience } = this;
    const before = this.#store.unfollowable(audience);
    if (reason === null) {
      if (before === null) return;
      this.#store.saveUnfollowable(audience, null);
      if (before.told.length > 0) this.#owner.statusChanged();
      return;
    }
    const { unfollowable, shouldNotify } = recordRefusal(before, reason, Date.now());
    if (!shouldNotify) {
      this.#store.saveUnfollowable(audience, unfollowable);
      return;
    }
    const peer = this.#owner.peer()?.atomId;
    this.#storage.transaction(() => {
      this.#store.saveUnfollowable(audience, unfollowable);
      if (peer === undefined) return;
      const payload = { peer, audience, reason, since_ms: unfollowable.sinceMs };
      this.#storage.events.put(draft("peer_unfollowable", payload));
    });
  }

  async call(call: PeerCall): Promise<PeerAnswer> {
    const answer = await unlessUnavailable(() => this.#channel.call(call));
    return answer ?? { ok: false, code: "federation/unreachable" };
  }

  open(call: PeerCall, signal: AbortSignal): Promise<Response | null> {
    return unlessUnavailable<{ response: Response | null }>(async () => ({
      response: await this.#channel.open(call, signal),
    })).then((opened) => opened?.response ?? null);
  }

  async room(): Promise<"room" | "full" | "unavailable"> {
    const checked = await checkFederation(this.#env);
    const peer = this.#owner.peer();
    if (!checked.open || peer === null) return "room";
    const log = eventLogForBonds(this.#env);
    const hasRoom = await unlessUnavailable(async () => log.hasRoom(peer.atomId, quotaBytesOf(checked.policy)));
    return hasRoom === null ? "unavailable" : hasRoom ? "room" : "full";
  }

  async take(events: readonly PulledEvent[]): Promise<TakeAnswer> {
    const checked = await checkFederation(this.#env);
    const peer = this.#owner.peer();
    // If trust ends during a pull, drop the whole page. Otherwise its events would be refused for lack of trust, and
    // the cursor would skip them for ever.
    const follows = checked.open && mayFollow(this.audience, this.#owner.trust(), checked.policy);
    if (!checked.open || peer === null || !follows) return { type: "unavailable" };
    const { policy } = checked;
    const sender = { atomId: peer.atomId, trust: trustInEffect(this.#owner.trust(), policy) };
    const taken = await unlessUnavailable(async () =>
      takeIncoming(this.#env, { self: await this.#owner.self(), policy }, sender, events),
    );
    if (taken === null) return { type: "unavailable" };
    this.#owner.chargeWork(incomingCostUs(sizeOf(events), taken.unknown));
    const waitMs = Math.max(taken.waitMs, this.#owner.workWaitMs());
    const { results } = taken;
    return results === null ? { type: "throttled", waitMs } : { type: "taken", results, waitMs };
  }

  reportBug(error: unknown): void {
    const cause = error instanceof Error ? error.stack : String(error);
    console.error(JSON.stringify({ event: "follow-bug", audience: this.audience, cause }));
  }

  #source(checked: FederationCheck): Source | null {
    const peer = this.#owner.peer();
    if (!checked.open || peer === null || !mayFollow(this.audience, this.#owner.trust(), checked.policy)) return null;
    return this.read().equivocation === null ? { ...peer, audience: this.audience } : null;
  }

  /**
   * Stores the proof that the peer has shown two histories, keeps both checkpoints as evidence, and notifies our admin.
   */
  #saveEquivocation(followed: Followed, proof: readonly SignedCheckpoint[]): void {
    const peer = this.#owner.peer()?.atomId;
    this.#storage.transaction(() => {
      this.#store.saveFollowed(this.audience, followed);
      // Use the table of our own checkpoints, so that the evidence about every log is in one place.
      for (const checkpoint of proof) this.#storage.records.put("checkpoints", checkpointRow(checkpoint, Date.now()));
      if (peer === undefined) return;
      const payload = { peer, audience: this.audience, checkpoints: [...proof] };
      this.#storage.events.put(draft("peer_equivocated", payload));
    });
  }

  /**
   * Stores the new name of the peer's log, and resends our grant: a peer that was restored from a backup may have lost
   * it.
   */
  #saveReplaced(followed: Followed): void {
    this.#storage.transaction(() => {
      this.#store.saveFollowed(this.audience, followed);
      this.#owner.resendGrant();
    });
  }
}
