import { DurableObject } from "cloudflare:workers";
import { hash } from "node:crypto";
import { fromBase64, toHex } from "../../schema/crypto/bytes.ts";
import { nodeIdOf, openEvent, signCheckpoint, signEvent } from "../../schema/crypto/signed-event.ts";
import type { EventRow } from "../../schema/db/events.ts";
import { draft } from "../../schema/wire/event-registry.ts";
import {
  type Audience,
  audience,
  type EventBody,
  type HybridTime,
  type SignedCheckpoint,
  type SignedEvent,
} from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { type PoolKeys, poolKeys } from "../identity/pool-keys.ts";
import { DueTimes } from "../limits/due-times.ts";
import type { StoredDraft } from "../record/event-outbox.ts";
import { type HeldRecords, RecordOutbox } from "../record/record-outbox.ts";
import { checkpointRow } from "./checkpoint-row.ts";
import { type ClockRefusal, clockRefusal } from "./clock-guard-rules.ts";
import { adopt, type Clock, tick } from "./clock-rules.ts";
import { type AppendedEvent, EventLedger, type ReceivedEvent, type SequencedEvent, wireOf } from "./event-ledger.ts";
import { append, type LogState, newLog, numberIn, type Placed, startAnew } from "./log-machine.ts";
import { isQuotaSpent, type OriginUse, rowBytes } from "./origin-quota-rules.ts";
import { OriginUsage } from "./origin-usage.ts";
import { type ReceiveResult, receiveEvent } from "./receive-rules.ts";
import { eventsWorth, SenderRates } from "./sender-rate-rules.ts";
import { audiencesOf, mayRelay } from "./visibility-rules.ts";

export interface EventPage {
  events: SequencedEvent[];
  /** Where to go on; as given when there is nothing more. */
  next: number;
  head: number;
  checkpoint: SignedCheckpoint;
}

/** The last number of each audience, and our clock. */
export interface LogHeads {
  log_id: string;
  public: number;
  peers: number;
  all: number;
  hlc: HybridTime;
}

/** Events since the log last woke, by where they came from; `relayed`: those of others that peers may read here. */
export interface LogCounts {
  appended: number;
  received: number;
  relayed: number;
}

/** Events of ours in the log; or why our clock is not believed, and nothing was changed. */
export type AppendAnswer = { ok: true; appended: AppendedEvent[] } | { ok: false; code: ClockRefusal };

/** One answer for each event of others, in order; or why our clock is not believed, and nothing was changed. */
export type ReceiveAnswer = { ok: true; results: ReceiveResult[] } | { ok: false; code: ClockRefusal };

/** How the wall clock and the log's clock stand to one another. */
export interface LogClock {
  /** Why the log does not go on; null where it does. */
  refused: ClockRefusal | null;
  /** Where the log's clock stands; 0 before the first event. */
  last_ms: number;
  now_ms: number;
  /** Peers whose time puts our clock ahead, and that are believed. */
  peers_ahead: string[];
}

export type NewLog = { ok: true; log_id: string; before: string } | { ok: false; code: ClockRefusal };

/** What became of a peer's events, and how long it must wait before it brings more; null: it brought too many before. */
export interface RatedReceiveAnswer {
  results: ReceiveResult[] | null;
  waitMs: number;
}

/** Drafts of one caller, and how to answer it. */
interface Waiting {
  drafts: StoredDraft[];
  resolve(appended: AppendAnswer): void;
  reject(error: unknown): void;
}

/** An event of ours that is signed and not yet in the log. */
interface Signed {
  draft: StoredDraft;
  wire: SignedEvent;
  hlc: Clock;
}

/** An event that has its place to get. */
interface Arrival {
  wire: SignedEvent;
  body: Pick<EventBody, "type" | "origin" | "visibility" | "hlc">;
  audiences: Audience[];
  ttl: number;
  receivedFrom: string | null;
  takenAtMs: number;
}

