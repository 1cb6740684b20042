import { DurableObject } from "cloudflare:workers";
import type { EventRow } from "../../schema/db/events.ts";
import { draft } from "../../schema/wire/event-registry.ts";
import type { Audience, PeerAudience, SignedCheckpoint } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { DueTimes } from "../limits/due-times.ts";
import { type HeldRecords, RecordOutbox } from "../record/record-outbox.ts";
import type { StoredDraft } from "../record/stored-draft.ts";
import { Checkpoints } from "./checkpoints.ts";
import { CommitListeners } from "./commit-listeners.ts";
import { EventLedger } from "./event-ledger.ts";
import type {
  AppendAnswer,
  EventLogRpc,
  EventPage,
  LogClock as LogClockView,
  LogCounts,
  LogHeads,
  NewLog,
  RatedReceiveAnswer,
  ReceiveAnswer,
  ReceivedEvent,
} from "./event-log-rpc.ts";
import { appendExported } from "./exported-events.ts";
import { HeldEvents } from "./held-events.ts";
import { LogClock } from "./log-clock.ts";
import { type LogState, numberIn } from "./log-machine.ts";
import { LogStorage } from "./log-storage.ts";
import { startNewLog } from "./new-log.ts";
import { isQuotaSpent, type OriginUse } from "./origin-quota-rules.ts";
import { OriginUsage } from "./origin-usage.ts";
import { OwnEvents } from "./own-events.ts";
import { ReceivedEvents } from "./received-events.ts";
import { subscriberFor } from "./subscriber-for.ts";
import { Subscribers } from "./subscribers.ts";

/**
 * One object per pool: it orders, clocks and signs events (docs/spec/events.md#the-log). This shell owns time and the
 * notification of readers; the other classes of this folder hold the rest.
 */
