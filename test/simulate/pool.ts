import { mayRead } from "../../edge/events/visibility-rules.ts";
import {
  afterTry,
  type Circuit,
  CLOSED_CIRCUIT,
  type Delivery,
  endTry,
  newDelivery,
  type Outcome,
  startTry,
} from "../../edge/federation/delivery/delivery-machine.ts";
import {
  decide,
  type PeerTrust,
  prove,
  receiveGrant,
  trustInEffect,
} from "../../edge/federation/peering/trust-rules.ts";
import {
  advance,
  type Followed,
  type FollowStep,
  NOTHING_FOLLOWED,
  receivePage,
  receiveStreamed,
  type Source,
} from "../../edge/federation/sync/followed-log-rules.ts";
import { answerPush, type IncomingResult } from "../../edge/federation/sync/incoming-rules.ts";
import {
  acknowledge,
  afterPush,
  NOTHING_SENT,
  nextPush,
  type Sent,
  sentForLog,
} from "../../edge/federation/sync/push-rules.ts";
import { mayFollow, originRefusal } from "../../edge/federation/sync/sync-trust-rules.ts";
import type { PeerAudience, PullAnswer, PulledEvent, PushBody, SignedEvent } from "../../schema/wire/events.ts";
import {
  FEDERATION_POLICY_DEFAULTS,
  type GrantableLevel,
  grantPayload,
  type TrustLevel,
} from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Draft, type Entry, type Identity, type SentEvent, type SimLog, sha256 } from "./log.ts";
import type { Answer, Network, Request, Stream } from "./network.ts";
import type { Oracle } from "./oracle.ts";

export const AUDIENCES: readonly PeerAudience[] = ["public", "peers"];
const POLICY = FEDERATION_POLICY_DEFAULTS;
const UNREACHABLE: Outcome = { type: "unreachable" };

/** A step of a task may wait for an answer or for a condition. Between two steps any other action may happen. */
interface Call {
  to: string;
  request: Request;
}
type Task = Generator<Call | (() => boolean) | undefined, void, Answer | null>;
type Part<T> = Generator<Call | (() => boolean) | undefined, T, Answer | null>;

interface Running {
  task: Task;
  call: number | null;
  until: (() => boolean) | null;
  answer: Answer | null;
}

interface Queued {
  event: SignedEvent;
  isGrant: boolean;
  delivery: Delivery;
}

/** The storage of a `Bond`. Each assignment is a commit. */
export interface SimBond {
  readonly peer: Identity;
  trust: PeerTrust;
  readonly followed: Record<PeerAudience, Followed>;
  readonly sent: Record<PeerAudience, Sent>;
  circuit: Circuit;
  /** Drafts that are not in the log yet. */
  pending: Draft[];
  queue: Queued[];
}

/** A rule of the objects that a run breaks on purpose, to see that the oracle notices. */
export type Flaw =
  | "cursor-before-take"
  | "grant-forgotten-on-duplicate"
  | "published-before-queued"
  | "published-without-key";

export interface SimContext {
  network: Network;
  oracle: Oracle;
  /** In [0, 1). */
  random: () => number;
  nowMs: () => number;
  /** Events with an invalid signature, and the error code of each. */
  bad: ReadonlyMap<string, "events/invalid-signature" | "events/content-hash-mismatch" | "events/malformed">;
  /** Whether open circuits prevent calls. */
  circuits: boolean;
  /** Whether a page is dropped when its peer is not followed any more. The rules must work in both cases. */
  careful: boolean;
  flaw: Flaw | null;
}

/** One pool: what its objects do around the rules under test, split into the steps between two awaits. */
export class SimPool {
  readonly identity: Identity;
  readonly log: SimLog;
  readonly bonds = new Map<string, SimBond>();
  /** The error of its wall clock. */
  offsetMs = 0;
  /** The next key of a draft. */
  #keys = 0;
  readonly #context: SimContext;
  // ---- lost in a crash
  #tasks: Running[] = [];
  #drafts: { drafts: readonly Draft[]; done: (entries: Entry[]) => void }[] = [];
  #writing = false;
  readonly #publishing = new Set<string>();
  readonly #delivering = new Set<string>();

