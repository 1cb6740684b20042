import type { Audience, SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AppendedEvent, SequencedEvent } from "./event-log-rpc.ts";
import type { LogState, Placed } from "./log-machine.ts";

/** Persisted contract: a row of `log`. */
interface LogRow extends Record<string, SqlStorageValue> {
  content_id: string;
  bytes: string;
  pubkey: string;
  signature: string;
  ttl: number;
}

const PLACE = { all: "seq", public: "public_seq", peers: "peers_seq" } as const satisfies Record<Audience, string>;

/** The tables of the log itself: its state, its events in order, and the keys of this pool's drafts. */
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
    sql.exec("CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID");
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

  known(contentIds: readonly string[]): string[] {
    const among = "SELECT content_id FROM log WHERE content_id IN (SELECT value FROM json_each(?))";
    return [...this.#sql.exec<{ content_id: string }>(among, JSON.stringify(contentIds))].map((row) => row.content_id);
  }

  /**
   * The events of an audience after number `since`, at most `limit`: as many as fit one page, at least one if there is
   * one.
   */
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

  /** Stores the draft key of an event of this pool. It is kept as long as the event. */
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
}

/** The event of a row, in wire form. */
export function wireOf(row: Pick<LogRow, "bytes" | "pubkey" | "signature" | "content_id">): SignedEvent {
  return {
    event_bytes: row.bytes,
    origin_pubkey: row.pubkey,
    signature: row.signature,
    content_id: row.content_id,
  };
}
