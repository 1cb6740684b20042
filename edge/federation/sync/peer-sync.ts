import { type PeerAudience, peerAudience } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { quotaBytesOf } from "../../events/origin-quota-rules.ts";
import { mayRead, type Viewer } from "../../events/visibility-rules.ts";
import { EVENT_LOG } from "../../object-names.ts";
import { checkFederation, type FederationCheck, recheckFederation } from "../../pool/federation-check.ts";
import type { PeerChannel } from "../delivery/peer-channel.ts";
import { type PeerTrust, trustInEffect } from "../peering/trust-rules.ts";
import { type FollowRefusal, recordRefusal, type Unfollowable } from "./follow-refusal-rules.ts";
import { type Followed, NOTHING_FOLLOWED, type Source } from "./followed-log-rules.ts";
import { Follower } from "./follower.ts";
import { takeIncoming } from "./incoming-events.ts";
import { checkOutgoing } from "./outgoing-events.ts";
import { arrivalCostUs, pageCostUs, sizeOf } from "./peer-work-rate-rules.ts";
import { acknowledge, afterPush, NOTHING_SENT, nextPush, reportedSeq, type Sent, sentForLog } from "./push-rules.ts";
import { ServedStream } from "./served-stream.ts";
import { mayFollow } from "./sync-trust-rules.ts";

/** What sync needs of its peer's `Bond`. */
export interface SyncOwner {
  effectiveTrust(): PeerTrust | null;
  peer(): { atomId: string; publicKey: string } | null;
  /** This pool's atom id. */
  self(): Promise<string>;
  /** Its log has another name than before: `save` belongs into the transaction that follows from it. */
  logReplaced(save: () => void): void;
  /** The peer proved to tell two stories: `save` belongs into the transaction that says so. */
  equivocated(audience: PeerAudience, proof: NonNullable<Followed["equivocation"]>, save: () => void): void;
  /** It could not be followed for so long that our admin hears of it: `save` belongs into the transaction that says so. */
  unfollowable(audience: PeerAudience, found: Unfollowable, save: () => void): void;
  /** It can be followed again, of which our admin had heard otherwise. */
  followable(): void;
  /** What the peer makes us do by a stream, or by its answers, is charged as its requests are. */
  workWaitMs(): number;
  chargeWork(costUs: number): void;
  /** Another try is due then at the latest. */
  armBy(atMs: number): Promise<void>;
}

/** What each audience's sync stands at, for the operator. */
export interface SyncView {
  audience: PeerAudience;
  /** Ours of theirs. */
  followed: {
    seq: number;
    head: number | null;
    streaming: boolean;
    equivocated: boolean;
    unfollowable: Unfollowable | null;
  };
  /** Theirs of ours. */
  sent: { seq: number; streaming: boolean; startedOverMs: number | null };
}

/** Nothing is refused for its tier here: that is asked with the policy, before anything goes out. */
const ANY_TIER = Object.freeze({ min_auth_tier: "oauth-verified" } as const);

/**
 * Events to one peer and from it (docs/spec/events.md#sync), in a `Bond`: follows it, serves it, and pushes to one that does not follow.
 * Cursors are durable; the rules are in `sync-machine.ts`.
 */
export class PeerSync {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #line: PeerChannel;
  readonly #owner: SyncOwner;
  readonly #followers: Readonly<Record<PeerAudience, Follower>>;
  readonly #served = new Map<PeerAudience, ServedStream>();
  readonly #servedUntilMs: Record<PeerAudience, number> = { public: 0, peers: 0 };
  readonly #pushing = new Map<PeerAudience, Promise<void>>();

  constructor(ctx: DurableObjectState, env: Env, line: PeerChannel, owner: SyncOwner) {
    this.#ctx = ctx;
    this.#env = env;
    this.#line = line;
    this.#owner = owner;
    this.#followers = { public: this.#follower("public"), peers: this.#follower("peers") };
  }

