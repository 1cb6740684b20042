import { DurableObject } from "cloudflare:workers";
import { fromHex } from "../../schema/crypto/bytes.ts";
import { idOfPublicKey } from "../../schema/crypto/ids.ts";
import type { PeerRow } from "../../schema/db/peers.ts";
import { type SignedEvent, streamQuery } from "../../schema/wire/events.ts";
import type { Card, FederationPolicy, GrantableLevel, TrustLevel } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { eventLogForBonds } from "../events/event-log-for.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { OneAlarm } from "../limits/one-alarm.ts";
import { within } from "../limits/timeout.ts";
import type { Admitted, BondRpc, MinTier, PeerState, RegistrationStatus } from "./bond-rpc.ts";
import { BondStore } from "./bond-store.ts";
import { DeliveryQueue } from "./delivery/delivery-queue.ts";
import { Liveness } from "./delivery/liveness.ts";
import { PeerChannel } from "./delivery/peer-channel.ts";
import type { PeerAddress } from "./delivery/peer-client.ts";
import { PeerClock } from "./delivery/peer-clock.ts";
import { Membership } from "./peering/membership.ts";
import { isSamePeer, rowOfPeer } from "./peering/peer-record-rules.ts";
import type { PeerStatus } from "./peering/peer-registry-rpc.ts";
import { ReceivedGrants } from "./peering/received-grants.ts";
import { SentGrants } from "./peering/sent-grants.ts";
import { peersChanged } from "./peering/store.ts";
import { TrustDecisions } from "./peering/trust-decisions.ts";
import { isStranger, type TrustStep, trustInEffect } from "./peering/trust-rules.ts";
import { Admissions } from "./signing/admissions.ts";
import { peerRateLimits } from "./signing/peer-rate-rules.ts";
import type { AdmissionRequest } from "./signing/signed-admission-rules.ts";
import { EventEndpoint } from "./sync/event-endpoint.ts";
import type { Pulled, PullRequest, Pushed } from "./sync/event-endpoint-answers.ts";
import { PeerSync } from "./sync/peer-sync.ts";
import { ANY_TIER } from "./sync/sync-owner.ts";

const NOT_A_PEER: Admitted = Object.freeze({
  ok: false,
  code: "federation/unauthenticated",
  reason: "not-a-peer",
});
/** Nonces are kept for minutes, so that deleting them can wait. */
const PURGE_MS = 60_000;

/**
 * One object per peer (docs/spec/pool.md#shape). It owns the peer's storage, its alarm, and the order of work; its parts
 * write through `BondStore`. Only a registration that proved the peer's key makes a peer of it.
 */