export class EventLog extends DurableObject<Env> implements EventLogRpc {
  readonly #records: RecordOutbox;
  readonly #log: LogStorage;
  readonly #clock: LogClock;
  readonly #own: OwnEvents;
  readonly #received: ReceivedEvents;
  readonly #usage: OriginUsage;
  readonly #checkpoints: Checkpoints;
  readonly #subscribers: Subscribers;
  readonly #listeners = new CommitListeners();
  readonly #due: DueTimes;
  #notifyTimer: ReturnType<typeof setTimeout> | null = null;
  #flushTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { storage } = ctx;
    this.#records = new RecordOutbox(storage, env.DB);
    const ledger = new EventLedger(storage.sql);
    this.#log = new LogStorage(storage, ledger, this.#records, (before, after) => this.#committed(before, after));
    this.#subscribers = new Subscribers(storage.sql);
    this.#clock = new LogClock(storage.sql, this.#log);
    const held = new HeldEvents(storage.sql);
    this.#usage = new OriginUsage(storage.sql);
    this.#own = new OwnEvents(env, this.#log, this.#clock);
    this.#received = new ReceivedEvents(env, { log: this.#log, clock: this.#clock, held, usage: this.#usage });
    this.#checkpoints = new Checkpoints(env, storage, this.#records);
    this.#due = new DueTimes(storage, {
      held: (nowMs) => {
        const dueUs = held.dueUs();
        if (dueUs === null) return null;
        const earliestMs = this.#clock.refusal(nowMs) === null ? 0 : nowMs + LIMITS.clockRefusedRetryMs;
        return Math.max(earliestMs, Math.ceil(dueUs / 1_000));
      },
      counting: (nowMs) => (this.#usage.isCounting() ? nowMs : null),
      records: (nowMs) => this.#records.dueAtMs(nowMs),
    });
    // After a crash, D1 may lack rows that were committed here.
    if (this.#records.pending() > 0) this.#flushSoon();
    if (held.dueUs() !== null || this.#usage.isCounting()) this.#arm();
  }

  // ---- outboxes

  async append(drafts: StoredDraft[]): Promise<AppendAnswer> {
    const { answer, written } = this.#own.append(drafts);
    this.ctx.waitUntil(written);
    return answer;
  }

  // ---- bonds

  receive(events: ReceivedEvent[], quotaBytes = 0): Promise<ReceiveAnswer> {
    return this.#received.receive(events, quotaBytes, () => this.#arm());
  }

  receiveAtRate(events: ReceivedEvent[], perMinute: number, quotaBytes = 0): Promise<RatedReceiveAnswer> {
    return this.#received.receiveAtRate(events, perMinute, quotaBytes, () => this.#arm());
  }

  known(contentIds: string[]): string[] {
    return this.#received.known(contentIds);
  }

  hasRoom(atomId: string, quotaBytes: number): boolean {
    return !isQuotaSpent(this.#usage.bytesOf(atomId), LIMITS.eventRowBytes, quotaBytes);
  }

  subscribe(atomId: string, wanted: boolean): void {
    this.#subscribers.set(atomId, wanted);
    // A peer's report of its time counts only while an admin trusts the peer.
    if (wanted) this.#clock.trustChanged();
    else this.#clock.report(atomId, null);
  }

  reportPeerClock(atomId: string, aheadMs: number | null): void {
    this.#clock.report(atomId, aheadMs);
  }

  // ---- readers

  async read(of: Audience, since: number, limit: number): Promise<EventPage> {
    const { state, ledger } = this.#log;
    const start = of === "all" ? 0 : (state.starts?.[of] ?? 0);
    const page = ledger.page(of, since + start, limit);
    const events = page.map((each) => ({ ...each, seq: each.seq - start }));
    const checkpoint = await this.#checkpoints.of(of, state);
    return { events, next: events.at(-1)?.seq ?? since, head: headOf(state, of), checkpoint };
  }

  heads(): LogHeads {
    const { state, clock } = this.#log;
    const [log_id, head] = [state.logId, (of: Audience) => headOf(state, of)];
    return { log_id, public: head("public"), peers: head("peers"), all: head("all"), hlc: clock };
  }

  checkpoints(): Promise<SignedCheckpoint[]> {
    return this.#checkpoints.ofAll(this.#log.state);
  }

  async changed(of: Audience, since: number, waitMs: number): Promise<number> {
    const deadlineMs = Date.now() + Math.min(waitMs, LIMITS.eventsWaitMs);
    for (;;) {
      const seq = headOf(this.#log.state, of);
      const leftMs = deadlineMs - Date.now();
      if (seq > since || leftMs <= 0) return seq;
      await this.#listeners.next(leftMs);
    }
  }

  starts(): Record<PeerAudience, number> {
    return this.#log.state.starts ?? { public: 0, peers: 0 };
  }

  clock(): LogClockView {
    return this.#clock.view();
  }

  counts(): LogCounts {
    return this.#log.counts;
  }

  origins(): OriginUse[] {
    return this.#usage.largest();
  }

  heldRecords(): HeldRecords {
    return this.#records.held();
  }

  async flushRecords(): Promise<boolean> {
    const flushed = await this.#records.flush();
    if (!flushed) this.#arm();
    return flushed;
  }

  // ---- admins

  async confirmClock(by: string): Promise<LogClockView> {
    const { refused, last_ms, now_ms, peers_ahead } = this.#clock.view();
    this.#clock.confirm(now_ms);
    const named = peers_ahead.slice(0, LIMITS.clockWitnessesLogged);
    await this.append([draft("clock_confirmed", { by, refused, last_ms, now_ms, peers_ahead: named })]);
    this.#arm();
    return this.#clock.view();
  }

  async startNewLog(by: string, { clockAnew }: { clockAnew: boolean }): Promise<NewLog> {
    await this.#keepCheckpoints();
    return startNewLog(this.env, { by, clockAnew }, { log: this.#log, clock: this.#clock, own: this.#own });
  }

  async restore(rows: EventRow[]): Promise<boolean> {
    const isRestored = await appendExported(this.env, rows, { log: this.#log, usage: this.#usage });
    if (isRestored) await this.flushRecords();
    return isRestored;
  }

  // ---- time, and what follows a commit

  override async alarm(): Promise<void> {
    this.#due.fired();
    await this.#received.releaseHeld();
    await this.#records.flush();
    const { atomId } = await poolKeys(this.env);
    if (this.#usage.isCounting()) this.#log.commit(() => this.#usage.countSome(atomId));
    this.#arm();
  }

  #arm(): void {
    this.ctx.waitUntil(this.#due.arm(Date.now()));
  }

  #committed(before: LogState, after: LogState): void {
    this.#flushSoon();
    this.#listeners.notify();
    const isNewForPeers = (of: PeerAudience) => after.heads[of].seq > before.heads[of].seq;
    if (isNewForPeers("public") || isNewForPeers("peers")) this.#notifySoon();
    const block = (state: LogState) => Math.floor(state.heads.all.seq / LIMITS.checkpointEvents);
    if (block(after) > block(before)) this.ctx.waitUntil(this.#keepCheckpoints());
  }

  async #keepCheckpoints(): Promise<void> {
    await this.#checkpoints.keep(this.#log.state);
    this.#flushSoon();
  }

  /** Delayed, so that many commits make one call. Peers with an open stream have the events by then. */
  #notifySoon(): void {
    this.#notifyTimer ??= setTimeout(() => {
      this.#notifyTimer = null;
      const notified = this.#subscribers.all().map((atomId) => subscriberFor(this.env, atomId).notifyOfNewEvents());
      this.ctx.waitUntil(Promise.allSettled(notified));
    }, LIMITS.pushDelayMs);
  }

  #flushSoon(): void {
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = null;
      this.ctx.waitUntil(this.flushRecords());
    }, LIMITS.recordFlushMs);
  }
}

function headOf(state: LogState, of: Audience): number {
  return numberIn(state, of, state.heads[of].seq);
}
