/**
 * The rows of requests between admins, in the peer's `Bond`, in both directions; and their copies for D1. It stores and
 * reads; the machines decide.
 */
import type { AdminRequestRow } from "../../../schema/db/admin-requests.ts";
import type {
  AdminSignature,
  RequestDirection,
  RequestStatus,
  RequestView,
} from "../../../schema/wire/admin-requests.ts";
import type { ErasableText } from "../../record/erasable-text.ts";
import type { RequestState } from "./received-request-machine.ts";

/** Persisted contract: one row of `requests`. */
export interface RequestRecord {
  readonly direction: RequestDirection;
  readonly requestId: string;
  readonly action: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly status: RequestView["status"];
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly decidedAtMs: number | null;
  /** The admin of this pool who decided, or sent it. */
  readonly admin: string | null;
  readonly error: string | null;
  readonly email: ErasableText | null;
  readonly note: ErasableText | null;
  readonly signature: AdminSignature | null;
  /** Hash of everything that the request asks for. */
  readonly contentsHash: string;
  /** JSON text. */
  readonly result: string | null;
  readonly callback: "waiting" | "delivered" | "given-up" | null;
  /** How often the action has failed without an answer. */
  readonly tries: number;
}

/** The states in which time changes a request. */
const OPEN = `('sending', 'pending', 'blocked')`;

export class RequestRows {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS requests (direction TEXT NOT NULL, request_id TEXT NOT NULL, status TEXT NOT NULL,
        expires_at_ms INTEGER NOT NULL, decided_at_ms INTEGER, record TEXT NOT NULL, result TEXT,
        PRIMARY KEY (direction, request_id)) WITHOUT ROWID`,
    );
    sql.exec("CREATE INDEX IF NOT EXISTS requests_status ON requests (direction, status, expires_at_ms)");
  }

  find(direction: RequestDirection, requestId: string): RequestRecord | null {
    const found = this.#sql.exec<Stored>(
      "SELECT record, result FROM requests WHERE direction = ? AND request_id = ?",
      direction,
      requestId,
    );
    return recordOf(found.toArray()[0]);
  }

  /** Call inside a transaction. */
  put(record: RequestRecord): void {
    const { result, ...rest } = record;
    this.#sql.exec(
      `INSERT INTO requests (direction, request_id, status, expires_at_ms, decided_at_ms, record, result)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (direction, request_id) DO UPDATE SET status = ?3, expires_at_ms = ?4, decided_at_ms = ?5, record = ?6,
          result = ?7`,
      record.direction,
      record.requestId,
      record.status,
      record.expiresAtMs,
      record.decidedAtMs,
      JSON.stringify(rest),
      result,
    );
  }

  /** How many requests of this direction wait, and when the first of them expires. */
  open(direction: RequestDirection): { count: number; firstExpiryMs: number | null } {
    return this.#sql
      .exec<{ count: number; firstExpiryMs: number | null }>(
        `SELECT count(*) AS count, min(expires_at_ms) AS firstExpiryMs FROM requests
          WHERE direction = ? AND status IN ${OPEN}`,
        direction,
      )
      .one();
  }

  /** Requests that wait and have expired by now. */
  expired(nowMs: number): RequestRecord[] {
    const expired = `SELECT record, result FROM requests WHERE status IN ${OPEN} AND expires_at_ms <= ? LIMIT 100`;
    return this.#all(this.#sql.exec<Stored>(expired, nowMs));
  }

  /** Approved requests, whose action has not answered yet. */
  approved(): RequestRecord[] {
    return this.#all(
      this.#sql.exec<Stored>(
        "SELECT record, result FROM requests WHERE direction = 'received' AND status = 'approved'",
      ),
    );
  }

  /** Ids of received requests whose callback waits. Their results together may not fit into memory. */
  waitingForCallback(): string[] {
    const waiting =
      "SELECT request_id FROM requests WHERE direction = 'received' AND json_extract(record, '$.callback') = 'waiting'";
    return [...this.#sql.exec<{ request_id: string }>(waiting)].map(({ request_id }) => request_id);
  }

  /** Deletes what was decided before, at most 100 rows. D1 keeps its rows. */
  deleteDecidedBefore(atMs: number): void {
    this.#sql.exec(
      `DELETE FROM requests WHERE (direction, request_id) IN
        (SELECT direction, request_id FROM requests WHERE decided_at_ms < ? LIMIT 100)`,
      atMs,
    );
  }

  oldestDecisionMs(): number | null {
    return this.#sql.exec<{ at: number | null }>("SELECT min(decided_at_ms) AS at FROM requests").one().at;
  }

  #all(found: Iterable<Stored>): RequestRecord[] {
    return [...found].flatMap((stored) => recordOf(stored) ?? []);
  }
}

interface Stored extends Record<string, SqlStorageValue> {
  record: string;
  result: string | null;
}

function recordOf(stored: Stored | undefined): RequestRecord | null {
  return stored === undefined ? null : { ...(JSON.parse(stored.record) as RequestRecord), result: stored.result };
}

/** The copy for D1. */
export function rowOf(peer: string, record: RequestRecord): AdminRequestRow {
  const { direction, requestId, action, status, createdAtMs, expiresAtMs, decidedAtMs, admin, error } = record;
  return {
    id: `${direction}:${peer}:${requestId}`,
    direction,
    peer,
    requestId,
    action,
    params: JSON.stringify(record.params),
    status,
    createdAtMs,
    expiresAtMs,
    decidedAtMs,
    admin,
    error,
    email: record.email?.text ?? null,
    emailSalt: record.email?.salt ?? null,
    note: record.note?.text ?? null,
    noteSalt: record.note?.salt ?? null,
  };
}

/** The state of a received request, for its machine. */
export function stateOf({ status, createdAtMs, expiresAtMs }: RequestRecord): RequestState {
  return { status: status as RequestStatus, receivedAtMs: createdAtMs, expiresAtMs };
}
