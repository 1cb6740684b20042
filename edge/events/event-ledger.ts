import type { Audience, SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { LogState, Placed } from "./log-machine.ts";

/** A foreign event, as a peer brought it. Its caller has opened it (`openEvent`) and knows who `from` is. */
export interface ReceivedEvent {
  wire: SignedEvent;
  ttl: number;
  /** Atom id. */
  from: string;
}

export interface SequencedEvent {
  /** In the audience that was read. */
  seq: number;
  event: SignedEvent;
  /** To be sent with it. */
  ttl: number;
}

/** An event of ours, with its place. */
export interface AppendedEvent {
  /** In the whole log. */
  seq: number;
  content_id: string;
  event: SignedEvent;
}

/** Persisted contract: a row of `held`. */
interface HeldRow extends Record<string, SqlStorageValue> {
  content_id: string;
  taken: string;
}

/** Persisted contract: a row of `log`. */
interface LogRow extends Record<string, SqlStorageValue> {
  content_id: string;
  bytes: string;
  pubkey: string;
  signature: string;
  ttl: number;
}

const PLACE = { all: "seq", public: "public_seq", peers: "peers_seq" } as const satisfies Record<Audience, string>;

/** The tables of `EventLog`'s own: its state, the events in their order, and those that wait for our clock. */
export class EventLedger {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec("CREATE TABLE IF NOT EXISTS log_state (id INTEGER PRIMARY KEY CHECK (id = 0), state TEXT NOT NULL)");
    sql.exec(
      `CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, content_id TEXT NOT NULL UNIQUE,
       public_seq INTEGER UNIQUE, peers_seq INTEGER UNIQUE,
       bytes TEXT NOT NULL, pubkey TEXT NOT NULL, signature TEXT NOT NULL, ttl INTEGER NOT NULL)`,
    );
    sql.exec(
      `CREATE TABLE IF NOT EXISTS held (content_id TEXT PRIMARY KEY, due_us INTEGER NOT NULL, taken TEXT NOT NULL)
       WITHOUT ROWID`,
    );
    sql.exec("CREATE TABLE IF NOT EXISTS held_of (atom_id TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID");
    sql.exec("CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID");
    sql.exec("CREATE TABLE IF NOT EXISTS told (atom_id TEXT PRIMARY KEY) WITHOUT ROWID");
    sql.exec(
      `CREATE TABLE IF NOT EXISTS peer_clocks (atom_id TEXT PRIMARY KEY, ahead_ms INTEGER NOT NULL,
       disbelieved INTEGER NOT NULL) WITHOUT ROWID`,
    );
  }

  state(): LogState | null {
    const [row] = this.#sql.exec<{ state: string }>("SELECT state FROM log_state").toArray();
    return row ? (JSON.parse(row.state) as LogState) : null;
  }

  save(state: LogState): void {
    this.#sql.exec(
      "INSERT INTO log_state (id, state) VALUES (0, ?1) ON CONFLICT (id) DO UPDATE SET state = ?1",
      JSON.stringify(state),
    );
  }

  insert(wire: SignedEvent, places: Placed["places"], ttl: number): void {
    this.#sql.exec(
      "INSERT INTO log (seq, public_seq, peers_seq, content_id, bytes, pubkey, signature, ttl) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      places.all?.seq ?? null,
      places.public?.seq ?? null,
      places.peers?.seq ?? null,
      wire.content_id,
      wire.event_bytes,
      wire.origin_pubkey,
      wire.signature,
      ttl,
    );
  }

  has(contentId: string): boolean {
    return this.#sql.exec("SELECT 1 FROM log WHERE content_id = ?", contentId).toArray().length > 0;
  }

  /** Which of these the log has, or holds until our clock has reached them. */
  known(contentIds: readonly string[]): string[] {
    const ids = JSON.stringify(contentIds);
    const among = (table: "log" | "held") =>
      `SELECT content_id FROM ${table} WHERE content_id IN (SELECT value FROM json_each(?))`;
    return this.#sql
      .exec<{ content_id: string }>(`${among("log")} UNION ${among("held")}`, ids, ids)
      .toArray()
      .map((row) => row.content_id);
  }

  /** The next events of an audience after `since`, as many as make one answer; at least one, if there is one. */
  page(audience: Audience, since: number, limit: number): SequencedEvent[] {
    const place = PLACE[audience];
    const events: SequencedEvent[] = [];
    let chars = 0;
    const rows = this.#sql.exec<LogRow & { place: number }>(
      `SELECT ${place} AS place, content_id, bytes, pubkey, signature, ttl FROM log WHERE ${place} > ? ORDER BY ${place} LIMIT ?`,
      since,
      Math.min(limit, LIMITS.eventsPerPull),
    );
    for (const row of rows) {
      chars += row.bytes.length;
      if (events.length > 0 && chars > LIMITS.eventsPageChars) break;
      events.push({ seq: row.place, event: wireOf(row), ttl: row.ttl });
    }
    return events;
  }

  // ---- what events of ours were appended under: kept as long as they are

  remember(key: string, seq: number): void {
    this.#sql.exec("INSERT INTO keys (key, seq) VALUES (?, ?)", key, seq);
  }

  appendedUnder(key: string): AppendedEvent | null {
    const [row] = this.#sql
      .exec<LogRow & Record<"seq", number>>(
        `SELECT seq, content_id, bytes, pubkey, signature, ttl FROM log
         WHERE seq = (SELECT seq FROM keys WHERE key = ?)`,
        key,
      )
      .toArray();
    return row ? { seq: row.seq, content_id: row.content_id, event: wireOf(row) } : null;
  }

  // ---- peers that are told when there is something new

  tell(atomId: string, wanted: boolean): void {
    const change = wanted ? "INSERT OR IGNORE INTO told VALUES (?)" : "DELETE FROM told WHERE atom_id = ?";
    this.#sql.exec(change, atomId);
    // What a peer says of our clock counts as long as an admin trusts it.
    if (!wanted) this.peerClock(atomId, null);
  }

  told(): string[] {
    return this.#sql
      .exec<{ atom_id: string }>("SELECT atom_id FROM told")
      .toArray()
      .map((row) => row.atom_id);
  }

  // ---- what the time of peers says of our clock

  /** By how much this peer's time puts our clock ahead; null: it does not. What our admin disbelieved stays so until then. */
  peerClock(atomId: string, aheadMs: number | null): void {
    if (aheadMs === null) {
      this.#sql.exec("DELETE FROM peer_clocks WHERE atom_id = ?", atomId);
      return;
    }
    this.#sql.exec(
      "INSERT INTO peer_clocks VALUES (?1, ?2, 0) ON CONFLICT (atom_id) DO UPDATE SET ahead_ms = ?2",
      atomId,
      Math.round(aheadMs),
    );
  }

  disbelievePeerClocks(): void {
    this.#sql.exec("UPDATE peer_clocks SET disbelieved = 1");
  }

  /** Peers at trust 2 or more whose time puts our clock ahead, and that are believed. */
  witnesses(): { atomId: string; aheadMs: number }[] {
    const rows = this.#sql.exec<{ atom_id: string; ahead_ms: number }>(
      `SELECT atom_id, ahead_ms FROM peer_clocks
       WHERE disbelieved = 0 AND atom_id IN (SELECT atom_id FROM told) ORDER BY atom_id`,
    );
    return [...rows].map((row) => ({ atomId: row.atom_id, aheadMs: row.ahead_ms }));
  }

  // ---- events that wait for our clock (docs/spec/events.md#events)

  hold(taken: ReceivedEvent, dueUs: number): void {
    this.#sql.exec(
      "INSERT INTO held (content_id, due_us, taken) VALUES (?, ?, ?)",
      taken.wire.content_id,
      dueUs,
      JSON.stringify(taken),
    );
    this.#sql.exec("INSERT INTO held_of VALUES (?, 1) ON CONFLICT (atom_id) DO UPDATE SET n = n + 1", taken.from);
  }

  holds(contentId: string): boolean {
    return this.#sql.exec("SELECT 1 FROM held WHERE content_id = ?", contentId).toArray().length > 0;
  }

  /** Of everyone, and of this peer. */
  heldCount(from: string): { all: number; ofSender: number } {
    const counts =
      "SELECT coalesce(sum(n), 0) AS al, coalesce(sum(n) FILTER (WHERE atom_id = ?), 0) AS one FROM held_of";
    const { al: all, one: ofSender } = this.#sql.exec<{ al: number; one: number }>(counts, from).one();
    return { all, ofSender };
  }

  /** When the first of them is due, in microseconds since the epoch. */
  heldUntilUs(): number | null {
    return this.#sql.exec<{ due: number | null }>("SELECT min(due_us) AS due FROM held").one().due;
  }

  /** Takes out those that are due, earliest first, a commit's worth. */
  releaseDue(wallUs: number): ReceivedEvent[] {
    const rows = this.#sql
      .exec<HeldRow>(
        "SELECT content_id, taken FROM held WHERE due_us <= ? ORDER BY due_us LIMIT ?",
        wallUs,
        LIMITS.eventsPerCommit,
      )
      .toArray();
    const released = rows.map((row) => JSON.parse(row.taken) as ReceivedEvent);
    for (const { wire, from } of released) {
      this.#sql.exec("DELETE FROM held WHERE content_id = ?", wire.content_id);
      this.#sql.exec("UPDATE held_of SET n = n - 1 WHERE atom_id = ?", from);
    }
    // Nobody's, or fewer than none: what was held before there was this count.
    this.#sql.exec("DELETE FROM held_of WHERE n <= 0");
    return released;
  }
}

/** A row of the log as it travels. */
export function wireOf(row: Pick<LogRow, "bytes" | "pubkey" | "signature" | "content_id">): SignedEvent {
  return {
    event_bytes: row.bytes,
    origin_pubkey: row.pubkey,
    signature: row.signature,
    content_id: row.content_id,
  };
}