export class Bond extends DurableObject<Env> implements BondRpc {
  readonly #store: BondStore;
  readonly #alarm: OneAlarm;
  /** Null until there is a peer: their tables are made with the first transaction. */
  #parts: { deliveries: DeliveryQueue; admissions: Admissions } | null = null;
  readonly #channel: PeerChannel;
  readonly #liveness: Liveness;
  readonly #membership: Membership;
  readonly #sentGrants: SentGrants;
  readonly #receivedGrants: ReceivedGrants;
  readonly #decisions: TrustDecisions;
  readonly #sync: PeerSync;
  readonly #endpoint: EventEndpoint;
  /** The last flush that a transaction began, and how many transactions it follows. */
  #flushed: { commits: number; done: Promise<void> } | null = null;
  /** The alarm looks for expired nonces by then. */
  #purgeAtMs = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#alarm = new OneAlarm(ctx.storage);
    const store = new BondStore(ctx.storage, env, {
      opened: () => this.#openParts(),
      appended: (event, { type, visibility }) => {
        if (visibility === "direct") this.#queueDirect(event, type);
      },
      row: () => this.#row(),
      committed: () => this.#committed(),
    });
    this.#store = store;
    this.#sentGrants = new SentGrants(store, () => this.#deliveries);
    this.#membership = new Membership(env, store, () => this.#status());
    this.#receivedGrants = new ReceivedGrants(env, store, this.#membership, this.#sentGrants);
    this.#channel = new PeerChannel(env, store, new PeerClock(ctx, env, store), {
      address: () => this.#address(),
      isWaiting: () => this.#isWaiting(),
      back: () => this.#retryNow(),
      availabilityChanged: () =>
        ctx.waitUntil(this.#membership.note().catch(() => this.#alarm.by(Date.now() + LIMITS.outboxRetryMinMs))),
    });
    this.#liveness = new Liveness(ctx, env, store, this.#channel, this.#sentGrants);
    this.#decisions = new TrustDecisions(store, {
      membership: this.#membership,
      sent: this.#sentGrants,
      received: this.#receivedGrants,
      admissions: () => this.#admissions,
      deliveries: () => this.#deliveries,
    });
    const owner = {
      trust: () => store.trust,
      peer: () => store.peer,
      self: async () => (await poolKeys(env)).atomId,
      resendGrant: () => this.#sentGrants.resend(),
      statusChanged: () => ctx.waitUntil(this.#flush()),
      workWaitMs: () => this.#admissions.workWaitMs(Date.now()),
      chargeWork: (costUs: number) => this.#admissions.chargeWork(costUs, Date.now()),
      armBy: (atMs: number) => this.#alarm.by(atMs),
    };
    this.#sync = new PeerSync(ctx, env, this.#channel, owner, store);
    this.#endpoint = new EventEndpoint(
      env,
      {
        sender: (policy) => ({ atomId: store.peer?.atomId ?? "", trust: trustInEffect(store.trust, policy) }),
        admissions: () => this.#admissions,
        acknowledge: (audience, log, since) => this.#sync.acknowledge(audience, log, since),
        flushPending: () => this.#flushPending(),
      },
      this.#receivedGrants,
    );
    if (store.trust !== null) store.open();
  }

  // ---- for the peer (BondForPeers)

  /** The last of the checks of docs/spec/federation.md#signed-requests, in one transaction: an admitted request is on disk. */
  async admit(request: AdmissionRequest, policy: FederationPolicy): Promise<Admitted> {
    const { trust } = this.#store;
    if (trust === null) {
      // A cached key outlived its peer.
      await this.#forget();
      return NOT_A_PEER;
    }
    if (trust.removedAtMs !== null || this.#isLeaving) return NOT_A_PEER;
    const nowMs = Date.now();
    const isBelow2 = trustInEffect(trust, policy) < 2;
    const kind = isBelow2 ? (request.kindBelow2 ?? request.kind) : request.kind;
    const step = await this.#admissions.admit({ ...request, kind }, peerRateLimits(policy), nowMs);
    if (!step.ok) return step;
    // Re-read trust: an admin may have changed it while we awaited the commit.
    const trustNow = trustInEffect(this.#store.trust, policy);
    this.#store.seenAtMs = nowMs;
    this.#armPurge(nowMs);
    // The peer is back: followers need not wait out a backoff. Deliveries wait for a proof that the peer can be reached.
    this.#sync.follow();
    this.#sentGrants.peerCalled();
    if (this.#isWaitedFor() || this.#sentGrants.isUndelivered) this.#liveness.verifySeldom(nowMs);
    return { ok: true, trust: trustNow };
  }

  pull(request: PullRequest, policy: FederationPolicy): Promise<Pulled> {
    return this.#endpoint.pull(request, policy);
  }

  push(body: Uint8Array, policy: FederationPolicy): Promise<Pushed> {
    return this.#endpoint.push(body, policy);
  }

  override async fetch(request: Request): Promise<Response> {
    const { audience, since } = streamQuery.parse(Object.fromEntries(new URL(request.url).searchParams));
    const headers = { "content-type": "text/event-stream", "cache-control": "no-store" };
    return new Response(this.#sync.serve(audience, since), { headers });
  }

  async register(card: Card, policy: FederationPolicy, signatureVersion: 1 | 2): Promise<TrustStep> {
    const { step, isNew } = await this.#decisions.register(card, null, policy, signatureVersion);
    if (!step.ok) return step;
    // Whether the peer can be called is still unknown.
    if (this.#isWaitedFor()) this.#liveness.verifySeldom(Date.now());
    await this.#flushPending();
    if (isNew) peersChanged();
    return step;
  }

  // ---- for admins (BondForAdmins)

  async add(card: Card, tokenId: string, policy: FederationPolicy, signatureVersion: 1 | 2): Promise<TrustStep> {
    const { step, isNew } = await this.#decisions.register(card, tokenId, policy, signatureVersion);
    if (!step.ok) return step;
    // The peer has just answered.
    this.#channel.proved();
    await this.#flushPending();
    if (isNew) peersChanged();
    return step;
  }

  async decide(
    level: GrantableLevel,
    admin: { name: string; tokenId: string },
    policy: FederationPolicy,
  ): Promise<TrustStep> {
    const peer = this.#store.peer?.atomId;
    if (peer === undefined) return { ok: false, code: "federation/peer-not-found" };
    const step = await this.#decisions.decide(peer, level, admin, policy);
    if (step.ok) await this.#flushSoon();
    return step;
  }

  async remove(tokenId: string): Promise<{ recorded: boolean } | null> {
    if (!this.#decisions.remove(tokenId)) return null;
    await this.#flushSoon();
    peersChanged();
    return { recorded: this.#store.records.pending() === 0 };
  }

  view(min_auth_tier: MinTier): PeerState | null {
    const row = this.#row();
    if (row === null || row.removedAtMs !== null) return null;
    return {
      row,
      effective: this.effectiveTrust(min_auth_tier),
      sync: this.#sync.view(),
      waiting: this.#deliveries.waiting(),
      unavailability: this.#channel.unavailability(),
      recorded: this.#store.records.pending() === 0,
    };
  }

  resync(): void {
    this.#sync.resync();
  }

  // ---- for other objects and areas (BondForPool)

  effectiveTrust(min_auth_tier: MinTier): TrustLevel {
    return trustInEffect(this.#store.trust, { min_auth_tier });
  }

  registrationStatus(): RegistrationStatus {
    const { trust } = this.#store;
    const version = this.#admissions.signatureVersion;
    return { revoked: trust !== null && trust.revokedAtMs !== null, version };
  }

  notifyOfNewEvents(): void {
    this.#sync.push();
  }

  async restore(row: PeerRow): Promise<boolean> {
    const here = this.#row();
    if (here !== null) return isSamePeer(here, row);
    if ((await idOfPublicKey(fromHex(row.publicKey) ?? new Uint8Array())) !== row.id) {
      await this.#forget();
      return false;
    }
    this.#decisions.restore(row);
    await this.#flushPending();
    peersChanged();
    return true;
  }

  async forgetReceivedGrants(tokenId: string): Promise<void> {
    this.#decisions.forgetReceivedGrants(tokenId);
    await this.#flushPending();
  }

  async resume(): Promise<void> {
    this.#deliveries.retryNow(Date.now());
    await this.wake();
  }

  async wake(): Promise<void> {
    if (this.#store.trust === null) return;
    this.#alarm.reread();
    this.#sync.push();
    await this.#flush();
  }

  async evict(): Promise<void> {
    const { trust } = this.#store;
    const atomId = this.#store.peer?.atomId;
    if (trust === null || atomId === undefined || !isStranger(trust) || this.#isLeaving) return;
    this.#store.transaction(() => {
      this.#store.put("leaving", true);
      // Behind the rows that are on their way to D1.
      this.#store.records.remove("peers", atomId);
    });
    await this.#leave();
  }

  // ---- an evicted peer

  get #isLeaving(): boolean {
    return this.#store.get("leaving") === true;
  }

  /** Forgets the peer once D1 has deleted its row. While D1 is away, the alarm tries again. */
  async #leave(): Promise<void> {
    const { records, peer } = this.#store;
    if (!(await records.flush())) return this.#alarm.by(records.dueAtMs(Date.now()) ?? Date.now());
    // An admin decided about the peer meanwhile, or the peer registered again.
    if (!this.#isLeaving) return this.#flush();
    await this.#forget();
    peersChanged();
    if (peer !== null) await this.#membership.forget(peer.atomId);
  }

  async #forget(): Promise<void> {
    this.#parts?.admissions.forget();
    this.#parts?.deliveries.forget();
    this.#purgeAtMs = 0;
    const erased = this.#store.erase(() => this.#alarm.clear());
    this.#sync.endForbiddenStreams();
    await erased;
    this.#parts = null;
  }

  // ---- time, and what follows a commit

  override async alarm(): Promise<void> {
    this.#alarm.fired();
    if (this.#store.trust === null) return;
    if (this.#isLeaving) return this.#leave();
    const nowMs = Date.now();
    const isPurged = !this.#admissions.purge(nowMs);
    await this.#flush();
    this.#sync.follow();
    this.#sync.push();
    const isAccepted = this.effectiveTrust("oauth-verified") >= 2;
    if (isAccepted) this.#liveness.verifySeldom(nowMs);
    const due = [
      this.#deliveries.dueAtMs(),
      this.#store.records.dueAtMs(nowMs),
      this.#store.events.dueAtMs(nowMs),
      isAccepted ? nowMs + LIMITS.peerVerifyMs : null,
    ];
    if (this.#admissions.holdsNonces()) due.push(nowMs + (isPurged ? PURGE_MS : LIMITS.outboxRetryMinMs));
    const next = due.filter((atMs) => atMs !== null);
    // What is due now is being tried: an alarm at once would find nothing else to do.
    if (next.length > 0) await this.#alarm.by(Math.max(Math.min(...next), nowMs + LIMITS.outboxRetryMinMs));
  }

  #armPurge(nowMs: number): void {
    const isArmed = nowMs <= this.#purgeAtMs && this.#purgeAtMs - nowMs <= PURGE_MS;
    if (isArmed) return;
    this.#purgeAtMs = nowMs + PURGE_MS;
    this.ctx.waitUntil(this.#alarm.by(this.#purgeAtMs));
  }

  /** The alarm is armed in the turn of the commit, and so part of it: a crash before the flush loses nothing. */
  #committed(): void {
    this.ctx.waitUntil(this.#alarm.by(Date.now() + LIMITS.outboxRetryMinMs));
    this.#sync.endForbiddenStreams();
    const flushed = { commits: this.#store.commits, done: this.#flush() };
    this.#flushed = flushed;
    this.ctx.waitUntil(flushed.done);
  }

  /** Resolves after one try to flush what all transactions so far have put into the outboxes. */
  #flushPending(): Promise<void> {
    return this.#flushed?.commits === this.#store.commits ? this.#flushed.done : this.#flush();
  }

  /** The same for an admin who waits: at most `LIMITS.recordWaitMs`. */
  async #flushSoon(): Promise<void> {
    await within(LIMITS.recordWaitMs, this.#flushPending());
  }

  /** The registry, the log and D1 get what is stored. The alarm tries again what fails now. */
  async #flush(): Promise<void> {
    if (this.#store.trust === null || this.#isLeaving) return;
    const steps = [
      () => this.#subscribeToLog(),
      () => this.#receivedGrants.flush(),
      () => this.#store.flushEvents(),
      () => this.#store.records.flush(),
    ];
    const done: PromiseSettledResult<unknown>[] = await Promise.allSettled(steps.map((step) => step()));
    // Last: the status says what is left to do.
    done.push(...(await Promise.allSettled([this.#membership.note()])));
    // The peer may have been forgotten meanwhile.
    if (this.#store.trust === null) return;
    const isDone = done.every((each) => each.status === "fulfilled" && each.value !== false);
    if (!isDone) await this.#alarm.by(Date.now() + LIMITS.outboxRetryMinMs);
    if (this.#deliveries.dueAtMs() !== null) this.ctx.waitUntil(this.#deliver());
    if (this.effectiveTrust("oauth-verified") >= 2) await this.#alarm.by(Date.now() + LIMITS.peerVerifyMs);
    this.#sync.follow();
  }

  /** Asks the log to notify this object of new events, or no longer to do so. */
  async #subscribeToLog(): Promise<void> {
    const { peer } = this.#store;
    if (peer === null) return;
    await eventLogForBonds(this.env).subscribe(peer.atomId, this.effectiveTrust("oauth-verified") >= 2);
  }

  // ---- deliveries

  async #deliver(): Promise<void> {
    await this.#deliveries.run();
    // The peer may have been forgotten meanwhile.
    if (this.#store.trust === null) return;
    const dueAtMs = this.#deliveries.dueAtMs();
    if (dueAtMs !== null) await this.#alarm.by(dueAtMs);
    await this.#membership.note();
  }

  /** The log has signed a `direct` event: it is queued for the peer. */
  #queueDirect(event: SignedEvent, type: string): void {
    if (this.#store.trust === null) return;
    if (type === "trust_granted") this.#sentGrants.queue(event);
    else this.#deliveries.put({ kind: "event push", body: { events: [{ event, ttl: 0 }] } }, Date.now());
  }

  /** The peer is back: what waits for it is tried now, whatever its backoff. */
  #retryNow(): void {
    if (this.#store.trust === null) return;
    this.#deliveries.retryNow(Date.now());
    this.#sync.retryNow();
    this.ctx.waitUntil(this.#flush());
  }

  #isWaiting(): boolean {
    return this.#store.trust !== null && (this.#deliveries.waiting() > 0 || this.#sync.isWaiting());
  }

  /** The peer was away when it was last called, and something waits for it. */
  #isWaitedFor(): boolean {
    return this.#channel.isAway() && this.#isWaiting();
  }

  // ---- the parts

  /** Null: there is no peer to call. A removed peer has an address: it is still to hear that it was removed. */
  #address(): PeerAddress | null {
    const { peer, trust } = this.#store;
    if (peer === null || trust === null) return null;
    return { atomId: peer.atomId, url: peer.url, version: this.#admissions.signatureVersion };
  }

  get #deliveries(): DeliveryQueue {
    return this.#openParts().deliveries;
  }

  get #admissions(): Admissions {
    return this.#openParts().admissions;
  }

  #openParts() {
    if (this.#parts !== null) return this.#parts;
    const { storage } = this.ctx;
    const deliveries = new DeliveryQueue(storage, this.#store, {
      send: async (message) => (await this.#channel.try(message)).tried,
      givenUp: (message, reason) => {
        if (message.kind !== "grant") return;
        for (const { event } of message.body.events) this.#sentGrants.givenUp(event, reason);
      },
    });
    this.#parts = { deliveries, admissions: new Admissions(storage) };
    return this.#parts;
  }

  #row(): PeerRow | null {
    const { peer, trust } = this.#store;
    if (peer === null || trust === null) return null;
    return rowOfPeer(peer, trust, {
      decidedBy: this.#store.get("decidedBy") ?? null,
      signatureVersion: this.#admissions.signatureVersion,
      circuit: this.#channel.circuit(),
      seenAtMs: this.#store.seenAtMs,
    });
  }

  #status(): PeerStatus {
    const effective = trustInEffect(this.#store.trust, ANY_TIER);
    return {
      effective,
      circuit: this.#channel.circuit(),
      deliveries: this.#deliveries.waiting(),
      waitingSinceMs: this.#deliveries.waitingSinceMs(),
      absence: this.#channel.unavailability(),
      givenUp: this.#store.get("givenUp") ?? 0,
      untold: this.#store.events.pending(),
      records: this.#store.records.held(),
      behind: this.#sync.behind(),
      isUnfollowable:
        effective >= 2 && this.#sync.view().some(({ followed }) => (followed.unfollowable?.told.length ?? 0) > 0),
    };
  }
}