  constructor(log: SimLog, context: SimContext) {
    this.identity = log.identity;
    this.log = log;
    this.#context = context;
  }

  get wallMs(): number {
    return this.#context.nowMs() + this.offsetMs;
  }

  get #wallUs(): number {
    return this.wallMs * 1_000;
  }

  bond(peer: string): SimBond {
    const bond = this.bonds.get(peer);
    if (!bond) throw new Error(`${this.identity.name} does not know ${peer}`);
    return bond;
  }

  /** Both have proved their keys. */
  addPeer(peer: Identity): void {
    const proven = prove(null, { admin: false }, POLICY, 0, this.wallMs);
    if (!proven.ok) throw new Error(proven.code);
    this.bonds.set(peer.atomId, {
      peer,
      trust: proven.trust,
      followed: { public: NOTHING_FOLLOWED, peers: NOTHING_FOLLOWED },
      sent: { public: NOTHING_SENT, peers: NOTHING_SENT },
      circuit: CLOSED_CIRCUIT,
      pending: [],
      queue: [],
    });
  }

  trustOf(peer: string): TrustLevel {
    return trustInEffect(this.bonds.get(peer)?.trust ?? null, POLICY);
  }

  follows(peer: string, audience: PeerAudience): boolean {
    return mayFollow(audience, this.bond(peer).trust, POLICY);
  }

  // ---- running

  spawn(task: Task): void {
    this.#tasks.push({ task, call: null, until: null, answer: null });
  }

  get isRunnable(): boolean {
    return this.#tasks.some(isRunnable);
  }

  /** Runs one step of one task that is not waiting. */
  run(pick: (from: readonly Running[]) => Running): void {
    const running = pick(this.#tasks.filter(isRunnable));
    running.until = null;
    const { value, done } = running.task.next(running.answer);
    running.answer = null;
    if (done) this.#tasks.splice(this.#tasks.indexOf(running), 1);
    else if (typeof value === "function") running.until = value;
    else if (value) running.call = this.#context.network.send(this.identity.atomId, value.to, value.request);
  }

  answered(call: number, answer: Answer): void {
    const running = this.#tasks.find((each) => each.call === call);
    if (running) Object.assign(running, { call: null, answer });
  }

  /** Some tasks stop waiting for an answer. */
  timeOut(choose: (waiting: readonly Running[]) => readonly Running[]): void {
    for (const running of choose(this.#tasks.filter(({ call }) => call !== null))) {
      this.#context.network.giveUp(running.call ?? 0);
      running.call = null;
    }
  }

  crash(): void {
    for (const { call } of this.#tasks) if (call !== null) this.#context.network.giveUp(call);
    this.#tasks = [];
    this.#drafts = [];
    this.#writing = false;
    this.#publishing.clear();
    this.#delivering.clear();
    this.#context.network.crash(this.identity.atomId);
    this.log.crash();
  }

  /** Replaces the pool by one that was restored from a backup. It knows its peers and has the first `keep` events. */
  restore(keep: number, logId: string): void {
    this.crash();
    this.#context.oracle.noteRestored(this, this.log.restore(keep, logId));
    for (const bond of this.bonds.values()) {
      for (const audience of AUDIENCES) {
        bond.followed[audience] = NOTHING_FOLLOWED;
        bond.sent[audience] = NOTHING_SENT;
      }
    }
  }

  // ---- our own events

  append(drafts: readonly Draft[], done: (entries: Entry[]) => void = () => {}): void {
    this.#drafts.push({ drafts, done });
    if (this.#writing) return;
    this.#writing = true;
    this.spawn(this.#write());
  }

  *#write(): Task {
    while (this.#drafts.length > 0) {
      const group = this.#drafts.splice(0);
      const drafted = this.log.draft(
        group.flatMap(({ drafts }) => drafts),
        this.#wallUs,
      );
      yield;
      const entries = this.log.commit(drafted);
      for (const { drafts, done } of group) done(entries.splice(0, drafts.length));
    }
    this.#writing = false;
  }

  decide(peer: string, level: GrantableLevel): void {
    const bond = this.bond(peer);
    const step = decide(bond.trust, level, POLICY, 0, this.wallMs);
    if (!step.ok) throw new Error(step.code);
    bond.trust = step.trust;
    this.#addDraft(bond, { type: "trust_changed", visibility: "private", payload: { peer, to: level } });
    this.#addDraft(bond, { type: "trust_granted", visibility: "direct", payload: { peer, level } });
    this.spawn(this.publishPending(peer));
  }

  message(peer: string, n: number): void {
    const bond = this.bond(peer);
    this.#addDraft(bond, { type: "peer_status", visibility: "direct", payload: { peer, n } });
    this.#context.oracle.expectMessage(this.identity.atomId, peer, n);
    this.spawn(this.publishPending(peer));
  }

  #addDraft(bond: SimBond, draft: Draft): void {
    const keyed = { ...draft, key: `${this.#keys++}` };
    bond.pending = [...bond.pending, this.#context.flaw === "published-without-key" ? draft : keyed];
  }

  /** Appends the pending drafts of a bond to the log, and queues its `direct` events for the peer. */
  *publishPending(peer: string): Task {
    const bond = this.bond(peer);
    if (this.#publishing.has(peer) || bond.pending.length === 0) return;
    this.#publishing.add(peer);
    const drafts = bond.pending;
    let entries: Entry[] | null = null;
    this.append(drafts, (appended) => {
      entries = appended;
    });
    if (this.#context.flaw === "published-before-queued") bond.pending = [];
    yield () => entries !== null;
    yield;
    const direct: Entry[] = (entries ?? []).filter(({ body }: Entry) => body.visibility === "direct");
    for (const { wire: event, body } of direct) {
      const isGrant = body.type === "trust_granted";
      // A newer grant replaces an older one.
      const stay = bond.queue.filter((each) => !(isGrant && each.isGrant));
      bond.queue = [...stay, { event, isGrant, delivery: newDelivery(this.wallMs) }];
    }
    bond.pending = bond.pending.slice(drafts.length);
    this.#publishing.delete(peer);
  }

  // ---- calls to a peer

  *#call(bond: SimBond, request: Request): Part<{ answer: Answer | null; outcome: Outcome } | null> {
    const start = startTry(bond.circuit, this.wallMs);
    if (this.#context.circuits && !start.ok) return null;
    if (start.ok) bond.circuit = start.circuit;
    const answer = yield { to: bond.peer.atomId, request };
    const outcome: Outcome =
      answer === null ? UNREACHABLE : { type: "answered", status: answer.status, retryAfterSeconds: null };
    bond.circuit = endTry(bond.circuit, outcome, this.wallMs).circuit;
    return { answer, outcome };
  }

  /** Delivers the queued `direct` events, one by one. */
  *deliver(peer: string): Task {
    const bond = this.bond(peer);
    if (this.#delivering.has(peer)) return;
    this.#delivering.add(peer);
    for (const queued of bond.queue.filter(({ delivery }) => delivery.nextAtMs <= this.wallMs)) {
      if (!bond.queue.includes(queued)) continue;
      const body: PushBody = { events: [{ event: queued.event, ttl: 0 }] };
      const called = yield* this.#call(bond, { type: "push", body });
      if (called === null) break;
      const step = afterTry(queued.delivery, called.outcome, this.wallMs, this.#context.random());
      const at = bond.queue.indexOf(queued);
      // A newer grant replaced it during the call.
      if (at === -1) continue;
      if (step.type === "given-up") this.#context.oracle.noteGivenUp(this.identity.atomId, peer);
      bond.queue = bond.queue.toSpliced(
        at,
        1,
        ...(step.type === "retry" ? [{ ...queued, delivery: step.delivery }] : []),
      );
    }
    this.#delivering.delete(peer);
  }

  *push(peer: string, audience: PeerAudience): Task {
    const bond = this.bond(peer);
    if (!this.follows(peer, audience)) return;
    const page = this.log.read(
      audience,
      sentForLog(bond.sent[audience], this.log.state.logId).seq,
      LIMITS.eventsPerPull,
    );
    const streaming = this.#context.network.streams.some(
      (each) =>
        each.serverOpen && each.server === this.identity.atomId && each.client === peer && each.audience === audience,
    );
    const next = nextPush(bond.sent[audience], page, { publicKey: bond.peer.publicKey, streaming }, this.wallMs);
    this.#context.oracle.count(`push: ${next.type}`);
    if (next.type === "skipped") this.#saveSent(bond, audience, next.sent);
    if (next.type !== "push") return;
    const called = yield* this.#call(bond, { type: "push", body: next.push.body });
    if (called === null) return;
    const { answer, outcome } = called;
    const body = answer?.type === "pushed" ? answer.body : null;
    const random = this.#context.random();
    this.#saveSent(bond, audience, afterPush(bond.sent[audience], next.push, body, outcome, this.wallMs, random));
  }

  #saveSent(bond: SimBond, audience: PeerAudience, sent: Sent): void {
    this.#context.oracle.checkAcknowledged(this, bond.sent[audience], sent);
    bond.sent[audience] = sent;
  }

  // ---- following a peer

  *pull(peer: string, audience: PeerAudience, limit: number): Task {
    const bond = this.bond(peer);
    if (!this.follows(peer, audience)) return;
    const { seq } = bond.followed[audience].cursor;
    const called = yield* this.#call(bond, { type: "pull", audience, since: seq, limit });
    if (called?.answer?.type === "page") yield* this.page(peer, audience, called.answer.page);
  }

  /** False: the page did not fit, or the cursor is stalled. */
  *page(peer: string, audience: PeerAudience, page: PullAnswer): Part<boolean> {
    const { followed, peer: identity } = this.bond(peer);
    const step = receivePage(followed[audience], sourceOf(identity, audience), page, sha256);
    return yield* this.#follow(peer, audience, step, page.events);
  }

  *stream(peer: string, audience: PeerAudience): Task {
    const bond = this.bond(peer);
    const { logId, cursor } = bond.followed[audience];
    // Only a pull gives the log's name.
    if (!this.follows(peer, audience) || logId === null) return;
    const called = yield* this.#call(bond, { type: "stream", audience, since: cursor.seq });
    if (called?.answer?.type === "streaming") this.#context.oracle.count("stream opened");
  }

  *streamed(stream: Stream, event: PulledEvent): Task {
    const { server: peer, audience } = stream;
    const { followed, peer: identity } = this.bond(peer);
    const step = receiveStreamed(followed[audience], sourceOf(identity, audience), [event], sha256);
    const good = yield* this.#follow(peer, audience, step, [event]);
    stream.busy = false;
    if (!good) stream.clientOpen = false;
    else this.#context.oracle.count("streamed");
  }

  *#follow(peer: string, audience: PeerAudience, step: FollowStep, events: readonly PulledEvent[]): Part<boolean> {
    const bond = this.bond(peer);
    this.#context.oracle.checkFollowed(this, peer, audience, step);
    bond.followed[audience] = step.followed;
    if (!step.ok) return false;
    if (this.#context.flaw === "cursor-before-take") this.#advance(bond, audience, step, events.map(fine));
    const results = yield* this.#take(peer, events, audience);
    if (results === null) return false;
    // After a crash here, the taken events are duplicates at the next try.
    yield;
    return !this.#advance(bond, audience, step, results);
  }

  #advance(
    bond: SimBond,
    audience: PeerAudience,
    step: FollowStep & { ok: true },
    results: readonly IncomingResult[],
  ): boolean {
    const { followed, stalled } = advance(bond.followed[audience], step.batch, results);
    this.#context.oracle.checkAdvanced(this, bond.followed[audience], followed);
    bond.followed[audience] = followed;
    if (stalled) this.#context.oracle.count("stalled");
    return stalled;
  }

  /** Null: the peer is not followed any more. */
  *#take(
    from: string,
    events: readonly { event: SignedEvent; ttl: number }[],
    following: PeerAudience | null,
  ): Part<IncomingResult[] | null> {
    // The signatures are verified.
    yield;
    if (following && this.#context.careful && !this.follows(from, following)) return null;
    const results: (IncomingResult | null)[] = events.map(({ event }) =>
      this.#refusal(event.content_id, from, following),
    );
    yield;
    const sent: SentEvent[] = events.flatMap(({ event: wire, ttl }, i) => (results[i] ? [] : [{ wire, ttl, from }]));
    const taken = this.log.take(sent, this.#wallUs);
    this.#context.oracle.checkTaken(this, from, taken);
    return results.map((refused) => refused ?? (taken.shift() as IncomingResult));
  }

  #refusal(content_id: string, from: string, following: PeerAudience | null): IncomingResult | null {
    const bad = this.#context.bad.get(content_id);
    if (bad !== undefined) this.#context.oracle.count(bad);
    if (bad !== undefined) return { ok: false, content_id, code: bad };
    const body = this.#context.oracle.bodyOf(content_id);
    const code = originRefusal(body, { from, self: this.identity.atomId }, (id) => this.trustOf(id));
    this.#context.oracle.checkJudgement(this, from, content_id, code === null, following !== null);
    return code === null ? null : { ok: false, content_id, code };
  }

  // ---- requests of a peer

  *serve(from: string, request: Request, answer: (answer: Answer) => void): Task {
    const bond = this.bond(from);
    if (request.type === "push") {
      const results = (yield* this.#take(from, request.body.events, null)) ?? [];
      yield;
      this.#applyGrants(bond, results);
      const { clock, heads } = this.log.state;
      answer({ type: "pushed", ...answerPush(results, { hlc: clock, head: heads.all.seq }) });
      return;
    }
    const { audience, since } = request;
    const refuse = () => answer({ type: "refused", status: 403 });
    if (!mayRead(audience, this.trustOf(from))) {
      refuse();
      return;
    }
    const { logId, heads } = this.log.state;
    const log = { logId, head: heads[audience].seq };
    this.#saveSent(bond, audience, acknowledge(bond.sent[audience], log, since, this.wallMs));
    yield;
    // The log is another object, and our trust may end during the call.
    if (!mayRead(audience, this.trustOf(from))) refuse();
    else if (request.type === "pull") {
      answer({ type: "page", status: 200, page: this.log.read(audience, since, request.limit) });
    } else {
      const stream = this.#context.network.open(this.identity.atomId, from, audience, since, this.wallMs);
      answer({ type: "streaming", status: 200, stream });
    }
  }

  /** Applies duplicates too, because a crash may have come before. An old grant changes nothing. */
  #applyGrants(bond: SimBond, results: readonly IncomingResult[]): void {
    for (const result of results) {
      if (!result.ok) continue;
      if (this.#context.flaw === "grant-forgotten-on-duplicate" && result.outcome === "duplicate") continue;
      const body = this.#context.oracle.bodyOf(result.content_id);
      const grant = body.type === "trust_granted" ? grantPayload.safeParse(body.payload).data : undefined;
      if (!grant || body.visibility !== "direct" || body.origin !== bond.peer.atomId) continue;
      const { physical_us, logical } = body.hlc;
      const at = { physical_us, logical };
      bond.trust = receiveGrant(bond.trust, { level: grant.level, at }, POLICY, 0).trust;
    }
  }

  /** The server's side of a stream: writes new events while the peer may read them. */
  pump(stream: Stream, limit: number): void {
    const { audience, client, at, openedAtMs } = stream;
    const old = Math.abs(this.wallMs - openedAtMs) >= LIMITS.eventStreamMs;
    if (!stream.serverOpen) return;
    if (old || !mayRead(audience, this.trustOf(client))) {
      stream.serverOpen = false;
      return;
    }
    this.#context.network.write(stream, this.log.read(audience, at, limit).events);
  }
}

const fine = (): IncomingResult => ({ ok: true, content_id: "", outcome: "accepted" });
const sourceOf = ({ atomId, publicKey }: Identity, audience: PeerAudience): Source => ({ atomId, publicKey, audience });
const isRunnable = ({ call, until }: Running) => call === null && (until === null || until());
