import { DurableObject } from "cloudflare:workers";
import { fromHex, toBase64 } from "../../schema/crypto/bytes.ts";
import { idOfPublicKey } from "../../schema/crypto/ids.ts";
import { verifyLivenessAnswer } from "../../schema/crypto/liveness-proof.ts";
import type { PeerRow } from "../../schema/db/peers.ts";
import { draft } from "../../schema/wire/event-registry.ts";
import { type SignedEvent, streamQuery } from "../../schema/wire/events.ts";
import {
  type Card,
  type FederationPolicy,
  type GrantableLevel,
  type TrustLevel,
  verifyAnswer,
} from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { eventLogForBonds } from "../events/event-log-for.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { OneAlarm } from "../limits/one-alarm.ts";
import { within } from "../limits/timeout.ts";
import { PEER_REGISTRY } from "../object-names.ts";
import { EventOutbox } from "../record/event-outbox.ts";
import { RecordOutbox } from "../record/record-outbox.ts";
import type { Unavailability } from "./delivery/availability-rules.ts";
import { DeliveryQueue, type GiveUpReason, type Message } from "./delivery/delivery-queue.ts";
import { PeerChannel } from "./delivery/peer-channel.ts";
import type { PeerAddress } from "./delivery/peer-client.ts";
import { identityOfRow, isSamePeer, type PeerIdentity, rowOfPeer, trustOfRow } from "./peering/peer-record-rules.ts";
import type { PeerStatus } from "./peering/peer-registry-object.ts";
import { ReceivedGrants } from "./peering/received-grants.ts";
import { peersChanged } from "./peering/store.ts";
import {
  decide,
  type GrantStep,
  type PeerTrust,
  prove,
  remove,
  type TrustStep,
  trustInEffect,
} from "./peering/trust-rules.ts";
import { Admissions } from "./signing/admissions.ts";
import { peerRateLimits } from "./signing/peer-rate-rules.ts";
import type { AdmissionRequest, SignedAdmission } from "./signing/signed-admission-rules.ts";
import {
  type EndpointOwner,
  EventEndpoint,
  type Pulled,
  type PullRequest,
  type Pushed,
} from "./sync/event-endpoint.ts";
import { PeerSync, type SyncView } from "./sync/peer-sync.ts";
import type { SyncOwner } from "./sync/sync-owner.ts";

export type Admitted =
  | { ok: true; trust: TrustLevel }
  | Exclude<SignedAdmission, { ok: true }>
  | { ok: false; code: "federation/unauthenticated"; reason: "not-a-peer" };

/** What of a peer is in tables. */
interface PeerTables {
  outbox: RecordOutbox;
  events: EventOutbox;
  deliveries: DeliveryQueue;
  admissions: Admissions;
}

export interface RegistrationStatus {
  revoked: boolean;
  /** The newest that it ever signed with. */
  version: 1 | 2;
}

interface PeerStandingView {
  row: PeerRow;
  effective: TrustLevel;
  sync: SyncView[];
  waiting: number;
  absence: Unavailability | null;
  /** Whether D1 has all that was decided; if not, it follows. */
  recorded: boolean;
}

type MinTier = FederationPolicy["min_auth_tier"];

/** Persisted contract: under this key, the last grant that the peer was told, as it was signed. */
const LAST_GRANT = "lastGrant";
/** Persisted contract: under this key, true when all tries to tell that grant were in vain. */
const UNHEARD_GRANT = "unheardGrant";
/** Persisted contract: under this key, true while the peer's time puts our clock ahead. */
const SAYS_AHEAD = "saysAhead";
/** Persisted contract: under this key, true while a stranger that made room for another is still in the record. */
const LEAVING = "leaving";
/** Nonces are kept for minutes; that they go is in no hurry. */
const PURGE_MS = 60_000;

/**
 * One object per peer (docs/spec/pool.md#shape): what it may, what it sent, what waits to be sent to it, and how far either follows the
 * other. The rules are in `signed-admission-rules.ts`, `trust-rules.ts`, `delivery-machine.ts` and in `sync/`. It is made by a
 * registration that proved the peer's key, and by nothing else.
 */
