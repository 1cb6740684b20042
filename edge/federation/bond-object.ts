import { DurableObject } from "cloudflare:workers";
import { fromHex } from "../../schema/crypto/bytes.ts";
import { idOfPublicKey } from "../../schema/crypto/ids.ts";
import type { AdminRequestRow } from "../../schema/db/admin-requests.ts";
import type { PeerRow } from "../../schema/db/peers.ts";
import type { RequestDirection } from "../../schema/wire/admin-requests.ts";
import { type SignedEvent, streamQuery } from "../../schema/wire/events.ts";
import type { Card, FederationPolicy, GrantableLevel, TrustLevel } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { within } from "../limits/timeout.ts";
import type { ErasableText } from "../record/erasable-text.ts";
import { BondFlush } from "./bond-flush.ts";
import type { Admitted, BondRpc, MinTier, PeerState, RegistrationStatus } from "./bond-rpc.ts";
import { BondStore } from "./bond-store.ts";
import { DeliveryQueue } from "./delivery/delivery-queue.ts";
import { Liveness } from "./delivery/liveness.ts";
import { PeerChannel } from "./delivery/peer-channel.ts";
import type { PeerAddress } from "./delivery/peer-client.ts";
import { PeerClock } from "./delivery/peer-clock.ts";
import { AdminRequests } from "./inbox/admin-requests.ts";
import type {
  ActingAdmin,
  ApprovalFacts,
  Decided,
  IncomingRequest,
  OutgoingRequest,
  ReceivedCallback,
  ReceivedRequest,
  SentAnswer,
  SignedRequest,
  StoredRequest,
} from "./inbox/request-shapes.ts";
import { PeerSnapshot } from "./peer-snapshot.ts";
import { Eviction } from "./peering/eviction.ts";
import { Membership } from "./peering/membership.ts";
import { isSamePeer } from "./peering/peer-record-rules.ts";
import { ReceivedGrants } from "./peering/received-grants.ts";
import { SentGrants } from "./peering/sent-grants.ts";
import { peersChanged } from "./peering/store.ts";
import { TrustDecisions } from "./peering/trust-decisions.ts";
import { type TrustStep, trustFor, trustInEffect } from "./peering/trust-rules.ts";
import { Admissions } from "./signing/admissions.ts";
import { peerRateLimits } from "./signing/peer-rate-rules.ts";
import type { AdmissionRequest } from "./signing/signed-admission-rules.ts";
import { EventEndpoint } from "./sync/event-endpoint.ts";
import type { Pulled, PullRequest, Pushed } from "./sync/event-endpoint-answers.ts";
import { PeerSync } from "./sync/peer-sync.ts";

const NOT_A_PEER: Admitted = Object.freeze({
  ok: false,
  code: "federation/unauthenticated",
  reason: "not-a-peer",
});

/**
 * One object per peer (docs/spec/pool.md#shape). It joins the parts, which write through `BondStore`; `BondFlush` does what
 * follows a commit. Only a registration that proved the peer's key makes a peer of the object.
 */