/**
 * One object per pool: it orders, clocks and signs (docs/spec/events.md#events). The rules are in `clock-rules.ts`, `log-machine.ts` and
 * `visibility-rules.ts`; this shell owns the keys, the tables, time, and who waits for the next event.
 */
export class EventLog extends DurableObject<Env> {
  readonly #outbox: RecordOutbox;
  readonly #ledger: EventLedger;
  readonly #usage: OriginUsage;
  readonly #due: DueTimes;
  #state: LogState;
  /** May be ahead of the state's: events that are being signed have their times. */
  #clock: Clock;
  #witnesses: { atomId: string; aheadMs: number }[];
  #waiting: Waiting[] = [];
  #writing = false;
  readonly #rates = new SenderRates();
  readonly #listeners = new Set<() => void>();
  readonly #counts: LogCounts = { appended: 0, received: 0, relayed: 0 };
  readonly #checkpoints = new Map<Audience, SignedCheckpoint>();
  #tellTimer: ReturnType<typeof setTimeout> | null = null;
  #flushTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#outbox = new RecordOutbox(ctx.storage, env.DB);
    this.#ledger = new EventLedger(ctx.storage.sql);
    this.#usage = new OriginUsage(ctx.storage.sql);
    this.#due = new DueTimes(ctx.storage, {
      release: (nowMs) => this.#releaseDueAtMs(nowMs),
      count: (nowMs) => (this.#usage.isCounting() ? nowMs : null),
      records: (nowMs) => this.#outbox.dueAtMs(nowMs),
    });
    const stored = this.#ledger.state();
    this.#state = stored ?? newLog(randomLogId());
    this.#clock = this.#state.clock;
    this.#witnesses = this.#ledger.witnesses();
    if (stored === null) this.#ledger.save(this.#state);
    // What a crash left behind between the commit and D1.
    if (this.#outbox.pending() > 0) this.#flushSoon();
    if (this.#ledger.heldUntilUs() !== null || this.#usage.isCounting()) this.#arm();
  }

  // ---- writing

  /**
   * Signs and commits events of our own, in the order given. Drafts that come meanwhile share the next commit. One whose
   * key is known is answered with the event that it became, and changes nothing. While our clock is not believed nothing
   * is appended: whoever has something to tell keeps it.
   */
  async append(drafts: StoredDraft[]): Promise<AppendAnswer> {
    const waiting = this.#waiting.reduce((sum, each) => sum + each.drafts.length, drafts.length);
    if (waiting > LIMITS.eventDrafts) throw new Error("too many events wait for the log");
    const { promise, resolve, reject } = Promise.withResolvers<AppendAnswer>();
    this.#waiting.push({ drafts, resolve, reject });
    if (!this.#writing) this.ctx.waitUntil(this.#write());
    return promise;
  }

  /**
   * Events of others, opened by the caller, whose origin and trust it has checked. What is here already changes nothing.
   * An event that comes in moves our clock to the wall clock's time, so none is taken while that is not believed.
   * `quotaBytes`: what the events of one origin may fill; 0 is without limit.
   */
  async receive(events: ReceivedEvent[], quotaBytes = 0): Promise<ReceiveAnswer> {
    const keys = await poolKeys(this.env);
    const nowMs = Date.now();
    const refused = this.#clockRefusal(nowMs);
    if (refused !== null) return { ok: false, code: refused };
    const results = this.#commit(() => events.map((taken) => this.#take(taken, keys.atomId, nowMs, { quotaBytes })));
    // In the same turn, and so in the same commit: whatever ends us now, an alarm releases what is held.
    if (results.some((each) => each.ok && each.outcome === "held")) this.#arm();
    return { ok: true, results };
  }

  /** Which of these ids need no second look: their events are here, and were opened when they came. */
  known(contentIds: string[]): string[] {
    return this.#ledger.known(contentIds);
  }

  /** The same, of one peer, which may have the log keep so many a minute. */
  async receiveAtRate(events: ReceivedEvent[], perMinute: number, quotaBytes = 0): Promise<RatedReceiveAnswer> {
    const from = events[0]?.from ?? "";
    const waitMs = this.#rates.waitMs(from, Date.now());
    if (waitMs > 0) return { results: null, waitMs };
    const taken = await this.receive(events, quotaBytes);
    if (!taken.ok) return { results: null, waitMs: LIMITS.clockRefusedRetryMs };
    const { results } = taken;
    const kept = events.filter((_, i) => isKept(results[i]));
    const worth = kept.reduce((sum, { wire }) => sum + eventsWorth(wire), 0);
    this.#rates.spend(from, worth, perMinute, Date.now());
    return { results, waitMs: this.#rates.waitMs(from, Date.now()) };
  }

  /**
   * Events of an export, at the end of this log and in their order; what is here already stays as it is. False, and none
   * is taken, when one does not hold. Their numbers are new ones: a fresh pool's log has a name of its own.
   */
  async restore(rows: EventRow[]): Promise<boolean> {
    const { atomId } = await poolKeys(this.env);
    const opened = await Promise.all(rows.map((row) => openEvent(wireOfRecord(row))));
    const events = opened.flatMap((each) => (each.ok ? [each.event] : []));
    if (events.length < rows.length) return false;
    this.#commit(() => {
      for (const [i, row] of rows.entries()) {
        const body = events[i];
        if (!body || this.#ledger.has(row.contentId)) continue;
        // Good once, good now; but a time that has not come yet would stay with us.
        const nowUs = wallUs(Date.now());
        const isPast = body.hlc.physical_us <= nowUs + LIMITS.clockDriftMs * 1_000;
        this.#clock = isPast ? adopt(this.#clock, body.hlc, nowUs) : tick(this.#clock, nowUs);
        const kind = { visibility: body.visibility, ours: body.origin === atomId };
        const relayed = row.publicSeq === null ? 0 : 1;
        const ttl = Math.max(0, Math.min(row.ttl, LIMITS.eventTtl));
        const { receivedFrom, takenAtMs } = row;
        if (!kind.ours) this.#usage.add(body.origin, rowBytes(wireOfRecord(row)));
        this.#add({
          wire: wireOfRecord(row),
          body,
          audiences: audiencesOf(kind, relayed),
          ttl,
          receivedFrom,
          takenAtMs,
        });
      }
    });
    await this.flushRecords();
    return true;
  }

  /**
   * A restored backup tells its story under a new name, so that nobody takes it for two of one. `clockAnew`: the log's
   * clock goes back to the wall clock, and peers are told only what comes from now on. The event that says so is the
   * first of the new log, in the same commit. `by`: the admin's token id.
   */
  async startNewLog(by: string, { clockAnew }: { clockAnew: boolean }): Promise<NewLog> {
    const keys = await poolKeys(this.env);
    await this.#keepCheckpoints();
    for (;;) {
      const nowMs = Date.now();
      const refused = this.#clockRefusal(nowMs);
      if (refused !== null) return { ok: false, code: refused };
      const { logId: before } = this.#state;
      const log_id = randomLogId();
      const clock = clockAnew ? { physical_us: wallUs(nowMs), logical: 0 } : this.#clock;
      const started = clockAnew ? startAnew(this.#state, log_id, clock) : { ...this.#state, logId: log_id, clock };
      const starts = clockAnew ? started.starts : undefined;
      const hlc = tick(clock, wallUs(nowMs));
      const event = draft("log_started", { by, log_id, before, ...(starts && { starts }) });
      const signedAfter = this.#state;
      const wire = await signEvent(keys.signer, { ...event, hlc });
      // Something came while it was signed, or is being signed: the new log begins after that.
      if (this.#state !== signedAfter || this.#writing) {
        await scheduler.wait(NEW_LOG_RETRY_MS);
        continue;
      }
      this.#commit(() => {
        this.#state = started;
        this.#clock = hlc;
        this.#place({ draft: event, wire, hlc }, originOf(keys));
      });
      return { ok: true, log_id, before };
    }
  }

  // ---- our clock

  clock(): LogClock {
    const nowMs = Date.now();
    return {
      refused: this.#clockRefusal(nowMs),
      last_ms: Math.floor(this.#clock.physical_us / 1_000),
      now_ms: nowMs,
      peers_ahead: this.#witnesses.map(({ atomId }) => atomId),
    };
  }

  /** Told by a peer's `Bond` when it changes: by how much the peer's time puts our clock ahead; null where it does not. */
  reportPeerClock(atomId: string, aheadMs: number | null): void {
    this.#ledger.peerClock(atomId, aheadMs);
    this.#witnesses = this.#ledger.witnesses();
  }

  /** Our admin says that the wall clock is right, whatever peers say until now. `by`: the admin's token id. */
  async confirmClock(by: string): Promise<LogClock> {
    const { refused, last_ms, now_ms, peers_ahead } = this.clock();
    this.#commit(() => {
      this.#ledger.disbelievePeerClocks();
      this.#state = { ...this.#state, confirmedUs: wallUs(now_ms) };
    });
    this.#witnesses = [];
    const named = peers_ahead.slice(0, LIMITS.clockWitnessesLogged);
    await this.append([draft("clock_confirmed", { by, refused, last_ms, now_ms, peers_ahead: named })]);
    this.#arm();
    return this.clock();
  }

  #clockRefusal(nowMs: number): ClockRefusal | null {
    const { confirmedUs = 0 } = this.#state;
    const aheadOfPeers = this.#witnesses.length;
    return clockRefusal(wallUs(nowMs), { clock: this.#clock, confirmedUs, aheadOfPeers });
  }

  // ---- reading

  /** The next events of an audience, of which `since` is the last one known. */
  async read(of: Audience, since: number, limit: number): Promise<EventPage> {
    const state = this.#state;
    const start = of === "all" ? 0 : (state.starts?.[of] ?? 0);
    const page = this.#ledger.page(of, since + start, limit);
    const events = page.map((each) => ({ ...each, seq: each.seq - start }));
    const checkpoint = await this.#checkpoint(of, state);
    return { events, next: events.at(-1)?.seq ?? since, head: numberIn(state, of, state.heads[of].seq), checkpoint };
  }

  heads(): LogHeads {
    const { logId } = this.#state;
    const head = (of: Audience) => numberIn(this.#state, of, this.#state.heads[of].seq);
    return { log_id: logId, public: head("public"), peers: head("peers"), all: head("all"), hlc: this.#clock };
  }

  /** The numbers after which the log begins for peers. */
  starts(): Record<"public" | "peers", number> {
    return this.#state.starts ?? { public: 0, peers: 0 };
  }

  /** What this pool says of each audience now, signed. */
  async checkpoints(): Promise<SignedCheckpoint[]> {
    const state = this.#state;
    return Promise.all(audience.options.map((of) => this.#checkpoint(of, state)));
  }

  /** Resolves with the audience's last number as soon as it is past `since`, or when `waitMs` is over. */
  async changed(of: Audience, since: number, waitMs: number): Promise<number> {
    const deadlineMs = Date.now() + Math.min(waitMs, LIMITS.eventsWaitMs);
    for (;;) {
      const seq = numberIn(this.#state, of, this.#state.heads[of].seq);
      const leftMs = deadlineMs - Date.now();
      if (seq > since || leftMs <= 0) return seq;
      await this.#nextCommit(leftMs);
    }
  }

  /** Whether this peer's `Bond` wants to hear that the log has something new for others (docs/spec/events.md#sync). */
  subscribe(atomId: string, wanted: boolean): void {
    this.#ledger.tell(atomId, wanted);
    this.#witnesses = this.#ledger.witnesses();
  }

  /** Resolves once D1 has what was committed until now; false when it cannot be reached. */
  async flushRecords(): Promise<boolean> {
    const flushed = await this.#outbox.flush();
    if (!flushed) this.#arm();
    return flushed;
  }

  /** What other pools' events fill of the log, the largest first. */
  origins(): OriginUse[] {
    return this.#usage.largest();
  }

  /** Whether the quota leaves room for one more event of this origin. */
  hasRoom(atomId: string, quotaBytes: number): boolean {
    return !isQuotaSpent(this.#usage.bytesOf(atomId), LIMITS.eventRowBytes, quotaBytes);
  }

  counts(): LogCounts {
    return this.#counts;
  }

  heldRecords(): HeldRecords {
    return this.#outbox.held();
  }

  // ---- group commit

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      const keys = await poolKeys(this.env);
      while (this.#waiting.length > 0) {
        // Whoever is at the door comes in first: a commit of many costs the disk what one of a single event does.
        await scheduler.wait(0);
        const nowMs = Date.now();
        const refused = this.#clockRefusal(nowMs);
        if (refused !== null) {
          for (const each of this.#waiting.splice(0)) each.resolve({ ok: false, code: refused });
          continue;
        }
        const group = this.#nextGroup();
        const signed = await Promise.allSettled(group.map(({ drafts }) => this.#sign(keys, drafts, nowMs)));
        this.#commitGroup(group, signed, keys);
      }
    } catch (error) {
      for (const each of this.#waiting.splice(0)) each.reject(error);
    } finally {
      // In the same turn as the last look at `#waiting`: nobody is left behind.
      this.#writing = false;
    }
  }

  /** The callers of one commit: at least one. */
  #nextGroup(): Waiting[] {
    let events = 0;
    const beyond = this.#waiting.findIndex(({ drafts }, i) => {
      events += drafts.length;
      return i > 0 && events > LIMITS.eventsPerCommit;
    });
    return this.#waiting.splice(0, beyond === -1 ? this.#waiting.length : beyond);
  }

  /** The clock ticks for each before anything waits, so that times have the order of the log. */
  #sign({ signer }: PoolKeys, drafts: StoredDraft[], nowMs: number): Promise<Signed[]> {
    const timed = drafts.map((draft) => {
      this.#clock = tick(this.#clock, wallUs(nowMs));
      return { draft, hlc: this.#clock };
    });
    return Promise.all(
      timed.map(async ({ draft, hlc }) => ({ draft, hlc, wire: await signEvent(signer, { ...draft, hlc }) })),
    );
  }

  #commitGroup(group: Waiting[], signed: PromiseSettledResult<Signed[]>[], keys: PoolKeys): void {
    const origin = originOf(keys);
    let appended: (AppendedEvent[] | null)[];
    try {
      appended = this.#commit(() =>
        signed.map((each) => (each.status === "fulfilled" ? each.value.map((one) => this.#place(one, origin)) : null)),
      );
    } catch (error) {
      for (const each of group) each.reject(error);
      return;
    }
    for (const [i, waiting] of group.entries()) {
      const outcome = signed[i];
      if (outcome?.status === "rejected") waiting.reject(outcome.reason);
      else waiting.resolve({ ok: true, appended: appended[i] ?? [] });
    }
  }

  #place({ draft, wire, hlc }: Signed, { origin, node_id }: { origin: string; node_id: string }): AppendedEvent {
    const known = draft.key === undefined ? null : this.#ledger.appendedUnder(draft.key);
    if (known !== null) return known;
    const ours = { visibility: draft.visibility, ours: true };
    const ttl = mayRelay(ours, LIMITS.eventTtl) ? LIMITS.eventTtl : 0;
    const places = this.#add({
      wire,
      body: { type: draft.type, origin, visibility: draft.visibility, hlc: { ...hlc, node_id } },
      audiences: audiencesOf(ours, ttl),
      ttl,
      receivedFrom: null,
      takenAtMs: Date.now(),
    });
    const seq = places.all?.seq ?? 0;
    // In the same commit as the event.
    if (draft.key !== undefined) this.#ledger.remember(draft.key, seq);
    return { seq, content_id: wire.content_id, event: wire };
  }

  // ---- events of others

  /** Inside a transaction. */
  #take(taken: ReceivedEvent, self: string, nowMs: number, counted: { quotaBytes: number } | "before"): ReceiveResult {
    const { wire, from } = taken;
    const { content_id } = wire;
    if (this.#ledger.has(content_id) || this.#ledger.holds(content_id)) {
      return { ok: true, content_id, outcome: "duplicate" };
    }
    const event = bodyOf(wire);
    const step = receiveEvent(
      this.#clock,
      { event, ttl: taken.ttl, from },
      { self, held: () => this.#ledger.heldCount(from) },
      wallUs(nowMs),
    );
    if (step.outcome !== "refused" && counted !== "before") {
      const bytes = rowBytes(wire);
      const isSpent = isQuotaSpent(this.#usage.bytesOf(event.origin), bytes, counted.quotaBytes);
      if (isSpent) return { ok: false, content_id, code: "events/quota-spent" };
      this.#usage.add(event.origin, bytes);
    }
    switch (step.outcome) {
      case "refused":
        return { ok: false, content_id, code: step.code };
      case "held":
        this.#ledger.hold(taken, step.dueUs);
        return { ok: true, content_id, outcome: "held" };
      case "accepted": {
        const { audiences, ttl } = step;
        this.#clock = step.clock;
        this.#add({ wire, body: event, audiences, ttl, receivedFrom: from, takenAtMs: nowMs });
        return { ok: true, content_id, outcome: "accepted" };
      }
      default:
        return step satisfies never;
    }
  }

  /** Events that waited for our clock, and need not any more. */
  async #release(): Promise<void> {
    const { atomId } = await poolKeys(this.env);
    for (;;) {
      const nowMs = Date.now();
      if (this.#clockRefusal(nowMs) !== null) return;
      const due = this.#commit(() => {
        const released = this.#ledger.releaseDue(wallUs(nowMs));
        for (const taken of released) this.#take(taken, atomId, nowMs, "before");
        return released.length;
      });
      if (due < LIMITS.eventsPerCommit) return;
    }
  }

  // ---- the log

  /** Inside a transaction: the end of the log moves by one, in each audience of the event. */
  #add({ wire, body, audiences, ttl, receivedFrom, takenAtMs }: Arrival): Placed["places"] {
    const { state, places } = append(
      this.#state,
      { contentId: wire.content_id, audiences, clock: this.#clock },
      sha256,
    );
    this.#state = state;
    this.#counts[receivedFrom === null ? "appended" : "received"] += 1;
    if (receivedFrom !== null && audiences.includes("public")) this.#counts.relayed += 1;
    this.#ledger.insert(wire, places, ttl);
    this.#outbox.put("events", {
      seq: places.all?.seq,
      contentId: wire.content_id,
      type: body.type,
      origin: body.origin,
      visibility: body.visibility,
      publicSeq: places.public?.seq ?? null,
      peersSeq: places.peers?.seq ?? null,
      chain: places.all?.chain ?? "",
      hlcPhysicalUs: body.hlc.physical_us,
      hlcLogical: body.hlc.logical,
      bytes: wire.event_bytes,
      pubkey: wire.origin_pubkey,
      signature: wire.signature,
      ttl,
      receivedFrom,
      takenAtMs,
    });
    return places;
  }

  /** One transaction: events, their rows for D1, the clock and the heads, or none of them. */
  #commit<T>(change: () => T): T {
    const before = this.#state;
    let result: T;
    try {
      result = this.ctx.storage.transactionSync(() => {
        const made = change();
        this.#state = { ...this.#state, clock: this.#clock };
        this.#ledger.save(this.#state);
        return made;
      });
    } catch (error) {
      this.#state = before;
      throw error;
    }
    const [was, is] = [before.heads.all.seq, this.#state.heads.all.seq];
    if (is > was) {
      this.#flushSoon();
      for (const listener of [...this.#listeners]) listener();
      const { peers, public: all } = this.#state.heads;
      if (all.seq > before.heads.public.seq || peers.seq > before.heads.peers.seq) this.#tellSoon();
      const every = LIMITS.checkpointEvents;
      if (Math.floor(is / every) > Math.floor(was / every)) this.ctx.waitUntil(this.#keepCheckpoints());
    }
    return result;
  }

  async #checkpoint(of: Audience, state: LogState): Promise<SignedCheckpoint> {
    const { logId } = state;
    const { chain, hlc } = state.heads[of];
    const seq = numberIn(state, of, state.heads[of].seq);
    const last = this.#checkpoints.get(of);
    if (last?.checkpoint.log_id === logId && last.checkpoint.seq === seq) return last;
    const { signer } = await poolKeys(this.env);
    const signed = await signCheckpoint(signer, { log_id: logId, audience: of, seq, chain, hlc });
    this.#checkpoints.set(of, signed);
    return signed;
  }

  /** What we once said stays in the record, so that a log that was cut or written anew shows. */
  async #keepCheckpoints(): Promise<void> {
    const nowMs = Date.now();
    const signed = await this.checkpoints();
    this.ctx.storage.transactionSync(() => {
      for (const each of signed) {
        if (each.checkpoint.seq > 0) this.#outbox.put("checkpoints", checkpointRow(each, nowMs));
      }
    });
    this.#flushSoon();
  }

  #nextCommit(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#listeners.delete(done);
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      this.#listeners.add(done);
    });
  }

  // ---- time

  override async alarm(): Promise<void> {
    this.#due.fired();
    await this.#release();
    await this.#outbox.flush();
    const { atomId } = await poolKeys(this.env);
    if (this.#usage.isCounting()) this.#commit(() => this.#usage.countSome(atomId));
    this.#arm();
  }

  #arm(): void {
    this.ctx.waitUntil(this.#due.arm(Date.now()));
  }

  /** When the next held event may enter the log; later while our clock is not believed. */
  #releaseDueAtMs(nowMs: number): number | null {
    const heldUntilUs = this.#ledger.heldUntilUs();
    if (heldUntilUs === null) return null;
    const earliestMs = this.#clockRefusal(nowMs) === null ? 0 : nowMs + LIMITS.clockRefusedRetryMs;
    return Math.max(earliestMs, Math.ceil(heldUntilUs / 1_000));
  }

  /** A moment later, so that many commits are one call; peers with a stream have it by then. */
  #tellSoon(): void {
    this.#tellTimer ??= setTimeout(() => {
      this.#tellTimer = null;
      const told = this.#ledger.told().map((atomId) => this.env.BOND.getByName(atomId).notifyOfNewEvents());
      this.ctx.waitUntil(Promise.allSettled(told));
    }, LIMITS.pushDelayMs);
  }

  #flushSoon(): void {
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = null;
      this.ctx.waitUntil(this.flushRecords());
    }, LIMITS.recordFlushMs);
  }
}

/** It is in the log now, or will be. */
const isKept = (result: ReceiveResult | undefined) => result?.ok === true && result.outcome !== "duplicate";

const wallUs = (ms: number) => ms * 1_000;

const NEW_LOG_RETRY_MS = 5;

function originOf({ atomId, signer }: PoolKeys): { origin: string; node_id: string } {
  return { origin: atomId, node_id: nodeIdOf(signer.publicKey) };
}

/** A row of the record as it travels. */
const wireOfRecord = (row: EventRow) => wireOf({ ...row, content_id: row.contentId });

function randomLogId(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(16)));
}

/** Node's own: one call, where WebCrypto's digest is a promise. */
function sha256(bytes: Uint8Array): Uint8Array {
  return hash("sha256", bytes, "buffer");
}

/** Of an event that was opened before: its bytes are known to be what they must be. */
function bodyOf(wire: SignedEvent): EventBody {
  return JSON.parse(new TextDecoder().decode(fromBase64(wire.event_bytes) ?? new Uint8Array()));
}