export class Bond extends DurableObject<Env> {
  #tables: PeerTables | null = null;
  readonly #line: PeerChannel;
  readonly #sync: PeerSync;
  readonly #grants: ReceivedGrants;
  readonly #desk: EventEndpoint;
  #identity: PeerIdentity | undefined;
  #trust: PeerTrust | null;
  #decidedBy: string | null;
  #seenAtMs: number | null;
  #verifiedAtMs = 0;
  /** A peer that missed our grant has called since. */
  #saysGrantAgain = false;
  #isGrantUnheard: boolean;
  readonly #alarm: OneAlarm;
  #isLeaving: boolean;
  #saysAhead: boolean;
  /** What the registry is being told. */
  #noting: Promise<unknown> = Promise.resolve();
  /** Nonces will be looked through by then. */
  #purgeAtMs = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { kv } = ctx.storage;
    this.#identity = kv.get("identity");
    this.#isGrantUnheard = kv.get<boolean>(UNHEARD_GRANT) ?? false;
    this.#isLeaving = kv.get<boolean>(LEAVING) ?? false;
    this.#saysAhead = kv.get<boolean>(SAYS_AHEAD) ?? false;
    this.#alarm = new OneAlarm(ctx.storage);
    this.#trust = kv.get("trust") ?? null;
    this.#decidedBy = kv.get("decidedBy") ?? null;
    this.#seenAtMs = kv.get("seenAtMs") ?? null;
    this.#line = new PeerChannel(env, kv, {
      address: () => this.#address(),
      changed: (change, save) => this.#circuitChanged(change, save),
      absent: () => ctx.waitUntil(this.#noteMember().catch(() => this.#alarm.by(Date.now() + LIMITS.outboxRetryMinMs))),
      isWaiting: () => this.#isWaiting(),
      back: () => this.#back(),
      heardTime: (aheadMs) => this.#heardTime(aheadMs),
    });
    const owner: SyncOwner = {
      trust: () => this.#trust,
      peer: () => this.#identity ?? null,
      self: () => this.#self(),
      resendGrant: () => this.#sayGrantAgain(),
      statusChanged: () => ctx.waitUntil(this.#settle()),
      workWaitMs: () => this.#admissions.workWaitMs(Date.now()),
      chargeWork: (costUs) => this.#admissions.chargeWork(costUs, Date.now()),
      armBy: (atMs) => this.#alarm.by(atMs),
    };
    this.#sync = new PeerSync(ctx, env, this.#line, owner, {
      get: (key) => kv.get(key),
      put: (key, value) => kv.put(key, value),
      delete: (key) => void kv.delete(key),
      transaction: (write) => this.#transaction(write),
      events: { put: (draft) => this.#events.put(draft) },
      records: { put: (table, row) => this.#outbox.put(table, row) },
    });
    this.#grants = new ReceivedGrants(env, kv, {
      trust: () => this.#trust,
      peer: () => this.#identity?.atomId,
      events: () => this.#events,
      inItsPlace: (peer, policy, step) => this.#inItsPlace(peer, policy, step),
      change: (trust, also) => this.#change(trust, also),
    });
    const desk: EndpointOwner = {
      sender: (policy) => ({ atomId: this.#identity?.atomId ?? "", trust: trustInEffect(this.#trust, policy) }),
      admissions: () => this.#admissions,
      acknowledge: (audience, log, since) => this.#sync.acknowledge(audience, log, since),
      flushPending: () => this.#settle(),
    };
    this.#desk = new EventEndpoint(env, desk, this.#grants);
    if (this.#trust !== null) this.#open();
  }

  /** A peer's alone: whoever is none, or none any more, leaves an empty database (4 KiB, and 32 with these). */
  #open(): PeerTables {
    if (this.#tables !== null) return this.#tables;
    const { storage } = this.ctx;
    const deliveries = new DeliveryQueue(storage, {
      send: async (message) => (await this.#line.try(message)).tried,
      gaveUp: (message, reason) => this.#gaveUp(message, reason),
    });
    const events = new EventOutbox(storage, this.env, "untold", (event, { type, visibility }) => {
      if (visibility === "direct") this.#queueDirect(event, type);
    });
    const outbox = new RecordOutbox(storage, this.env.DB);
    this.#tables = { outbox, events, deliveries, admissions: new Admissions(storage) };
    return this.#tables;
  }

  get #outbox(): RecordOutbox {
    return this.#open().outbox;
  }

  get #events(): EventOutbox {
    return this.#open().events;
  }

  get #deliveries(): DeliveryQueue {
    return this.#open().deliveries;
  }

  get #admissions(): Admissions {
    return this.#open().admissions;
  }

  // ---- requests of the peer

  /** The last of the checks of docs/spec/federation.md#signed-requests, in one transaction: what passes is on disk before anything is answered. */
  async admit(request: AdmissionRequest, policy: FederationPolicy): Promise<Admitted> {
    if (this.#trust === null) {
      // A key that was cached outlived its peer.
      await this.#forget();
      return { ok: false, code: "federation/unauthenticated", reason: "not-a-peer" };
    }
    if (this.#trust.removedAtMs !== null || this.#isLeaving) {
      return { ok: false, code: "federation/unauthenticated", reason: "not-a-peer" };
    }
    const nowMs = Date.now();
    const isBelow2 = trustInEffect(this.#trust, policy) < 2;
    const kind = isBelow2 ? (request.kindBelow2 ?? request.kind) : request.kind;
    const step = await this.#admissions.admit({ ...request, kind }, peerRateLimits(policy), nowMs);
    if (!step.ok) return step;
    // Asked again: our admin may have had a word while it was written.
    const trust = trustInEffect(this.#trust, policy);
    this.#seenAtMs = nowMs;
    const isArmed = nowMs <= this.#purgeAtMs && this.#purgeAtMs - nowMs <= PURGE_MS;
    if (!isArmed) {
      this.#purgeAtMs = nowMs + PURGE_MS;
      this.ctx.waitUntil(this.#alarm.by(this.#purgeAtMs));
    }
    // It is there again: nobody need wait out a backoff, or half an hour. Asked by what costs no message one of its
    // tries, for it may be one that calls and cannot be reached.
    this.#sync.follow();
    // Once it has called, the next proof that it can be called is enough, whoever asks for it.
    this.#saysGrantAgain = this.#isGrantUnheard;
    if (this.#isWaitedFor() || this.#isGrantUnheard) this.#verifySeldom(nowMs);
    return { ok: true, trust };
  }

  /** The trust that is in effect, for who asks without a request of the peer. */
  effectiveTrust(min_auth_tier: MinTier): TrustLevel {
    return trustInEffect(this.#trust, { min_auth_tier });
  }

  /** What outlives a removal, for who would let it in anew. */
  registrationStatus(): RegistrationStatus {
    return {
      revoked: this.#trust !== null && this.#trust.revokedAtMs !== null,
      version: this.#admissions.signatureVersion,
    };
  }

  /** A page of our log, to a peer that was admitted. */
  pull(request: PullRequest, policy: FederationPolicy): Promise<Pulled> {
    return this.#desk.pull(request, policy);
  }

  /** Events of a peer that was admitted; `body` is what it signed, and not parsed yet. */
  push(body: Uint8Array, policy: FederationPolicy): Promise<Pushed> {
    return this.#desk.push(body, policy);
  }

  /** docs/spec/events.md#sync: server-sent events, to a peer whose trust was found to be enough. */
  override fetch(request: Request): Response {
    const { audience, since } = streamQuery.parse(Object.fromEntries(new URL(request.url).searchParams));
    const headers = { "content-type": "text/event-stream", "cache-control": "no-store" };
    return new Response(this.#sync.serve(audience, since), { headers });
  }

  /** Told by `EventLog`, a moment after it has something new. Whoever has a stream open reads it there. */
  notifyOfNewEvents(): void {
    this.#sync.push();
  }

  /**
   * A peer of an export, tombstones too, in a fresh pool. False when it is here and otherwise, or its id is not its
   * key's. What it granted is not taken over: it may have withdrawn that since, and says what holds once more
   * (`#sayGrantAgain` there), with the clock of when it decided it. Requests of before now are refused.
   */
  async restore(row: PeerRow): Promise<boolean> {
    const here = this.#row();
    if (here !== null) return isSamePeer(here, row);
    if ((await idOfPublicKey(fromHex(row.publicKey) ?? new Uint8Array())) !== row.id) {
      await this.#forget();
      return false;
    }
    const { decidedBy } = row;
    this.#change(trustOfRow(row), () => {
      this.#identity = identityOfRow(row);
      this.#admissions.refuseEarlierRequests(row.signatureVersion === 2 ? 2 : 1, Date.now());
      this.#decidedBy = decidedBy;
      this.#seenAtMs = row.seenAtMs;
      for (const [key, value] of Object.entries({ identity: this.#identity, decidedBy })) {
        this.ctx.storage.kv.put(key, value);
      }
    });
    await this.#settle();
    peersChanged();
    return true;
  }

  /** As `restore` has it, of a pool that went back to a copy of its state: the peer says again what holds. */
  async forgetReceivedGrants(by: string): Promise<void> {
    const peer = this.#identity?.atomId;
    if (this.#trust === null || this.#trust.receivedAt === null || peer === undefined) return;
    const { granted } = this.#trust;
    this.#change({ ...this.#trust, received: 0, receivedAt: null }, () => {
      const payload = { peer, by, from: granted, to: granted, received: 0 as const };
      this.#events.put(draft("trust_changed", payload));
    });
    await this.#settle();
  }

  /** Nothing waits any longer: the pool was away, or its switches allow what they did not. */
  async resume(): Promise<void> {
    this.#deliveries.retryNow(Date.now());
    await this.wake();
  }

  /** What is due is done, and the alarm is set for what is not. */
  async wake(): Promise<void> {
    if (this.#trust === null) return;
    this.#alarm.reread();
    this.#sync.push();
    await this.#settle();
  }

  /** Our admin has looked at a proof of two stories, and lets it begin anew. */
  resync(): void {
    this.#sync.resync();
  }

  // ---- what the peer is

  /** The peer has proved the card's key, and we ours (docs/spec/federation.md#registration). A known one may change its name and URL so. */
  async prove(
    card: Card,
    by: { admin: string | null },
    policy: FederationPolicy,
    signatureVersion: 1 | 2,
  ): Promise<TrustStep> {
    const nowMs = Date.now();
    const wasRemoved = this.#trust !== null && this.#trust.removedAtMs !== null;
    const fresh = this.#trust === null || wasRemoved;
    const isAdmins = { admin: by.admin !== null };
    const step = await this.#inItsPlace(card.atom_id, policy, (others) =>
      prove(this.#trust, isAdmins, policy, others, nowMs),
    );
    if (!step.ok) return step;
    const { atom_id: atomId, public_key: publicKey, name, url, capabilities, auth_tier: authTier } = card;
    this.#change(step.trust, () => {
      this.#stay();
      this.#identity = { atomId, publicKey, name, url, capabilities, authTier };
      this.ctx.storage.kv.put("identity", this.#identity);
      this.#seenAtMs = nowMs;
      this.#admissions.noteSignatureVersion(signatureVersion);
      if (by.admin !== null) this.#grants.release();
      if (!fresh) return this.#sayGrantAgain();
      // Our log hears of a stranger when somebody here decides about it.
      if (by.admin === null && !wasRemoved) return this.#grants.met();
      this.#events.put(draft("peer_handshake", { peer: atomId, by: by.admin }));
      // It may still count on what we granted before we removed it.
      const payload = { peer: atomId, level: step.trust.granted };
      if (wasRemoved) this.#events.put(draft("trust_granted", payload));
    });
    // To our admin it has just answered; whether one that comes by itself can be called is to be seen.
    if (by.admin !== null) this.#line.met();
    else if (this.#isWaitedFor()) this.#verifySeldom(nowMs);
    await this.#settle();
    if (fresh) peersChanged();
    return step;
  }

  /** Our admin's word (docs/spec/federation.md#trust): recorded by name, in the log by token id, and told to the peer by a `direct` event. */
  async decide(
    level: GrantableLevel,
    admin: { name: string; tokenId: string },
    policy: FederationPolicy,
  ): Promise<TrustStep> {
    const peer = this.#identity?.atomId;
    if (peer === undefined) return { ok: false, code: "federation/peer-not-found" };
    const step = await this.#inItsPlace(peer, policy, (others) =>
      decide(this.#trust, level, policy, others, Date.now()),
    );
    if (!step.ok) {
      // The registry may have kept a place for this.
      if (this.#trust === null) await this.env.PEER_REGISTRY.getByName(PEER_REGISTRY).forget(peer);
      else await this.#noteMember();
      return step;
    }
    const before = this.#trust?.granted ?? 0;
    this.#change(step.trust, () => {
      this.#stay();
      this.#grants.release();
      this.#decidedBy = admin.name;
      this.ctx.storage.kv.put("decidedBy", admin.name);
      const { received } = step.trust;
      this.#events.put(draft("trust_changed", { peer, by: admin.tokenId, from: before, to: level, received }));
      this.#events.put(draft("trust_granted", { peer, level }));
    });
    await this.#settledSoon();
    return step;
  }

  /**
   * Null when there was no such peer; `recorded`: whether D1 has it already. Its streams end, and what waited for it is replaced by the word that nothing of
   * what it was granted holds any more: the tombstone sees to its delivery.
   */
  async remove(by: string): Promise<{ recorded: boolean } | null> {
    const peer = this.#identity?.atomId;
    if (this.#trust === null || this.#trust.removedAtMs !== null || peer === undefined) return null;
    const { granted: before, received } = this.#trust;
    const counts = wasTold(this.#trust);
    this.#change(remove(this.#trust, Date.now()), () => {
      this.#stay();
      this.#deliveries.clear();
      this.#grants.release();
      this.#events.put(draft("trust_changed", { peer, by, from: before, to: null, received }));
      if (counts) this.#events.put(draft("trust_granted", { peer, level: 0 }));
    });
    await this.#settledSoon();
    peersChanged();
    return { recorded: this.#outbox.pending() === 0 };
  }

  /**
   * A stranger makes room for another: nobody decided anything about it, so nothing of it need stay. From now on it is
   * no peer, and no row of it is put into the outbox, unless our admin decides about it or it registers again.
   */
  async evict(): Promise<void> {
    const { atomId } = this.#identity ?? {};
    if (atomId === undefined || !isStranger(this.#trust) || this.#isLeaving) return;
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.kv.put(LEAVING, true);
      // Behind what is on its way to the record.
      this.#outbox.remove("peers", atomId);
    });
    this.#isLeaving = true;
    this.#rearm(Date.now() + LIMITS.outboxRetryMinMs);
    await this.#leave();
  }

  /** Once the record has forgotten it, so do we; while D1 is away the alarm tries again. */
  async #leave(): Promise<void> {
    const atomId = this.#identity?.atomId;
    if (!(await this.#outbox.flush())) return this.#alarm.by(this.#outbox.dueAtMs(Date.now()) ?? Date.now());
    // Our admin decided about it meanwhile, or it came back.
    if (!this.#isLeaving) return this.#settle();
    await this.#forget();
    peersChanged();
    // After what the registry was being told of it.
    await this.#noting;
    if (atomId !== undefined && this.#trust === null) {
      await this.env.PEER_REGISTRY.getByName(PEER_REGISTRY).forget(atomId);
    }
  }

  /** Inside a transaction: a stranger that was to make room stays. */
  #stay(): void {
    if (!this.#isLeaving) return;
    this.#isLeaving = false;
    this.ctx.storage.kv.delete(LEAVING);
  }

  /** As if it had never been; what comes back is a newcomer. */
  async #forget(): Promise<void> {
    this.#trust = null;
    this.#identity = undefined;
    this.#isLeaving = false;
    for (const table of ["admissions", "deliveries", "events", "outbox"] as const) this.#tables?.[table].forget();
    this.#line.forget();
    this.#isGrantUnheard = false;
    this.#purgeAtMs = 0;
    this.#seenAtMs = null;
    this.#sync.endForbiddenStreams();
    await this.#alarm.clear();
    await this.ctx.storage.deleteAll();
    this.#tables = null;
  }

  /** For the operator: the row as it is now, and how sync stands. */
  view(min_auth_tier: MinTier): PeerStandingView | null {
    const row = this.#row();
    if (row === null || row.removedAtMs !== null) return null;
    return {
      row,
      effective: this.effectiveTrust(min_auth_tier),
      sync: this.#sync.view(),
      waiting: this.#deliveries.waiting(),
      absence: this.#line.absence(),
      recorded: this.#outbox.pending() === 0,
    };
  }

  // ---- calls to the peer

  async #deliver(): Promise<void> {
    await this.#deliveries.run();
    // Forgotten meanwhile.
    if (this.#trust === null) return;
    const dueAtMs = this.#deliveries.dueAtMs();
    if (dueAtMs !== null) await this.#alarm.by(dueAtMs);
    // What was given up is for the log to hear, by the alarm.
    const eventsDueMs = this.#events.dueAtMs(Date.now());
    if (eventsDueMs !== null) await this.#alarm.by(eventsDueMs);
    await this.#noteMember();
  }

  /** Inside a transaction: a message that will not reach the peer ends where our admin can see it (docs/spec/pool.md#shape, rule 7). */
  #gaveUp({ body }: Message, reason: GiveUpReason): void {
    const peer = this.#identity?.atomId;
    const { kv } = this.ctx.storage;
    kv.put("givenUp", (kv.get<number>("givenUp") ?? 0) + 1);
    for (const { event } of body.events) {
      const { content_id } = event;
      if (peer !== undefined) this.#events.put(draft("delivery_given_up", { peer, content_id, reason }));
      const isGrant = event.content_id === kv.get<SignedEvent>(LAST_GRANT)?.content_id;
      // One that answered that it will never take it is not asked again.
      if (!isGrant || reason !== "tries") continue;
      this.#isGrantUnheard = true;
      kv.put(UNHEARD_GRANT, true);
    }
  }

  #verifySeldom(nowMs: number): void {
    if (nowMs - this.#verifiedAtMs < LIMITS.peerVerifyMs) return;
    this.#verifiedAtMs = nowMs;
    this.ctx.waitUntil(this.#verify());
  }

  /** docs/spec/federation.md#endpoints: peers verify one another, so that each knows who is there. One that is may hear what it missed. */
  async #verify(): Promise<void> {
    const publicKey = fromHex(this.#identity?.publicKey ?? "");
    if (publicKey === null) return;
    const challenge_b64 = toBase64(crypto.getRandomValues(new Uint8Array(32)));
    const body = { atom_id: await this.#self(), challenge_b64 };
    const answer = await this.#line.call({ method: "POST", target: "/v1/federation/verify", body });
    const said = answer.ok && answer.status === 200 ? verifyAnswer.safeParse(answer.body) : null;
    if (!said?.success || this.#trust === null) return;
    if (!(await verifyLivenessAnswer(said.data.signed_response_b64, challenge_b64, publicKey))) return;
    this.#seenAtMs = Date.now();
    this.#change(this.#trust, () => {
      if (!this.#saysGrantAgain) return;
      this.#saysGrantAgain = false;
      this.#isGrantUnheard = false;
      this.ctx.storage.kv.delete(UNHEARD_GRANT);
      this.#sayGrantAgain();
    });
    await this.#settle();
  }

  /** Of a removed peer too, which is told so; trust keeps everything else from it. */
  #address(): PeerAddress | null {
    if (this.#identity === undefined || this.#trust === null) return null;
    const { atomId, url } = this.#identity;
    return { atomId, url, version: this.#admissions.signatureVersion };
  }

  async #self(): Promise<string> {
    return (await poolKeys(this.env)).atomId;
  }

  #circuitChanged(change: "opened" | "closed", save: () => void): void {
    const peer = this.#identity?.atomId;
    if (this.#trust === null || peer === undefined) return;
    this.#change(this.#trust, () => {
      save();
      this.#events.put(draft(`circuit_${change}`, { peer }));
    });
    if (change === "closed") this.#back();
    else this.ctx.waitUntil(this.#settle());
  }

  /** Its own time, by the answers to our calls: the log is told when it begins, or ends, to put our clock ahead. */
  #heardTime(aheadMs: number): void {
    const atomId = this.#identity?.atomId;
    const isAhead = aheadMs > LIMITS.clockDriftMs;
    if (atomId === undefined || this.#trust === null || isAhead === this.#saysAhead) return;
    this.#saysAhead = isAhead;
    const { kv } = this.ctx.storage;
    if (isAhead) kv.put(SAYS_AHEAD, true);
    else kv.delete(SAYS_AHEAD);
    const told = eventLogForBonds(this.env).reportPeerClock(atomId, isAhead ? aheadMs : null);
    this.ctx.waitUntil(
      Promise.resolve(told).catch(() => {
        // The next answer tells it.
        this.#saysAhead = !isAhead;
      }),
    );
  }

  /** What waits for it is tried at once. */
  #back(): void {
    if (this.#trust === null) return;
    this.#deliveries.retryNow(Date.now());
    this.#sync.retryNow();
    this.ctx.waitUntil(this.#settle());
  }

  /** It was away when it was last called, and something is to be told to it. */
  #isWaitedFor(): boolean {
    const isAway = this.#line.absence() !== null || this.#line.circuit() === "open";
    return isAway && this.#isWaiting();
  }

  #isWaiting(): boolean {
    return this.#trust !== null && (this.#deliveries.waiting() > 0 || this.#sync.isWaiting());
  }

  /**
   * Call inside a transaction. It may have lost what we granted, as a pool has that was restored from a backup. The same
   * event, so that nobody who loses it over and over fills our log.
   */
  #sayGrantAgain(): void {
    const peer = this.#identity?.atomId;
    if (this.#trust === null || peer === undefined || !wasTold(this.#trust)) return;
    const said = this.ctx.storage.kv.get<SignedEvent>(LAST_GRANT);
    const payload = { peer, level: this.#trust.granted };
    if (said !== undefined) this.#queueDirect(said, "trust_granted");
    else this.#events.put(draft("trust_granted", payload));
  }

  /** The alarm and a flush follow the commit. */
  #transaction<T>(write: () => T): T {
    const result = this.ctx.storage.transactionSync(write);
    this.#rearm(Date.now() + LIMITS.outboxRetryMinMs);
    this.ctx.waitUntil(this.#settle());
    return result;
  }

  // ---- time

  override async alarm(): Promise<void> {
    this.#alarm.fired();
    if (this.#trust === null) return;
    if (this.#isLeaving) return this.#leave();
    const nowMs = Date.now();
    const isPurged = !this.#admissions.purge(nowMs);
    await this.#settle();
    this.#sync.follow();
    this.#sync.push();
    const isBonded = this.effectiveTrust("oauth-verified") >= 2;
    if (isBonded) this.#verifySeldom(nowMs);
    const due = [
      this.#deliveries.dueAtMs(),
      this.#outbox.dueAtMs(nowMs),
      this.#events.dueAtMs(nowMs),
      isBonded ? nowMs + LIMITS.peerVerifyMs : null,
    ];
    if (this.#admissions.holdsNonces()) due.push(nowMs + (isPurged ? PURGE_MS : LIMITS.outboxRetryMinMs));
    const next = due.filter((atMs) => atMs !== null);
    // What is due already is being tried: an alarm at once would find nothing else to do until that has ended.
    if (next.length > 0) await this.#alarm.by(Math.max(Math.min(...next), nowMs + LIMITS.outboxRetryMinMs));
  }

  /** In the turn of a transaction the alarm is part of its commit. */
  #rearm(atMs: number): void {
    this.ctx.waitUntil(this.#alarm.by(atMs));
  }

  // ---- what is stored, and what follows from a change

  /** One transaction; the peer's row goes to the record with it. */
  #change(trust: PeerTrust, also: () => void): void {
    const before = { trust: this.#trust, identity: this.#identity };
    // Not in the transaction: one that fails would take the tables back.
    this.#open();
    try {
      this.ctx.storage.transactionSync(() => {
        also();
        this.#trust = trust;
        const { kv } = this.ctx.storage;
        kv.put("trust", trust);
        if (this.#seenAtMs !== null) kv.put("seenAtMs", this.#seenAtMs);
        const row = this.#row();
        if (row && !this.#isLeaving) this.#outbox.put("peers", row);
      });
      // In the same turn, and so in the same commit: whatever ends us before the work is done, an alarm finds it.
      this.#rearm(Date.now() + LIMITS.outboxRetryMinMs);
    } catch (error) {
      this.#trust = before.trust;
      this.#identity = before.identity;
      throw error;
    }
    this.#sync.endForbiddenStreams();
  }

  /** The registry's count, the log and the record follow the commit; what fails now is tried again by the alarm. */
  async #settle(): Promise<void> {
    if (this.#trust === null) return;
    const steps = [
      () => this.#noteFollowing(),
      () => this.#grants.tellLog(),
      () => this.#events.flush(),
      () => this.#outbox.flush(),
    ];
    const done: PromiseSettledResult<unknown>[] = await Promise.allSettled(steps.map((step) => step()));
    // Last: it says what is left to do.
    done.push(...(await Promise.allSettled([this.#noteMember()])));
    // Forgotten meanwhile: nothing is left to do.
    if (this.#trust === null) return;
    const isDone = done.every((each) => each.status === "fulfilled" && each.value !== false);
    if (!isDone) await this.#alarm.by(Date.now() + LIMITS.outboxRetryMinMs);
    const dueAtMs = this.#deliveries.dueAtMs();
    if (dueAtMs !== null) this.ctx.waitUntil(this.#deliver());
    if (this.effectiveTrust("oauth-verified") >= 2) await this.#alarm.by(Date.now() + LIMITS.peerVerifyMs);
    this.#sync.follow();
  }

  /** The same, for an admin who waits: what takes longer goes on. */
  async #settledSoon(): Promise<void> {
    const settling = this.#settle();
    this.ctx.waitUntil(settling);
    await within(LIMITS.recordWaitMs, settling);
  }

  /**
   * A step that may lift the peer to 2, where its place among `max_peers` is taken first: the registry counts for all
   * bonds at once. `others`: how many have one already.
   */
  async #inItsPlace<Step extends TrustStep | GrantStep>(
    atomId: string,
    { max_peers }: FederationPolicy,
    step: (others: number) => Step,
  ): Promise<Step> {
    const wanted = step(0);
    const isLifted = "trust" in wanted && wanted.trust.granted >= 2 && (this.#trust?.granted ?? 0) < 2;
    if (!isLifted) return wanted;
    const room = await this.env.PEER_REGISTRY.getByName(PEER_REGISTRY).claimPlace(atomId, max_peers);
    return step(room ? 0 : Number.POSITIVE_INFINITY);
  }

  async #noteMember(): Promise<void> {
    if (this.#trust === null || this.#identity === undefined || this.#isLeaving) return;
    const { atomId } = this.#identity;
    const { granted, addedAtMs, addedByAdmin, decided, removedAtMs } = this.#trust;
    const registry = this.env.PEER_REGISTRY.getByName(PEER_REGISTRY);
    const member = { atomId, granted, addedAtMs, keptByAdmin: addedByAdmin || decided !== null };
    const noted = Promise.resolve(
      removedAtMs === null ? registry.note(member, this.#standing()) : registry.leave(atomId, this.#standing()),
    );
    this.#noting = Promise.allSettled([this.#noting, noted]);
    await noted;
  }

  #standing(): PeerStatus {
    return {
      effective: this.effectiveTrust("oauth-verified"),
      circuit: this.#line.circuit(),
      deliveries: this.#deliveries.waiting(),
      waitingSinceMs: this.#deliveries.waitingSinceMs(),
      absence: this.#line.absence(),
      givenUp: this.ctx.storage.kv.get<number>("givenUp") ?? 0,
      untold: this.#events.pending(),
      records: this.#outbox.held(),
      behind: this.#sync.behind(),
      isUnfollowable:
        this.effectiveTrust("oauth-verified") >= 2 &&
        this.#sync.view().some(({ followed }) => (followed.unfollowable?.told.length ?? 0) > 0),
    };
  }

  /** Whether the log is to tell us of what is new in it. */
  async #noteFollowing(): Promise<void> {
    if (this.#trust === null || this.#identity === undefined) return;
    const log = eventLogForBonds(this.env);
    await log.subscribe(this.#identity.atomId, this.effectiveTrust("oauth-verified") >= 2);
  }

  /** docs/spec/federation.md#delivery: `direct` events are queued, each on its own; of grants the last one said is all that counts (docs/spec/federation.md#trust). */
  #queueDirect(event: SignedEvent, type: string): void {
    if (this.#trust === null) return;
    if (type === "trust_granted") this.ctx.storage.kv.put(LAST_GRANT, event);
    const message = { target: "/api/federation/events", body: { events: [{ event, ttl: 0 }] } };
    this.#deliveries.put(message, type === "trust_granted" ? type : null, Date.now());
  }

  #row(): PeerRow | null {
    if (this.#identity === undefined || this.#trust === null) return null;
    return rowOfPeer(this.#identity, this.#trust, {
      decidedBy: this.#decidedBy,
      signatureVersion: this.#admissions.signatureVersion,
      circuit: this.#line.circuit(),
      seenAtMs: this.#seenAtMs,
    });
  }
}

/** Whoever was never granted anything counts on nothing. */
function wasTold({ decided, granted }: PeerTrust): boolean {
  return decided !== null || granted >= 2;
}

/** Nobody here decided anything about it. */
function isStranger(trust: PeerTrust | null): boolean {
  return trust !== null && !trust.addedByAdmin && trust.decided === null;
}