export class Bond extends DurableObject<Env> implements BondRpc {
  readonly #store: BondStore;
  readonly #flush: BondFlush;
  readonly #snapshot: PeerSnapshot;
  /** Null until there is a peer: their tables are made with the first transaction. */
  #parts: { deliveries: DeliveryQueue; admissions: Admissions; requests: AdminRequests } | null = null;
  readonly #channel: PeerChannel;
  readonly #liveness: Liveness;
  readonly #membership: Membership;
  readonly #sentGrants: SentGrants;
  readonly #receivedGrants: ReceivedGrants;
  readonly #decisions: TrustDecisions;
  readonly #sync: PeerSync;
  readonly #endpoint: EventEndpoint;
  readonly #eviction: Eviction;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const store = new BondStore(ctx.storage, env, {
      opened: () => this.#openParts(),
      appended: (event, { type, visibility }) => {
        if (visibility === "direct") this.#queueDirect(event, type);
      },
      row: () => this.#snapshot.row(),
      committed: (when) => {
        this.#sync.endForbiddenStreams();
        this.#flush.committed(when);
      },
    });
    this.#store = store;
    const parts = () => ({
      membership: this.#membership,
      receivedGrants: this.#receivedGrants,
      liveness: this.#liveness,
      channel: this.#channel,
      sync: this.#sync,
      eviction: this.#eviction,
      admissions: () => this.#admissions,
      deliveries: () => this.#deliveries,
      requests: () => this.#requests,
    });
    this.#flush = new BondFlush(ctx, env, store, parts);
    this.#snapshot = new PeerSnapshot(store, parts);
    this.#sentGrants = new SentGrants(store, () => this.#deliveries);
    this.#membership = new Membership(env, store, () => this.#snapshot.status());
    this.#receivedGrants = new ReceivedGrants(env, store, this.#membership, this.#sentGrants);
    this.#channel = new PeerChannel(env, store, new PeerClock(ctx, env, store), {
      address: () => this.#address(),
      isWaiting: () => this.#isWaiting(),
      back: () => this.#retryNow(),
      availabilityChanged: () => ctx.waitUntil(this.#membership.note().catch(() => this.#flush.retryLater())),
    });
    this.#liveness = new Liveness(ctx, env, store, this.#channel, this.#sentGrants);
    this.#decisions = new TrustDecisions(store, {
      membership: this.#membership,
      sent: this.#sentGrants,
      received: this.#receivedGrants,
      admissions: () => this.#admissions,
      deliveries: () => this.#deliveries,
      requests: () => this.#requests,
    });
    const owner = {
      trust: () => store.trust,
      peer: () => store.peer,
      self: async () => (await poolKeys(env)).atomId,
      resendGrant: () => this.#sentGrants.resend(),
      statusChanged: () => ctx.waitUntil(this.#flush.flush()),
      workWaitMs: () => this.#admissions.workWaitMs(Date.now()),
      chargeWork: (costUs: number) => this.#admissions.chargeWork(costUs, Date.now()),
      armBy: (atMs: number) => this.#flush.armBy(atMs),
    };
    this.#sync = new PeerSync(ctx, env, this.#channel, owner, store);
    this.#endpoint = new EventEndpoint(
      env,
      {
        sender: (policy) => ({ atomId: store.peer?.atomId ?? "", trust: trustInEffect(store.trust, policy) }),
        admissions: () => this.#admissions,
        acknowledge: (audience, log, since) => this.#sync.acknowledge(audience, log, since),
        flushPending: () => this.#flush.pending(),
      },
      this.#receivedGrants,
    );
    this.#eviction = new Eviction(store, this.#membership, {
      forget: () => this.#forget(),
      flush: () => this.#flush.flush(),
      armBy: (atMs) => this.#flush.armBy(atMs),
    });
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
    if (trust.removedAtMs !== null || this.#eviction.isPending) return NOT_A_PEER;
    const nowMs = Date.now();
    const isBelow2 = trustInEffect(trust, policy) < 2;
    const kind = isBelow2 ? (request.kindBelow2 ?? request.kind) : request.kind;
    const step = await this.#admissions.admit({ ...request, kind }, peerRateLimits(policy), nowMs);
    if (!step.ok) return step;
    // Re-read trust: an admin may have changed it while we awaited the commit.
    const version = this.#admissions.signatureVersion;
    const trustNow = trustFor(this.#store.trust, policy, version, request.use ?? "other");
    this.#store.seenAtMs = nowMs;
    this.#flush.armPurge(nowMs);
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
    await this.#flush.pending();
    if (isNew) peersChanged();
    return step;
  }

  // ---- requests between admins (BondForRequests, BondForInbox)

  async receiveRequest(request: IncomingRequest, policy: FederationPolicy): Promise<ReceivedRequest> {
    if (this.#store.trust === null) return { ok: false, code: "federation/untrusted" };
    return this.#requests.inbox.receive(request, policy);
  }

  async takeCallback(callback: ReceivedCallback, policy: FederationPolicy): Promise<SentAnswer> {
    if (trustInEffect(this.#store.trust, policy) < 1) return { ok: false, code: "federation/untrusted" };
    return this.#requests.sent.calledBack(callback);
  }

  request(direction: RequestDirection, requestId: string): StoredRequest | null {
    const found = this.#store.trust === null ? null : this.#requests.find(direction, requestId);
    return found && { ...found, isRecorded: this.#store.records.pending() === 0 };
  }

  signedRequest(requestId: string): SignedRequest | null {
    return this.#store.trust === null ? null : this.#requests.signedRequest(requestId);
  }

  async approveRequest(
    requestId: string,
    reason: ErasableText | null,
    facts: ApprovalFacts,
    admin: ActingAdmin,
    policy: FederationPolicy,
  ): Promise<Decided> {
    if (this.#store.trust === null) return { ok: false, code: "federation/request-not-found" };
    const decided = await this.#requests.inbox.approve(requestId, reason, facts, admin, policy);
    await this.#flush.soon();
    return decided;
  }

  async rejectRequest(requestId: string, note: ErasableText | null, admin: ActingAdmin): Promise<Decided> {
    if (this.#store.trust === null) return { ok: false, code: "federation/request-not-found" };
    const decided = await this.#requests.inbox.reject(requestId, note, admin);
    await this.#flush.soon();
    return decided;
  }

  async sendRequest(request: OutgoingRequest, admin: ActingAdmin): Promise<SentAnswer> {
    if (this.#store.trust === null) return { ok: false, code: "federation/peer-not-found" };
    const sent = this.#requests.sent.send(request, admin);
    if (sent.ok) await within(LIMITS.requestSendWaitMs, this.#flush.deliver());
    await this.#flush.soon();
    return sent;
  }

  async eraseTexts(
    direction: RequestDirection,
    requestId: string,
    row: AdminRequestRow | null,
    by: string,
  ): Promise<boolean> {
    if (this.#store.trust === null) return false;
    const isErased = this.#requests.erase(direction, requestId, row, by);
    await this.#flush.soon();
    return isErased;
  }

  // ---- for admins (BondForAdmins)

  async add(card: Card, tokenId: string, policy: FederationPolicy, signatureVersion: 1 | 2): Promise<TrustStep> {
    const { step, isNew } = await this.#decisions.register(card, tokenId, policy, signatureVersion);
    if (!step.ok) return step;
    // The peer has just answered.
    this.#channel.proved();
    await this.#flush.pending();
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
    if (step.ok) await this.#flush.soon();
    return step;
  }

  async remove(tokenId: string): Promise<{ recorded: boolean } | null> {
    if (!this.#decisions.remove(tokenId)) return null;
    await this.#flush.soon();
    peersChanged();
    return { recorded: this.#store.records.pending() === 0 };
  }

  view(min_auth_tier: MinTier): PeerState | null {
    return this.#snapshot.state(min_auth_tier);
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
    const here = this.#snapshot.row();
    if (here !== null) return isSamePeer(here, row);
    if ((await idOfPublicKey(fromHex(row.publicKey) ?? new Uint8Array())) !== row.id) {
      await this.#forget();
      return false;
    }
    this.#decisions.restore(row);
    await this.#flush.pending();
    peersChanged();
    return true;
  }

  async forgetReceivedGrants(tokenId: string): Promise<void> {
    this.#decisions.forgetReceivedGrants(tokenId);
    await this.#flush.pending();
  }

  async resume(): Promise<void> {
    this.#deliveries.retryNow(Date.now());
    await this.wake();
  }

  async wake(): Promise<void> {
    if (this.#store.trust === null) return;
    this.#flush.reread();
    this.#sync.push();
    await this.#flush.flush();
  }

  evict(): Promise<void> {
    return this.#eviction.begin();
  }

  override alarm(): Promise<void> {
    return this.#flush.alarm();
  }

  // ---- the parts

  async #forget(): Promise<void> {
    this.#parts?.admissions.forget();
    this.#parts?.deliveries.forget();
    this.#parts?.requests.forget();
    const erased = this.#store.erase(() => this.#flush.clear());
    this.#sync.endForbiddenStreams();
    await erased;
    this.#parts = null;
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
    this.ctx.waitUntil(this.#flush.flush());
  }

  #isWaiting(): boolean {
    return this.#store.trust !== null && (this.#deliveries.waiting() > 0 || this.#sync.isWaiting());
  }

  /** The peer was away when it was last called, and something waits for it. */
  #isWaitedFor(): boolean {
    return this.#channel.isAway() && this.#isWaiting();
  }

  /** Null: there is no peer to call. A removed peer has an address: it is still to hear that it was removed. */
  #address(): PeerAddress | null {
    const { peer, trust } = this.#store;
    if (peer === null || trust === null) return null;
    return { atomId: peer.atomId, url: peer.url, version: this.#admissions.signatureVersion };
  }

  get #deliveries(): DeliveryQueue {
    return this.#openParts().deliveries;
  }

  get #requests(): AdminRequests {
    return this.#openParts().requests;
  }

  get #admissions(): Admissions {
    return this.#openParts().admissions;
  }

  #openParts() {
    if (this.#parts !== null) return this.#parts;
    const { storage } = this.ctx;
    const deliveries = new DeliveryQueue(storage, this.#store, {
      send: (message) => this.#channel.try(message),
      delivered: (message, answer) => this.#requests.delivered(message, answer),
      givenUp: (message, reason) => {
        this.#requests.givenUp(message, reason);
        if (message.kind !== "grant") return;
        for (const { event } of message.body.events) this.#sentGrants.givenUp(event, reason);
      },
    });
    const requests = new AdminRequests(storage, this.env, this.#store, {
      deliveries: () => deliveries,
      signatureVersion: () => this.#admissions.signatureVersion,
      trustFor: (kind, policy) => {
        const use = kind === "read" ? "read-request" : "other";
        return trustFor(this.#store.trust, policy, this.#admissions.signatureVersion, use);
      },
      deliver: () => this.ctx.waitUntil(this.#flush.deliver()),
    });
    this.#parts = { deliveries, admissions: new Admissions(storage), requests };
    return this.#parts;
  }
}