  view(): SyncView[] {
    return peerAudience.options.map((audience) => {
      const { cursor, newest, equivocation } = this.#followed(audience);
      const served = this.#served.get(audience);
      const sent = this.#sent(audience);
      return {
        audience,
        followed: {
          seq: cursor.seq,
          head: newest?.checkpoint.seq ?? null,
          streaming: this.#followers[audience].streaming,
          equivocated: equivocation !== null,
          unfollowable: this.#unfollowable(audience),
        },
        // A reader of a stream says how far it is when it next pulls; until then what was written counts.
        sent: {
          seq: reportedSeq(sent, served?.at ?? 0),
          streaming: served !== undefined,
          startedOverMs: sent.startedOver?.sinceMs ?? null,
        },
      };
    });
  }

  // ---- following the peer

  /** Where both sides want it; a follower that waits for a peer which was away tries at once. */
  follow(): void {
    const unfollowed = this.#unfollowed();
    for (const audience of peerAudience.options) {
      if (unfollowed.includes(audience)) continue;
      const started = this.#followers[audience].start();
      if (started !== null) this.#ctx.waitUntil(started);
    }
  }

  /** After a proof of two stories our admin may have it begin anew. */
  resync(): void {
    for (const audience of peerAudience.options) {
      this.#saveFollowed(audience, NOTHING_FOLLOWED);
      this.#refused(audience, null);
      this.#followers[audience].endStream();
    }
    this.follow();
  }

