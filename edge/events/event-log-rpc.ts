/** The interfaces of `EventLog`, one for each group of callers, and the shapes that cross them. Types only. */
import type { EventRow } from "../../schema/db/events.ts";
import type { Audience, HybridTime, PeerAudience, SignedCheckpoint, SignedEvent } from "../../schema/wire/events.ts";
import type { HeldRecords } from "../record/record-outbox.ts";
import type { StoredDraft } from "../record/stored-draft.ts";
import type { ClockRefusal } from "./clock-guard-rules.ts";
import type { OriginUse } from "./origin-quota-rules.ts";
import type { ReceiveResult } from "./receive-rules.ts";

/** `edge/record/event-outbox.ts`, and nothing else. */
export interface EventLogForOutboxes extends Rpc.DurableObjectBranded {
  /**
   * Signs and commits events of this pool, in the order given. Concurrent calls share a commit. A draft whose key the log
   * knows changes nothing; its answer is the event that it became. While the pool's clock is not trusted nothing is
   * appended, and the drafts stay in their outboxes.
   */
  append(drafts: StoredDraft[]): Promise<AppendAnswer>;
}

/** The bond of a peer: what that peer sends, and what it may read. */
export interface EventLogForBonds extends Rpc.DurableObjectBranded {
  /**
   * Takes events of other pools. The caller has opened them and has checked their origins and its peer's trust. Events that
   * the log has already change nothing. `quotaBytes`: how much one origin may fill; 0 or absent is unlimited.
   */
  receive(events: ReceivedEvent[], quotaBytes?: number): Promise<ReceiveAnswer>;
  /** As `receive`, for the events of one sender, which may add so many a minute. */
  receiveAtRate(events: ReceivedEvent[], perMinute: number, quotaBytes?: number): Promise<RatedReceiveAnswer>;
  /** Which of these events the log has or holds. Their signatures were verified when they were received. */
  known(contentIds: string[]): string[];
  /** Whether the quota leaves space for one more event of this origin. */
  hasRoom(atomId: string, quotaBytes: number): boolean;
  read(audience: PeerAudience, since: number, limit: number): Promise<EventPage>;
  heads(): LogHeads;
  checkpoints(): Promise<SignedCheckpoint[]>;
  /** See `EventLogForReaders.changed`. */
  changed(audience: PeerAudience, since: number, waitMs: number): Promise<number>;
  /** Starts or ends calls of the bond's `notifyOfNewEvents()` after commits that peers may read (docs/spec/events.md#sync). */
  subscribe(atomId: string, wanted: boolean): void;
  /** By how much the peer's time puts this pool's clock ahead; null: it does not. The bond calls this on each change. */
  reportPeerClock(atomId: string, aheadMs: number | null): void;
}

export interface EventLogForReaders extends Rpc.DurableObjectBranded {
  /** The events of an audience after number `since`: as many as fit one page, at least one if there is one. */
  read(audience: Audience, since: number, limit: number): Promise<EventPage>;
  heads(): LogHeads;
  /** The log's position in each audience, signed now. */
  checkpoints(): Promise<SignedCheckpoint[]>;
  /** Resolves with the audience's last number once it is greater than `since`, or after `waitMs`. */
  changed(audience: Audience, since: number, waitMs: number): Promise<number>;
  /** The numbers after which the log starts for peers. */
  starts(): Record<PeerAudience, number>;
  clock(): LogClock;
  counts(): LogCounts;
  /** How much of the log each other pool fills, the largest first. */
  origins(): OriginUse[];
  heldRecords(): HeldRecords;
  /** True once D1 has everything that was committed before the call; false while D1 is away. */
  flushRecords(): Promise<boolean>;
}

export interface EventLogForAdmins extends Rpc.DurableObjectBranded {
  clock(): LogClock;
  /** The admin confirms that the wall clock is right. What peers have reported until now is ignored. `by`: a token id. */
  confirmClock(by: string): Promise<LogClock>;
  /**
   * The log continues under a new name, so that a restored copy does not look like a log with two histories. With
   * `clockAnew` the log's clock returns to the wall clock, and peers see only events from now on. `by`: the admin's
   * token id.
   */
  startNewLog(by: string, options: { clockAnew: boolean }): Promise<NewLog>;
  /**
   * Appends events of an export, in their order and under new numbers. Events that the log has already change nothing.
   * If one of them is not validly signed, appends nothing and returns false.
   */
  restore(rows: EventRow[]): Promise<boolean>;
  flushRecords(): Promise<boolean>;
}

export interface EventLogRpc extends EventLogForOutboxes, EventLogForBonds, EventLogForReaders, EventLogForAdmins {
  // Bonds see these two methods with a narrower audience; the object accepts the readers' wider one.
  read(audience: Audience, since: number, limit: number): Promise<EventPage>;
  changed(audience: Audience, since: number, waitMs: number): Promise<number>;
}

/**
 * Persisted contract: an event of another pool as a peer sent it. The caller has opened it (`openEvent`) and has
 * authenticated the sender.
 */
export interface ReceivedEvent {
  wire: SignedEvent;
  ttl: number;
  /** The sender's atom id. */
  from: string;
}

export interface SequencedEvent {
  /** In the audience that was read. */
  seq: number;
  event: SignedEvent;
  /** The ttl to send with it. */
  ttl: number;
}

/** An event of this pool, with its number in the whole log. */
export interface AppendedEvent {
  seq: number;
  content_id: string;
  event: SignedEvent;
}

export interface EventPage {
  events: SequencedEvent[];
  /** The `since` of the next page; unchanged where there is nothing more. */
  next: number;
  head: number;
  checkpoint: SignedCheckpoint;
}

/** The last number of each audience, and the log's clock. */
export interface LogHeads {
  log_id: string;
  public: number;
  peers: number;
  all: number;
  hlc: HybridTime;
}

/** Events since the object last woke. `relayed`: events of other pools that peers may read here. */
export interface LogCounts {
  appended: number;
  received: number;
  relayed: number;
}

/** A refusal changes nothing: the pool's clock is not trusted. */
export type AppendAnswer = { ok: true; appended: AppendedEvent[] } | { ok: false; code: ClockRefusal };

/** One result for each event, in order. A refusal changes nothing: the pool's clock is not trusted. */
export type ReceiveAnswer = { ok: true; results: ReceiveResult[] } | { ok: false; code: ClockRefusal };

/** `results`: null where the sender is over its rate. `waitMs`: how long it must wait before it sends more. */
export interface RatedReceiveAnswer {
  results: ReceiveResult[] | null;
  waitMs: number;
}

export interface LogClock {
  /** Why the log takes no events; null where it takes them. */
  refused: ClockRefusal | null;
  /** The log's clock; 0 before the first event. */
  last_ms: number;
  now_ms: number;
  /** Peers whose time puts this pool's clock ahead, and whose reports count. */
  peers_ahead: string[];
}

export type NewLog = { ok: true; log_id: string; before: string } | { ok: false; code: ClockRefusal };