  #follower(audience: PeerAudience): Follower {
    // Of an open stream: where a name leads only the network knows.
    let mayBePrivate = false;
    return new Follower({
      audience,
      source: async () => {
        // With the patience of a request: who stops here is followed again at the next alarm, and no sooner.
        const checked = await checkFederation(this.#env);
        if (!checked.open && !checked.isSaid) throw new Error("the switches could not be asked");
        mayBePrivate = checked.open && checked.policy.allow_private_peers;
        return this.#source(audience, checked);
      },
      streamed: async () => {
        const checked = await recheckFederation(this.#env);
        const isPrivateAllowed = checked.open && checked.policy.allow_private_peers;
        if (mayBePrivate && !isPrivateAllowed) return null;
        mayBePrivate = isPrivateAllowed;
        return this.#source(audience, checked);
      },
      read: () => this.#followed(audience),
      save: (followed) => this.#saveFollowed(audience, followed),
      refused: (reason) => this.#refused(audience, reason),
      call: (call) => this.#line.call(call),
      open: (call, signal) => this.#line.open(call, signal),
      hasRoom: async () => {
        const checked = await checkFederation(this.#env);
        const peer = this.#owner.peer();
        if (!checked.open || peer === null) return true;
        return this.#env.EVENT_LOG.getByName(EVENT_LOG).hasRoom(peer.atomId, quotaBytesOf(checked.policy));
      },
      take: async (events) => {
        const checked = await checkFederation(this.#env);
        const peer = this.#owner.peer();
        // Trust that ended on the way ends the page: refused for that alone, its events would be passed over for ever.
        const follows = checked.open && mayFollow(audience, this.#owner.effectiveTrust(), checked.policy);
        if (!checked.open || peer === null || !follows) throw new Error("there is nobody to take events from");
        const { policy } = checked;
        const from = { atomId: peer.atomId, trust: trustInEffect(this.#owner.effectiveTrust(), policy) };
        const taken = await takeIncoming(this.#env, { self: await this.#owner.self(), policy }, from, events);
        this.#owner.chargeWork(arrivalCostUs(sizeOf(events), taken.unknown));
        return { ...taken, waitMs: Math.max(taken.waitMs, this.#owner.workWaitMs()) };
      },
    });
  }

  #source(audience: PeerAudience, checked: FederationCheck): Source | null {
    const peer = this.#owner.peer();
    if (!checked.open || peer === null || !mayFollow(audience, this.#owner.effectiveTrust(), checked.policy))
      return null;
    return this.#followed(audience).equivocation === null ? { ...peer, audience } : null;
  }

  // ---- being followed

  /** What the peer has of our log, by its own word. */
  acknowledge(audience: PeerAudience, log: { logId: string; head: number }, since: number): void {
    if (this.#owner.effectiveTrust() === null) return;
    const sent = this.#sent(audience);
    const said = acknowledge(sent, log, since, Date.now());
    // Whoever asks now and then says the same again and again.
    if (said !== sent) this.#saveSent(audience, said);
  }

  /** One at a time for each audience: whoever opens another has lost the first. */
  serve(audience: PeerAudience, since: number): ReadableStream<Uint8Array> {
    this.#served.get(audience)?.end();
    const log = this.#env.EVENT_LOG.getByName(EVENT_LOG);
    // It has what it asks to go on from.
    const asked = log.heads().then(({ log_id: logId, [audience]: head }) => {
      this.acknowledge(audience, { logId, head }, since);
      return logId;
    });
    asked.catch(() => {});
    const stream = new ServedStream(
      {
        changed: (after, waitMs) => log.changed(audience, after, waitMs),
        page: async (after) => {
          await scheduler.wait(this.#owner.workWaitMs());
          const page = await this.#outgoing(await log.read(audience, after, LIMITS.eventsPerPull));
          this.#owner.chargeWork(pageCostUs(sizeOf(page.events)));
          return page;
        },
        mayGoOn: async () => {
          const checked = await recheckFederation(this.#env);
          return checked.open && checked.policy.accept_reads && this.#mayRead(audience, checked.policy);
        },
      },
      audience,
      since,
    );
    this.#served.set(audience, stream);
    const ran = stream.run();
    this.#ctx.waitUntil(
      ran.finally(() => {
        if (this.#served.get(audience) !== stream) return;
        this.#served.delete(audience);
        this.#servedUntilMs[audience] = Date.now() + LIMITS.pushAfterStreamMs;
      }),
    );
    const written = async () => this.#written(audience, await asked, stream.at);
    this.#ctx.waitUntil(ran.then(written, written).catch(() => {}));
    return stream.readable;
  }

  #written(audience: PeerAudience, logId: string, seq: number): void {
    const sent = this.#sent(audience);
    if (this.#owner.effectiveTrust() === null || sent.logId !== logId) return;
    if (seq > (sent.written ?? 0)) this.#saveSent(audience, { ...sent, written: seq });
  }

  /** At once (docs/spec/federation.md#trust): who may not read any more reads nothing more. */
  endForbiddenStreams(): void {
    for (const [audience, stream] of this.#served) if (!this.#mayRead(audience, ANY_TIER)) stream.end();
    for (const audience of this.#unfollowed()) this.#refused(audience, null);
  }

  /** What one side or the other does not want followed. */
  #unfollowed(): PeerAudience[] {
    return peerAudience.options.filter((audience) => !mayFollow(audience, this.#owner.effectiveTrust(), ANY_TIER));
  }

  /** How many events of what we follow of it are not here yet. */
  behind(): Record<PeerAudience, number> {
    const unfollowed = this.#unfollowed();
    const behind = this.view().map(({ audience, followed: { seq, head } }) => [
      audience,
      unfollowed.includes(audience) ? 0 : Math.max(0, (head ?? 0) - seq),
    ]);
    return Object.fromEntries(behind) as Record<PeerAudience, number>;
  }

  /** To a peer that does not read by itself, what it has not. */
  push(): void {
    for (const audience of peerAudience.options) {
      if (this.#pushing.has(audience)) continue;
      const pushing = this.#push(audience)
        .catch((error: unknown) => console.warn(JSON.stringify({ event: "push-failed", cause: String(error) })))
        .finally(() => this.#pushing.delete(audience));
      this.#pushing.set(audience, pushing);
      this.#ctx.waitUntil(pushing);
    }
  }

  /** A push failed, or was put off, and will be tried again. */
  isWaiting(): boolean {
    return peerAudience.options.some((audience) => {
      const { tries, deferrals } = this.#sent(audience).delivery;
      return tries + deferrals > 0;
    });
  }

  /** The peer is back: what is to be pushed is pushed, whatever backoff that is in. */
  retryNow(): void {
    const nowMs = Date.now();
    for (const audience of peerAudience.options) {
      const sent = this.#sent(audience);
      if (sent.delivery.nextAtMs <= nowMs) continue;
      this.#saveSent(audience, { ...sent, delivery: { ...sent.delivery, nextAtMs: nowMs } });
    }
    this.push();
  }

  async #push(audience: PeerAudience): Promise<void> {
    const log = this.#env.EVENT_LOG.getByName(EVENT_LOG);
    for (;;) {
      const checked = await checkFederation(this.#env);
      const peer = this.#owner.peer();
      if (!checked.open || peer === null || !mayFollow(audience, this.#owner.effectiveTrust(), checked.policy)) return;
      const { log_id } = await log.heads();
      const page = await log.read(audience, sentForLog(this.#sent(audience), log_id).seq, LIMITS.eventsPerPull);
      const streaming = this.#served.has(audience) || Date.now() < this.#servedUntilMs[audience];
      const next = nextPush(this.#sent(audience), page, { publicKey: peer.publicKey, streaming }, Date.now());
      if (next.type === "skipped") {
        this.#saveSent(audience, next.sent);
        continue;
      }
      if (next.type === "wait") await this.#owner.armBy(next.untilMs);
      if (next.type !== "push") return;
      const message = { target: "/api/federation/events", body: await this.#outgoing(next.push.body) };
      const { tried, answer } = await this.#line.try(message);
      if (tried.type === "later") return this.#owner.armBy(tried.atMs);
      const sent = afterPush(this.#sent(audience), next.push, answer, tried.outcome, Date.now(), Math.random());
      this.#saveSent(audience, sent);
      if (sent.delivery.nextAtMs > Date.now()) return this.#owner.armBy(sent.delivery.nextAtMs);
    }
  }

  async #outgoing<Page extends Parameters<typeof checkOutgoing>[0]>(page: Page): Promise<Page> {
    const viewer: Viewer = {
      atomId: this.#owner.peer()?.atomId ?? "",
      trust: trustInEffect(this.#owner.effectiveTrust(), ANY_TIER),
    };
    return checkOutgoing(page, viewer, await this.#owner.self());
  }

  #mayRead(audience: PeerAudience, policy: Parameters<typeof trustInEffect>[1]): boolean {
    return mayRead(audience, trustInEffect(this.#owner.effectiveTrust(), policy));
  }

  // ---- what is stored

  #followed(audience: PeerAudience): Followed {
    return this.#ctx.storage.kv.get<Followed>(`followed:${audience}`) ?? NOTHING_FOLLOWED;
  }

  #saveFollowed(audience: PeerAudience, followed: Followed): void {
    const save = () => this.#ctx.storage.kv.put(`followed:${audience}`, followed);
    const before = this.#followed(audience);
    const { equivocation, logId } = followed;
    if (equivocation !== null && before.equivocation === null) this.#owner.equivocated(audience, equivocation, save);
    else if (before.logId !== null && logId !== null && logId !== before.logId) this.#owner.logReplaced(save);
    else save();
  }

  #unfollowable(audience: PeerAudience): Unfollowable | null {
    return this.#ctx.storage.kv.get<Unfollowable>(`unfollowable:${audience}`) ?? null;
  }

  #refused(audience: PeerAudience, reason: FollowRefusal | null): void {
    const { kv } = this.#ctx.storage;
    const before = this.#unfollowable(audience);
    if (reason === null) {
      if (before === null) return;
      kv.delete(`unfollowable:${audience}`);
      if (before.told.length > 0) this.#owner.followable();
      return;
    }
    const { unfollowable, shouldNotify } = recordRefusal(before, reason, Date.now());
    const save = () => kv.put(`unfollowable:${audience}`, unfollowable);
    if (shouldNotify) this.#owner.unfollowable(audience, unfollowable, save);
    else save();
  }

  #sent(audience: PeerAudience): Sent {
    return this.#ctx.storage.kv.get<Sent>(`sent:${audience}`) ?? NOTHING_SENT;
  }

  #saveSent(audience: PeerAudience, sent: Sent): void {
    this.#ctx.storage.kv.put(`sent:${audience}`, sent);
  }
}
